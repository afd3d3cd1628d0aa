-- keys_takeover.lua: replace the device of an account: new identity, new keys, empty inbox.
--
-- Why a script: nobody may see the new identity with an old key, or find an old message in the
--   new device's inbox; a send that runs at the same time comes wholly before or wholly after.
-- Returns: 'stored'; 'ended' if the caller's session is over; 'stale' if the identity is another
--   one by now, the account is gone, or a session exists that is neither kept nor listed as ended.
-- Repeatable: no, a repeat answers 'stale'.
-- Replicated: yes.
--
-- keys_takeover_begin.lua has cut off the sessions listed as ended, and they are in the shared list.

local account  = KEYS[1] -- hash
local one_time = KEYS[2] -- hash: key id -> public key
local order    = KEYS[3] -- zset: key id by arrival, oldest lowest
local inbox    = KEYS[4] -- stream
local sessions = KEYS[5] -- zset: session id by expiry
local kept     = KEYS[6] -- hash: the caller's session
local channel  = KEYS[7] -- channel: the address's events
local replaced = KEYS[8] -- zset: ids of sessions that takeovers ended, for nodes that miss the event

local expected = ARGV[1] -- identity key that is replaced
local fields   = cjson.decode(ARGV[2]) -- {field, value, ...}: identity, registration, signed pre-key
local added    = cjson.decode(ARGV[3]) -- {id, key, id, key, ...}
local publish  = ARGV[4] -- PUBLISH, or SPUBLISH on Cluster
local kept_id  = ARGV[5] -- session id: the caller's
-- ARGV[6..n]: ids of the sessions that are ended

local REMEMBERED_MS = 86400000 -- longer than a node is deaf to its events
local MAX_REMEMBERED = 500 -- however often somebody takes over

if redis.call('EXISTS', kept) == 0 then
  return 'ended' -- replaced or logged out a moment ago, and its node has not heard of it yet
end
if redis.call('HGET', account, 'identity_key') ~= expected then
  return 'stale'
end
local listed = {[kept_id] = true}
for i = 6, #ARGV do
  listed[ARGV[i]] = true
end
for _, id in ipairs(redis.call('ZRANGE', sessions, 0, -1)) do
  if not listed[id] then
    return 'stale' -- logged in since the caller looked
  end
end

if redis.call('ZCARD', replaced) > MAX_REMEMBERED then
  redis.call('DEL', replaced)
end
for i = 6, #ARGV do
  redis.call('ZREM', sessions, ARGV[i])
  redis.call('ZADD', replaced, 0, ARGV[i])
end
redis.call('PEXPIRE', replaced, REMEMBERED_MS)
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
return 'stored'
