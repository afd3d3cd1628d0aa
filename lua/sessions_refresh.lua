-- sessions_refresh.lua: exchange a session's refresh token for its successor.
--
-- Why a script: of two that present the same token at once exactly one gets the successor.
-- Returns: 'rotated', the successor is the token now;
--   'retried', the successor was handed out for this same token a moment ago and is still the token;
--   'raced', the token was exchanged a moment ago, as by two tabs at once: nothing changes;
--   'reused', the token was exchanged longer ago or is none of this session's: the caller ends it;
--   'unknown', there is no such session.
--   After the first two follows the time in ms from which the access token lives that goes with it.
-- Repeatable: yes, with the same arguments and at once; a repeat of 'rotated' answers 'retried'.
--   With the two tokens changed over it takes an exchange back, and does nothing if there was none.
-- Replicated: yes.

local session  = KEYS[1] -- hash
local sessions = KEYS[2] -- zset: session id by expiry, ms

local id            = ARGV[1] -- session id
local presented     = ARGV[2] -- digest of the refresh token
local successor     = ARGV[3] -- digest of the one that follows
local ttl_ms        = tonumber(ARGV[4]) -- life of the successor
local race_ms       = tonumber(ARGV[5]) -- how long an exchanged token is taken for a race
local access_ttl_ms = tonumber(ARGV[6]) -- life of the access token that comes with it

local current = redis.call('HGET', session, 'token')
if not current then
  return {'unknown'}
end
-- The latest that any of its access tokens expires. A session begun by a version that did not note it
-- stays without: of its first tokens nobody knows.
local access_until = redis.call('HGET', session, 'access_expires_at')
access_until = access_until and tonumber(access_until)
local now = redis.call('TIME')
local now_ms = tonumber(now[1]) * 1000 + math.floor(tonumber(now[2]) / 1000)

if presented ~= current then
  local rotated_ms = redis.call('HGET', session, 'rotated:' .. presented)
  if not rotated_ms or now_ms - tonumber(rotated_ms) > race_ms then
    return {'reused'}
  end
  if successor ~= current then
    return {'raced'}
  end
  -- No later than what is noted, so that nothing has to be written.
  return {'retried', math.min(now_ms, (access_until or math.huge) - access_ttl_ms)}
end

-- First, because Redis without memory refuses HSET unless the script has written before: clients
-- are to come and empty their inboxes even then.
redis.call('PEXPIRE', session, ttl_ms)
local fields = redis.call('HGETALL', session)
for i = 1, #fields, 2 do
  if string.sub(fields[i], 1, 8) == 'rotated:' and now_ms - tonumber(fields[i + 1]) > race_ms then
    redis.call('HDEL', session, fields[i])
  end
end
local now_text = string.format('%.0f', now_ms)
redis.call('HSET', session, 'token', successor, 'rotated_at', now_text, 'rotated:' .. presented, now_text)
if access_until and access_until < now_ms + access_ttl_ms then
  redis.call('HSET', session, 'access_expires_at', string.format('%.0f', now_ms + access_ttl_ms))
end
redis.call('ZADD', sessions, string.format('%.0f', now_ms + ttl_ms), id)
-- Never shortened: before a change of the setting others may have been given a longer life.
if redis.call('PTTL', sessions) < ttl_ms then
  redis.call('PEXPIRE', sessions, ttl_ms)
end
return {'rotated', now_ms}
