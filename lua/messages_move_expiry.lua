-- messages_move_expiry.lua: have an inbox looked after by the clean-up at another time.
--
-- Why a script: Redis without memory refuses a plain ZADD, and the clean-up that makes room must go on then.
-- Returns: 1.
-- Repeatable: yes.
-- Replicated: no.

local expiry = KEYS[1] -- zset: address id by the ms when the oldest message of the inbox expires

local address_id = ARGV[1]
local due_ms     = ARGV[2]

redis.call('ZREM', expiry, address_id) -- first: after a command that may write, ZADD is not refused
redis.call('ZADD', expiry, due_ms, address_id)
return 1
