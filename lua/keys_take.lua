-- keys_take.lua: hand out one user's pre-key bundle and use up one one-time pre-key.
--
-- Why a script: the read and the removal are one step, so no two callers, on any nodes, are ever
--   given the same one-time key, and a bundle never mixes the keys of two identities.
-- Returns: {} if the user is unknown; else {identity_key, registration_id, signed_pre_key_id,
--   signed_pre_key, signed_pre_key_signature, one_time_id, one_time_key, low, withheld}. The one-time
--   key is nil when none was left for this caller; low is 1 when this take brought the count below
--   the threshold, of which the owner's nodes are told, else 0; withheld is 1 when all that was left
--   is the reserve, else 0.
-- Repeatable: no, each call uses up another key.
-- Copied: yes.
-- Invariant: one_time and order hold the same ids; only keys_*.lua and accounts_create.lua write them.

local account   = KEYS[1] -- hash
local one_time  = KEYS[2] -- hash: key id -> public key
local order     = KEYS[3] -- zset: key id by arrival, oldest lowest
local channel   = KEYS[4] -- channel: the user's events

local threshold = tonumber(ARGV[1]) -- the owner is told when fewer than this are left
local publish   = ARGV[2] -- PUBLISH, or SPUBLISH on Cluster
local reserve   = tonumber(ARGV[3]) -- one-time keys that this caller may not touch

local bundle = redis.call('HMGET', account, 'identity_key', 'registration_id',
  'signed_pre_key_id', 'signed_pre_key', 'signed_pre_key_signature')
if not bundle[1] then
  return {}
end

local count = redis.call('ZCARD', order)
local withheld = count > 0 and count <= reserve
local id, key, low
if count > reserve then
  id = redis.call('ZPOPMIN', order)[1]
  key = redis.call('HGET', one_time, id)
  redis.call('HDEL', one_time, id)
  local left = count - 1
  low = left == threshold - 1
  if low then
    redis.call(publish, channel, 'pre-keys-low ' .. left)
  end
end

-- A Lua nil would end the reply early; false travels as a Redis nil.
bundle[6] = id or false
bundle[7] = key or false
bundle[8] = low and 1 or 0
bundle[9] = withheld and 1 or 0
return bundle
