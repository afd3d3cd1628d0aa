-- keys_takeover_begin.lua: cut the other sessions of an account off, before its device is replaced.
--
-- Why a script: of several sessions that take over at once one alone gets further. The others are
--   over before they could enter the one that wins in the shared list of ended sessions.
-- Returns: of each of the others when its last access token expires, in ms; 0 if it was gone already;
--   -1 if it was begun by a version that did not note it. Nothing if the caller's session is over:
--   then nothing is changed.
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
local last_ms = {}
for i = 2, #KEYS do
  local access_until = redis.call('HGET', KEYS[i], 'access_expires_at')
  local existed = redis.call('DEL', KEYS[i]) == 1
  last_ms[i - 1] = existed and tonumber(access_until or -1) or 0
end
return last_ms
