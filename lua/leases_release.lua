-- leases_release.lua: give a lease back.
--
-- Why a script: only the holder gives back, never one whose lease ran out and is another's by now.
-- Returns: 1, or 0 if the lease was not the caller's any more.
-- Repeatable: yes.
-- Replicated: no.

local lease = KEYS[1] -- string: the holder's token
local token = ARGV[1]

if redis.call('GET', lease) ~= token then
  return 0
end
return redis.call('DEL', lease)
