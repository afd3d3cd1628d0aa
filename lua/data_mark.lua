-- data_mark.lua: mark the data of this Redis as those of one relay, unless they are marked already.
--
-- Why a script: of nodes that start at once one makes the mark, and all read the same.
-- Returns: the 'id' and the 'generation' of the mark.
-- Repeatable: yes, if the generation is not to rise; else a repeat makes it rise again.
-- Replicated: no.

local mark = KEYS[1] -- hash: id, generation

local id    = ARGV[1] -- of data that are not marked yet
local steps = ARGV[2] -- by how much the generation is to rise

redis.call('PERSIST', mark) -- may write, so that Redis without memory takes the rest too
redis.call('HSETNX', mark, 'id', id)
redis.call('HINCRBY', mark, 'generation', steps)
return redis.call('HMGET', mark, 'id', 'generation')
