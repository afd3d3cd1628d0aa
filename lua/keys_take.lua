-- keys_take.lua: hand out one pre-key bundle and use up one one-time pre-key.
--
-- Why a script: the read and the removal are one step, so no two callers, on any nodes, are ever
--   given the same one-time key, and a bundle never mixes the keys of two identities.
-- Returns: {} if the address is unknown; else {device, one_time_key, is_low, is_withheld}: device is the
--   values of the fields asked for, in their order; one_time_key is {key id, public key}, or {} when
--   none was left for this caller; is_low is 1 when this take brought the count below the threshold,
--   else 0; is_withheld is 1 when all that was left is the reserve, else 0.
-- Repeatable: no, each call uses up another key.
-- Replicated: yes.
--
-- The owner's nodes are told when the count falls below the threshold, at half of it and at zero, and
-- by the takes after these that get no key, once a minute: a client may have missed what it was told.
--
-- Invariant: one_time and order hold the same ids; only keys_*.lua and accounts_create.lua write them.

local account   = KEYS[1] -- hash
local one_time  = KEYS[2] -- hash: key id -> public key
local order     = KEYS[3] -- zset: key id by arrival, oldest lowest
local channel   = KEYS[4] -- channel: the address's events
local told      = KEYS[5] -- string: there while the owner is not to be told again that nothing is left

local threshold = tonumber(ARGV[1]) -- the owner is told when fewer than this are left
local publish   = ARGV[2] -- PUBLISH, or SPUBLISH on Cluster
local reserve   = tonumber(ARGV[3]) -- one-time keys that this caller may not touch
-- ARGV[4..n]: fields of the account that make a bundle; who has the first has a bundle

local TOLD_AGAIN_MS = 60000

local function tell(left)
  redis.call(publish, channel, 'pre-keys-low ' .. left)
end

local device = redis.call('HMGET', account, unpack(ARGV, 4))
if not device[1] then
  return {}
end

local count = redis.call('ZCARD', order)
if count <= reserve then
  -- GETEX, because Redis without memory refuses SET unless the script has called a command that may write.
  if count < threshold and not redis.call('GETEX', told) then
    redis.call('SET', told, '', 'PX', TOLD_AGAIN_MS)
    tell(count)
  end
  return {device, {}, 0, count > 0 and 1 or 0}
end
local id = redis.call('ZPOPMIN', order)[1]
local key = redis.call('HGET', one_time, id)
redis.call('HDEL', one_time, id)
local left = count - 1
local is_low = left == threshold - 1
if is_low or (left < threshold and (left == 0 or left == math.floor(threshold / 2))) then
  tell(left)
end
if left == 0 then
  redis.call('SET', told, '', 'PX', TOLD_AGAIN_MS)
end
return {device, {id, key}, is_low and 1 or 0, 0}
