-- leases_take.lua: become the holder of a lease that nobody holds.
--
-- Why a script: Redis without memory refuses a plain SET, and the clean-up that makes room needs its lease then.
-- Returns: 1, or 0 if somebody holds it.
-- Repeatable: yes, a repeat under the same token answers 0, and it is held.
-- Replicated: no.

local lease = KEYS[1] -- string: the holder's token

local token   = ARGV[1]
local hold_ms = ARGV[2]

-- GETEX, because SET is refused unless the script has called a command that may write.
if redis.call('GETEX', lease) then
  return 0
end
redis.call('SET', lease, token, 'PX', hold_ms)
return 1
