-- attachments_reserve.lua: take bytes of what all attachments together may have.
--
-- Why a script: uploads at once, on several nodes, get no byte twice.
-- Returns: how many of the wanted were taken; 0 if fewer than the least were left.
-- Repeatable: no, each call takes others.
-- Replicated: no.
--
-- Bytes are counted by the time until which they count: those of an attachment until it has expired. So nothing
-- has to be taken off when it is removed, whoever removes it, and no count is wrong for ever.

local stored   = KEYS[1] -- hash: bytes by the ms until which they count

local wanted   = tonumber(ARGV[1])
local least    = tonumber(ARGV[2])
local max      = tonumber(ARGV[3]) -- 0: none
local until_ms = tonumber(ARGV[4])

local now = redis.call('TIME')
local now_ms = tonumber(now[1]) * 1000 + math.floor(tonumber(now[2]) / 1000)

local total = 0
local counted = redis.call('HGETALL', stored)
for index = 1, #counted, 2 do
  if tonumber(counted[index]) <= now_ms then
    redis.call('HDEL', stored, counted[index])
  else
    total = total + tonumber(counted[index + 1])
  end
end
local taken = max > 0 and math.min(wanted, max - total) or wanted
if taken < least then
  return 0
end
redis.call('HINCRBY', stored, string.format('%.0f', until_ms), string.format('%.0f', taken))
if redis.call('PTTL', stored) < until_ms - now_ms then
  redis.call('PEXPIREAT', stored, string.format('%.0f', until_ms))
end
return taken
