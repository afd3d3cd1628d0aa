-- sessions_mark_ended.lua: enter sessions in the shared list of ended ones and tell every node.
--
-- Why a script: a session is announced if and only if it is listed, and how long it is listed goes by
--   Redis's clock alone, whatever those of the nodes say.
-- Returns: the second after which the entries can be forgotten, and the time in milliseconds.
-- Repeatable: yes.
-- Replicated: yes.
--
-- A session that is listed already gets the new time, be it later or earlier.

local ended   = KEYS[1] -- zset: session id by the second after which it can be forgotten
local channel = KEYS[2] -- channel of the same name

local life_secs  = tonumber(ARGV[1]) -- so long these matter from now on at least
local last_secs  = tonumber(ARGV[2]) -- and until this second at least
local spare_secs = tonumber(ARGV[3]) -- and then a little longer
local publish    = ARGV[4] -- PUBLISH, or SPUBLISH on Cluster
-- ARGV[5..n]: session ids

local now = redis.call('TIME')
local until_secs = math.max(tonumber(now[1]) + life_secs, last_secs) + spare_secs
local until_text = string.format('%.0f', until_secs)
-- First, because Redis without memory refuses ZADD unless the script has written before: a
-- session is to end even then.
redis.call('ZREMRANGEBYSCORE', ended, '-inf', now[1])
for i = 5, #ARGV do
  redis.call('ZADD', ended, until_text, ARGV[i])
end
redis.call(publish, channel, until_text .. ' ' .. table.concat(ARGV, ' ', 5))
return {until_secs, tonumber(now[1]) * 1000 + math.floor(tonumber(now[2]) / 1000)}
