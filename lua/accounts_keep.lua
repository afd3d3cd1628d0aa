-- accounts_keep.lua: make an account permanent whose name is confirmed.
--
-- Why a script: all of the account becomes permanent, or none of it.
-- Returns: 1, or 0 if the account is gone.
-- Repeatable: yes.
-- Replicated: yes.

local account = KEYS[1] -- hash
-- KEYS[2..n]: its other keys that live as long

if redis.call('EXISTS', account) == 0 then
  return 0
end
for i = 1, #KEYS do
  redis.call('PERSIST', KEYS[i])
end
return 1
