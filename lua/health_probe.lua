-- health_probe.lua: try whether a message could be stored, by what messages_append.lua does, on a key of its own.
--
-- Why a script: Redis without memory, or without a right of ours, refuses the commands of scripts in its own way.
-- Returns: 1.
-- Repeatable: yes, nothing is left of it.
-- Replicated: no.

local probe = KEYS[1] -- stream: for a moment; a channel of the same name, which nobody hears

local publish = ARGV[1] -- PUBLISH, or SPUBLISH on Cluster

redis.call('TIME')
-- The first that writes: after another one Redis would not look at its memory any more.
redis.call('XADD', probe, 'MAXLEN', 1, '*', 'from', '', 'body', '')
redis.call('XLEN', probe)
redis.call('PEXPIRE', probe, 1000)
redis.call('DEL', probe)
redis.call('HMGET', probe, 'inbox_last')
redis.call('HSET', probe, 'inbox_last', '1-0')
redis.call('DEL', probe)
redis.call(publish, probe, '')
return 1
