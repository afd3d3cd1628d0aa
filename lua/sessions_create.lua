-- sessions_create.lua: start a session of an account.
--
-- Why a script: a session is listed if and only if it exists, and never without its account.
-- Returns: 1, or 0 if the account is gone.
-- Repeatable: yes, for the same arguments.

local account  = KEYS[1] -- hash
local sessions = KEYS[2] -- zset: session id by expiry
local session  = KEYS[3] -- hash

local id     = ARGV[1]
local token  = ARGV[2] -- digest of the refresh token
local ttl_ms = tonumber(ARGV[3])

if redis.call('EXISTS', account) == 0 then
  return 0
end
local now = redis.call('TIME')
local now_ms = tonumber(now[1]) * 1000 + math.floor(tonumber(now[2]) / 1000)

redis.call('HSET', session, 'token', token, 'created_at', string.format('%.0f', now_ms))
redis.call('PEXPIRE', session, ttl_ms)
redis.call('ZREMRANGEBYSCORE', sessions, '-inf', string.format('%.0f', now_ms))
redis.call('ZADD', sessions, string.format('%.0f', now_ms + ttl_ms), id)
redis.call('PEXPIRE', sessions, ttl_ms)
return 1
