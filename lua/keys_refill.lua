-- keys_refill.lua: replace the signed pre-key and add one-time pre-keys of the same identity.
--
-- Why a script: the identity the signature was checked against must still be in force when the
--   keys are written, and the maximum must hold whatever is taken or added meanwhile.
-- Returns: 'stored'; 'stale' if the identity is another one by now, or the account is gone;
--   'old' if the stored signed pre-key's id is not lower.
-- Repeatable: no, a repeat answers 'old'.
-- Replicated: yes.
-- Invariant: one_time and order hold the same ids; only keys_*.lua and accounts_create.lua write them.

local account  = KEYS[1] -- hash
local one_time = KEYS[2] -- hash: key id -> public key
local order    = KEYS[3] -- zset: key id by arrival, oldest lowest

local identity  = ARGV[1] -- the identity key that the signature was checked with
local signed_id = ARGV[2] -- key id of the signed pre-key
local fields    = cjson.decode(ARGV[3]) -- {field, value, ...}: the signed pre-key
local added     = cjson.decode(ARGV[4]) -- {id, key, id, key, ...}
local max_keys  = tonumber(ARGV[5])

local known = redis.call('HMGET', account, 'identity_key', 'signed_pre_key_id')
if known[1] ~= identity then
  return 'stale'
end
if tonumber(signed_id) <= tonumber(known[2]) then
  return 'old'
end

for i = 1, #fields, 2 do
  redis.call('HSET', account, fields[i], fields[i + 1])
end

local newest = redis.call('ZREVRANGE', order, 0, 0, 'WITHSCORES')[2]
local arrival = tonumber(newest or 0)
for i = 1, #added, 2 do
  -- A key that is stored already stays as it is, in its place: its owner holds the secret half of that one.
  if redis.call('HSETNX', one_time, added[i], added[i + 1]) == 1 then
    arrival = arrival + 1
    redis.call('ZADD', order, arrival, added[i])
  end
end

for _ = max_keys + 1, redis.call('ZCARD', order) do
  redis.call('HDEL', one_time, redis.call('ZPOPMIN', order)[1])
end
return 'stored'
