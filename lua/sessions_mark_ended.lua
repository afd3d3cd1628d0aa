-- sessions_mark_ended.lua: enter sessions in the shared list of ended ones and tell every node.
--
-- Why a script: a session is announced if and only if it is listed.
-- Returns: the number of entries that had expired and were removed.
-- Repeatable: yes.

local ended   = KEYS[1] -- zset: session id by the second when its last access token has expired
local channel = KEYS[2] -- channel of the same name

local until_secs = ARGV[1]
local publish    = ARGV[2] -- PUBLISH, or SPUBLISH on Cluster
-- ARGV[3..n]: session ids

for i = 3, #ARGV do
  redis.call('ZADD', ended, until_secs, ARGV[i])
end
redis.call(publish, channel, until_secs .. ' ' .. table.concat(ARGV, ' ', 3))
return redis.call('ZREMRANGEBYSCORE', ended, '-inf', redis.call('TIME')[1])
