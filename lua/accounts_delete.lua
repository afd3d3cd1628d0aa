-- accounts_delete.lua: remove an account with its keys and its inbox, once all its sessions have ended.
--
-- Why a script: no login comes between the check and the removal, so nobody is left with a session of
--   an account that is gone; a send or an upload comes wholly before, or finds no account.
-- Returns: 'deleted', also if there was no account;
--   'stale' if a session is listed, as of a login since the caller ended them: nothing is changed.
-- Repeatable: yes.
-- Replicated: yes.
--
-- The name still leads here until usernames_release.lua is called. A registration of it finds no
-- account and releases it, so one that dies in between blocks nobody.

local account  = KEYS[1] -- hash
local one_time = KEYS[2] -- hash: key id -> public key
local order    = KEYS[3] -- zset: key id by arrival, oldest lowest
local inbox    = KEYS[4] -- stream
local sessions = KEYS[5] -- zset: session id by expiry, ms

if redis.call('ZCARD', sessions) > 0 then
  return 'stale'
end
-- UNLINK frees in the background: an inbox of 64 MiB is not to hold up everybody else.
redis.call('UNLINK', account, one_time, order, inbox)
return 'deleted'
