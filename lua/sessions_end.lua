-- sessions_end.lua: end one session of an account and tell the nodes that hold its sockets.
--
-- Why a script: no session exists that is not listed, for a takeover ends those that are.
-- Returns: when the last of its access tokens expires, in ms; 0 if there was no such session; -1 if
--   it was begun by a version that did not note it.
-- Repeatable: yes.
-- Replicated: yes.
--
-- The caller has entered it in the shared list of ended sessions before, so a crash in between
-- ends the session too early, never too late.

local session  = KEYS[1] -- hash
local sessions = KEYS[2] -- zset: session id by expiry, ms
local channel  = KEYS[3] -- channel: the user's events

local id      = ARGV[1] -- session id
local publish = ARGV[2] -- PUBLISH, or SPUBLISH on Cluster

local access_until = redis.call('HGET', session, 'access_expires_at')
local existed = redis.call('DEL', session) == 1
redis.call('ZREM', sessions, id)
redis.call(publish, channel, 'session-ended ' .. id)
return existed and tonumber(access_until or -1) or 0
