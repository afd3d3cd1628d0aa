-- attachments_claim.lua: take the attachments that are due for removal, the longest overdue first.
--
-- Why a script: what is claimed is due again only later, in the same step. So no upload is finished while
--   its bytes are being removed, and one that cannot be removed does not stand in the way of the others.
-- Returns: their ids.
-- Repeatable: yes, those of a lost reply are due again after again_ms.
-- Replicated: no.

local expiry = KEYS[1] -- zset: attachment id by the ms when it is due

local max_count = tonumber(ARGV[1])
local again_ms  = tonumber(ARGV[2])

local now = redis.call('TIME')
local now_ms = tonumber(now[1]) * 1000 + math.floor(tonumber(now[2]) / 1000)

-- First, because Redis without memory refuses ZADD unless the script has called a command that may
-- write: the clean-up is to make room even then.
redis.call('ZREM', expiry, '')
local due = redis.call('ZRANGEBYSCORE', expiry, '-inf', string.format('%.0f', now_ms), 'LIMIT', 0, max_count)
for _, id in ipairs(due) do
  redis.call('ZADD', expiry, string.format('%.0f', now_ms + again_ms), id)
end
return due
