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

local sessions = KEYS[1] -- zset: session id by expiry, ms
-- KEYS[2..n]: the account, its keys and its inbox

if redis.call('ZCARD', sessions) > 0 then
  return 'stale'
end
-- UNLINK frees in the background: an inbox of 64 MiB is not to hold up everybody else.
redis.call('UNLINK', unpack(KEYS, 2))
return 'deleted'
