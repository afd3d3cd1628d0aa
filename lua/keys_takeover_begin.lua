-- keys_takeover_begin.lua: cut the other sessions of an account off, before its device is replaced.
--
-- Why a script: of several sessions that take over at once one alone gets further. The others are
--   over before they could enter the one that wins in the shared list of ended sessions.
-- Returns: 1, or 0 if the caller's session is over: nothing is changed.
-- Repeatable: yes.
-- Replicated: yes.
--
-- The sessions cut off stay listed in their account until keys_takeover.lua has run, so one that
-- dies in between leaves them for the next to enter in the shared list.

local kept = KEYS[1] -- hash: the caller's session
-- KEYS[2..n], hashes: the other sessions

if redis.call('EXISTS', kept) == 0 then
  return 0
end
for i = 2, #KEYS do
  redis.call('DEL', KEYS[i])
end
return 1
