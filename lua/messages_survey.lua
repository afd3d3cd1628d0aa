-- messages_survey.lua: tell where the next page of an inbox begins, and how much there is.
--
-- Why a script: the page itself is read without one, since an entry that passes through Lua costs Redis
--   five times as much. For that a reader has to know what has expired by Redis's clock, and first of all
--   that what it asks for is not too large.
-- Returns: {start, last, bytes}: start is what XRANGE is to begin with; last the newest id that was
--   ever given, '0-0' for an unknown address; bytes no less than what the bodies of the inbox have.
-- Repeatable: yes.
-- Replicated: no.

local account = KEYS[1] -- hash

local after   = ARGV[1] -- entry id, exclusive
local ttl_ms  = tonumber(ARGV[2]) -- older entries are skipped: expired, waiting for the clean-up

local now = redis.call('TIME')
local expired_ms = tonumber(now[1]) * 1000 + math.floor(tonumber(now[2]) / 1000) - ttl_ms
local start = '(' .. after
if tonumber(string.match(after, '^%d+')) < expired_ms then
  start = string.format('%.0f', expired_ms)
end

local state = redis.call('HMGET', account, 'inbox_last', 'inbox_bytes')
return {start, state[1] or '0-0', tonumber(state[2] or 0)}
