-- keys_refill.lua: replace the signed pre-key and add one-time pre-keys of the same identity.
--
-- Why a script: the identity the signature was checked against must still be in force when the
--   keys are written, and the maximum must hold whatever is taken or added meanwhile.
-- Returns: 'stored'; 'stale' if the identity is another one by now, or the account is gone;
--   'old' if the stored signed pre-key's id is not lower.
-- Repeatable: no, a repeat answers 'old'.
-- Copied: yes.
-- Invariant: one_time and order hold the same ids; only keys_*.lua and accounts_create.lua write them.

local account  = KEYS[1] -- hash
local one_time = KEYS[2] -- hash: key id -> public key
local order    = KEYS[3] -- zset: key id by arrival, oldest lowest

local identity  = ARGV[1] -- the identity key that the signature was checked with
local signed_id = ARGV[2]
local signed    = ARGV[3]
local signature = ARGV[4]
local added     = cjson.decode(ARGV[5]) -- {id, key, id, key, ...}
local max_keys  = tonumber(ARGV[6])

local known = redis.call('HMGET', account, 'identity_key', 'signed_pre_key_id')
if known[1] ~= identity then
  return 'stale'
end
if tonumber(signed_id) <= tonumber(known[2]) then
  return 'old'
end

redis.call('HSET', account, 'signed_pre_key_id', signed_id, 'signed_pre_key', signed,
  'signed_pre_key_signature', signature)

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
