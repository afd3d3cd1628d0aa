-- keys_refill.lua: replace the signed pre-key and add one-time pre-keys of the same identity.
--
-- Why a script: the identity the signature was checked against must still be in force when the
--   keys are written, and the maximum must hold whatever is taken or added meanwhile.
-- Returns: 'stored'; 'stale' if the identity is another one by now, or the account is gone;
--   'old' if the stored signed pre-key's id is not lower, unless it is the same key and one-time keys
--   come with it: then it stays as it is; 'reused' if the stored signed pre-key comes under another id;
--   'unsigned' if a new one has no signature.
-- Repeatable: yes with one-time keys: those that were taken meanwhile are not stored again; without any
--   a repeat answers 'old'.
-- Replicated: yes.
-- Invariant: one_time and order hold the same ids; only keys_*.lua and accounts_create.lua write them.

local account  = KEYS[1] -- hash
local one_time = KEYS[2] -- hash: key id -> public key
local order    = KEYS[3] -- zset: key id by arrival, oldest lowest

local identity   = ARGV[1] -- the identity key that the signature was checked with
local signed_id  = ARGV[2] -- key id of the signed pre-key
local signed_key = ARGV[3] -- its public key
local fields     = cjson.decode(ARGV[4]) -- {field, value, ...}: the signed pre-key; empty without a signature
local added      = cjson.decode(ARGV[5]) -- {id, key, id, key, ...}
local digest     = ARGV[6] -- of added
local max_keys   = tonumber(ARGV[7])

local known = redis.call('HMGET', account, 'identity_key', 'signed_pre_key_id', 'signed_pre_key',
  'one_time_keys_digest')
if known[1] ~= identity then
  return 'stale'
end
local is_stored_one = signed_id == known[2] and signed_key == known[3]
if is_stored_one and #added > 0 then
  if digest == known[4] then
    return 'stored' -- by an earlier call, and some may have been handed out since
  end
elseif tonumber(signed_id) <= tonumber(known[2]) then
  return 'old'
elseif signed_key == known[3] then
  return 'reused'
elseif #fields == 0 then
  return 'unsigned'
else
  redis.call('HSET', account, unpack(fields))
end
redis.call('HSET', account, 'one_time_keys_digest', digest)

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
