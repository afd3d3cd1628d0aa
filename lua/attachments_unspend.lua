-- attachments_unspend.lua: give an account bytes back that were not stored.
--
-- Why a script: no more than was taken, and no later end of the period.
-- Returns: nothing.
-- Repeatable: no, each call gives back others.
-- Replicated: no.

local spent_key = KEYS[1] -- string: bytes since its first, until it expires

local bytes     = tonumber(ARGV[1])

local spent = tonumber(redis.call('GET', spent_key) or 0)
local left_ms = redis.call('PTTL', spent_key)
if left_ms > 0 then
  redis.call('SET', spent_key, string.format('%.0f', math.max(0, spent - bytes)), 'PX', left_ms)
end
