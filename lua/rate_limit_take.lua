-- rate_limit_take.lua: take one token from a bucket that all nodes share.
--
-- Why a script: of several nodes that ask at once none gets a token that another has taken.
-- Returns: 0 if taken, else the milliseconds until one is there.
-- Repeatable: no, each call takes another token.
-- Replicated: no.
--
-- The bucket is one number, the moment at which it would be full again (the generic cell rate
-- algorithm, ITU-T I.371). No key is as good as a full bucket, so Redis forgets full ones.

local bucket      = KEYS[1]            -- string: microseconds since the epoch

local interval_us = tonumber(ARGV[1])  -- between two tokens
local burst       = tonumber(ARGV[2])  -- tokens of a full bucket

local now = redis.call('TIME')
local now_us = tonumber(now[1]) * 1000000 + tonumber(now[2])
-- GETEX, because Redis without memory refuses SET unless the script has called a command that
-- may write: refresh and logout are to work even then.
local stored_us = tonumber(redis.call('GETEX', bucket) or 0)
-- An empty bucket is the least there is, whatever the clock or the limit was before.
local empty_us = now_us + burst * interval_us
local full_us = math.min(math.max(now_us, stored_us), empty_us)

local function store(us)
  redis.call('SET', bucket, string.format('%.0f', us), 'PX', math.ceil((us - now_us) / 1000))
end

local wait_us = full_us + interval_us - empty_us
if wait_us > 0 then
  if stored_us > empty_us then
    store(empty_us)  -- else whoever comes back after this wait would be told it again
  end
  return math.ceil(wait_us / 1000)
end
store(full_us + interval_us)
return 0
