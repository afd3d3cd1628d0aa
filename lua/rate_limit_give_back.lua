-- rate_limit_give_back.lua: put a token back that turned out not to count.
--
-- Why a script: a token taken at the same moment by another node is not given back with it.
-- Returns: 1, or 0 if the bucket was full.
-- Repeatable: no, each call gives another token back.
-- Replicated: no.

local bucket      = KEYS[1]            -- string: microseconds since the epoch

local interval_us = tonumber(ARGV[1])  -- between two tokens
local burst       = tonumber(ARGV[2])  -- tokens of a full bucket

-- GETEX for the same reason as in rate_limit_take.lua.
local full_us = tonumber(redis.call('GETEX', bucket) or 0)
if full_us == 0 then
  return 0
end
local now = redis.call('TIME')
local now_us = tonumber(now[1]) * 1000000 + tonumber(now[2])
-- No bucket is emptier than empty, as in rate_limit_take.lua.
full_us = math.min(full_us, now_us + burst * interval_us) - interval_us
if full_us > now_us then
  redis.call('SET', bucket, string.format('%.0f', full_us), 'PX', math.ceil((full_us - now_us) / 1000))
else
  redis.call('DEL', bucket)
end
return 1
