-- accounts_make_permanent.lua: make an account permanent whose name is confirmed.
--
-- Why a script: all of the account becomes permanent, or none of it.
-- Returns: 1, or 0 if the account is gone.
-- Repeatable: yes.
-- Replicated: yes.

local account  = KEYS[1] -- hash
local one_time = KEYS[2] -- hash: key id -> public key
local order    = KEYS[3] -- zset: key id by arrival, oldest lowest

if redis.call('EXISTS', account) == 0 then
  return 0
end
for _, key in ipairs({account, one_time, order}) do
  redis.call('PERSIST', key)
end
return 1
