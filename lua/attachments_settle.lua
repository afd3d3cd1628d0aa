-- attachments_settle.lua: count an upload that is over, in the place of what was reserved for it.
--
-- Why a script: at no moment are its bytes counted twice or not at all.
-- Returns: nothing.
-- Repeatable: no, each call takes off what was reserved for others.
-- Replicated: no.

local stored        = KEYS[1] -- hash: bytes by the ms until which they count

local reserved      = tonumber(ARGV[1])
local until_ms      = ARGV[2] -- as they were reserved
local kept          = tonumber(ARGV[3]) -- 0 of one that failed
local kept_until_ms = tonumber(ARGV[4])

local now = redis.call('TIME')
local now_ms = tonumber(now[1]) * 1000 + math.floor(tonumber(now[2]) / 1000)

if redis.call('HINCRBY', stored, until_ms, string.format('%.0f', -reserved)) <= 0 then
  redis.call('HDEL', stored, until_ms)
end
if kept > 0 then
  redis.call('HINCRBY', stored, string.format('%.0f', kept_until_ms), string.format('%.0f', kept))
  if redis.call('PTTL', stored) < kept_until_ms - now_ms then
    redis.call('PEXPIREAT', stored, string.format('%.0f', kept_until_ms))
  end
end
