-- attachments_spend.lua: take bytes of what an account may upload in some time.
--
-- Why a script: uploads at once, on several nodes, get no byte twice.
-- Returns: {how many of the wanted were taken, the milliseconds until there are all again}; 0 if fewer than the
--   least were left.
-- Repeatable: no, each call takes others.
-- Replicated: no.

local spent_key = KEYS[1] -- string: bytes since its first, until it expires

local wanted    = tonumber(ARGV[1])
local least     = tonumber(ARGV[2])
local max       = tonumber(ARGV[3])
local period_ms = tonumber(ARGV[4])

local spent = tonumber(redis.call('GET', spent_key) or 0)
local left_ms = redis.call('PTTL', spent_key)
if left_ms <= 0 then
  left_ms = period_ms
end
local taken = math.min(wanted, max - spent)
if taken < least then
  return {0, left_ms}
end
redis.call('SET', spent_key, string.format('%.0f', spent + taken), 'PX', left_ms)
return {taken, left_ms}
