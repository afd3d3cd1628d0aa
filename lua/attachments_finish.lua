-- attachments_finish.lua: have a finished upload live until it expires.
--
-- Why a script: only an upload that the clean-up has not claimed meanwhile.
-- Returns: 1, or 0 if it was claimed.
-- Repeatable: yes.
-- Replicated: yes.

local expiry = KEYS[1] -- zset: attachment id by the ms when it is due

local id           = ARGV[1]
local abandoned_ms = tonumber(ARGV[2]) -- when it would have been due, as it was begun
local expires_ms   = tonumber(ARGV[3])

local due_ms = tonumber(redis.call('ZSCORE', expiry, id) or -1)
if due_ms ~= abandoned_ms and due_ms ~= expires_ms then
  return 0
end
redis.call('ZADD', expiry, string.format('%.0f', expires_ms), id)
return 1
