-- sessions_list_ended.lua: read the shared list of ended sessions.
--
-- Why a script: the list comes with the time it is of. Who goes by that time has not missed an entry
--   that expired while it was away.
-- Returns: the time in milliseconds, and a list {session id, second after which it can be forgotten, ...}.
-- Repeatable: yes.
-- Replicated: no.

local ended = KEYS[1] -- zset: session id by the second after which it can be forgotten

local now = redis.call('TIME')
local now_ms = tonumber(now[1]) * 1000 + math.floor(tonumber(now[2]) / 1000)
return {now_ms, redis.call('ZRANGE', ended, 0, -1, 'WITHSCORES')}
