-- sessions_mark_ended.lua: enter sessions in the shared list of ended ones and tell every node.
--
-- Why a script: a session is announced if and only if it is listed, and how long it is listed goes by
--   Redis's clock alone, whatever those of the nodes say.
-- Returns: the time in milliseconds, and a list {session id, second after which it can be forgotten, ...}.
-- Repeatable: yes.
-- Replicated: yes.

local ended   = KEYS[1] -- zset: session id by the second after which it can be forgotten
local channel = KEYS[2] -- channel of the same name

local life_secs  = tonumber(ARGV[1]) -- so long these matter from now on at least
local last_secs  = tonumber(ARGV[2]) -- and until this second at least
local spare_secs = tonumber(ARGV[3]) -- and then a little longer
local is_guess   = ARGV[4] -- 1: a session that is listed already keeps its time; 0: it gets this one
local publish    = ARGV[5] -- PUBLISH, or SPUBLISH on Cluster
-- ARGV[6..n]: session ids

local now = redis.call('TIME')
local now_ms = tonumber(now[1]) * 1000 + math.floor(tonumber(now[2]) / 1000)
local until_text = string.format('%.0f', math.max(tonumber(now[1]) + life_secs, last_secs) + spare_secs)
-- First, because Redis without memory refuses ZADD unless the script has written before: a
-- session is to end even then.
redis.call('ZREMRANGEBYSCORE', ended, '-inf', now[1])
local entries = {}
local announced = {}
for i = 6, #ARGV do
  local kept = is_guess == '1' and redis.call('ZSCORE', ended, ARGV[i])
  if not kept then
    redis.call('ZADD', ended, until_text, ARGV[i])
    announced[#announced + 1] = ARGV[i]
  end
  entries[#entries + 1] = ARGV[i]
  entries[#entries + 1] = kept or until_text
end
if #announced > 0 then
  redis.call(publish, channel, until_text .. ' ' .. table.concat(announced, ' '))
end
return {now_ms, entries}
