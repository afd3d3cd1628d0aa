-- keys_takeover_begin.lua: cut the other sessions of an account off, before its device is replaced.
--
-- Why a script: of several sessions that take over at once one alone gets further. The others are
--   over before they could enter the one that wins in the shared list of ended sessions.
-- Returns: when the last access token of the others expires, in ms, or 0 if that is not known of all;
--   nothing if the caller's session is over: then nothing is changed.
-- Repeatable: yes.
-- Replicated: yes.
--
-- The sessions cut off stay listed in their account until keys_takeover.lua has run, so one that
-- dies in between leaves them for the next to enter in the shared list.

local kept = KEYS[1] -- hash: the caller's session
-- KEYS[2..n], hashes: the other sessions

if redis.call('EXISTS', kept) == 0 then
  return false
end
local last_ms = 0
local are_known = true
for i = 2, #KEYS do
  local access_until = tonumber(redis.call('HGET', KEYS[i], 'access_expires_at') or 0)
  last_ms = math.max(last_ms, access_until)
  are_known = are_known and access_until > 0
  redis.call('DEL', KEYS[i])
end
return are_known and last_ms or 0
