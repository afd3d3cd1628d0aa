-- leases_renew.lua: hold a lease for longer.
--
-- Why a script: only the holder renews, never one whose lease ran out and is another's by now.
-- Returns: 1, or 0 if the lease is not the caller's any more.
-- Repeatable: yes.
-- Replicated: no.

local lease = KEYS[1] -- string: the holder's token

local token   = ARGV[1]
local hold_ms = ARGV[2]

if redis.call('GET', lease) ~= token then
  return 0
end
return redis.call('PEXPIRE', lease, hold_ms)
