-- keys_takeover.lua: replace the device of an account: new identity, new keys, empty inbox.
--
-- Why a script: nobody may see the new identity with an old key, or find an old message in the
--   new device's inbox; a send that runs at the same time comes wholly before or wholly after.
-- Returns: {} if the user is unknown; {'ended'} if the caller's session is over;
--   {'stale'} if the identity is another one by now, or a session exists that is neither kept
--   nor listed as ended; {'stored'}.
-- Repeatable: no, a repeat answers 'stale'.

local account  = KEYS[1] -- hash
local one_time = KEYS[2] -- hash: key id -> public key
local order    = KEYS[3] -- zset: key id by arrival, oldest lowest
local inbox    = KEYS[4] -- stream
local sessions = KEYS[5] -- zset: session id by expiry
local channel  = KEYS[6] -- channel: the user's events
-- KEYS[7..n], hashes: the sessions to end, in the order of ARGV[6..n]

local expected = ARGV[1] -- identity key that is replaced
local fields   = cjson.decode(ARGV[2]) -- {field, value, ...}: identity, registration, signed pre-key
local added    = cjson.decode(ARGV[3]) -- {id, key, id, key, ...}
local kept     = ARGV[4] -- session id: the caller's
local publish  = ARGV[5] -- PUBLISH, or SPUBLISH on Cluster
-- ARGV[6..n]: ids of the sessions to end, entered in the shared list of ended ones before

local identity = redis.call('HGET', account, 'identity_key')
if not identity then
  return {}
end
if not redis.call('ZSCORE', sessions, kept) then
  return {'ended'} -- replaced or logged out a moment ago, and its node has not heard of it yet
end
if identity ~= expected then
  return {'stale'}
end

local listed = {[kept] = true}
for i = 6, #ARGV do
  listed[ARGV[i]] = true
end
for _, id in ipairs(redis.call('ZRANGE', sessions, 0, -1)) do
  if not listed[id] then
    return {'stale'} -- logged in since the caller looked
  end
end

for i = 7, #KEYS do
  redis.call('DEL', KEYS[i])
  redis.call('ZREM', sessions, ARGV[i - 1])
end
redis.call('DEL', one_time, order, inbox)
redis.call('HSET', account, 'inbox_bytes', 0, 'inbox_oldest', 0)
for i = 1, #fields, 2 do
  redis.call('HSET', account, fields[i], fields[i + 1])
end
for i = 1, #added, 2 do
  redis.call('HSET', one_time, added[i], added[i + 1])
  redis.call('ZADD', order, (i + 1) / 2, added[i])
end
redis.call(publish, channel, 'takeover')
return {'stored'}
