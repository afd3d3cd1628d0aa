-- sessions_mark_ended.lua: enter sessions in the shared list of ended ones and tell every node.
--
-- Why a script: a session is announced if and only if it is listed.
-- Returns: the number of entries that had expired and were removed.
-- Repeatable: yes.
-- Replicated: yes.
--
-- A session that is listed already gets the new time, be it later or earlier.

local ended   = KEYS[1] -- zset: session id by the second after which it can be forgotten
local channel = KEYS[2] -- channel of the same name

local until_secs = ARGV[1] -- after which these can be forgotten
local publish    = ARGV[2] -- PUBLISH, or SPUBLISH on Cluster
-- ARGV[3..n]: session ids

-- First, because Redis without memory refuses ZADD unless the script has written before: a
-- session is to end even then.
local removed = redis.call('ZREMRANGEBYSCORE', ended, '-inf', redis.call('TIME')[1])
for i = 3, #ARGV do
  redis.call('ZADD', ended, until_secs, ARGV[i])
end
redis.call(publish, channel, until_secs .. ' ' .. table.concat(ARGV, ' ', 3))
return removed
