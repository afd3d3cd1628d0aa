-- sessions_create.lua: start a session of an account.
--
-- Why a script: no session exists that is not listed, and none without its account.
-- Returns: the time in milliseconds, from which its access token lives, or 0 if the account is gone.
-- Repeatable: yes, with the same arguments and until the token is exchanged.
-- Replicated: yes.

local account  = KEYS[1] -- hash
local sessions = KEYS[2] -- zset: session id by expiry, ms
local session  = KEYS[3] -- hash

local id            = ARGV[1] -- session id
local token         = ARGV[2] -- digest of the refresh token
local ttl_ms        = tonumber(ARGV[3]) -- life of the token, and so of the session
local access_ttl_ms = tonumber(ARGV[4]) -- life of the access token that comes with it

if redis.call('EXISTS', account) == 0 then
  return 0
end
local now = redis.call('TIME')
local now_ms = tonumber(now[1]) * 1000 + math.floor(tonumber(now[2]) / 1000)

local now_text = string.format('%.0f', now_ms)
local access_until = string.format('%.0f', now_ms + access_ttl_ms)

redis.call('HSET', session, 'token', token, 'created_at', now_text, 'access_expires_at', access_until)
redis.call('PEXPIRE', session, ttl_ms)
redis.call('ZREMRANGEBYSCORE', sessions, '-inf', now_text)
redis.call('ZADD', sessions, string.format('%.0f', now_ms + ttl_ms), id)
-- Never shortened: before a change of the setting others may have been given a longer life.
if redis.call('PTTL', sessions) < ttl_ms then
  redis.call('PEXPIRE', sessions, ttl_ms)
end
return now_ms
