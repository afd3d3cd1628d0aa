-- accounts_rehash.lua: replace a password hash by one with today's parameters.
--
-- Why a script: a hash that was changed meanwhile, or an account that is gone, is left alone.
-- Returns: 1 if replaced, else 0.
-- Repeatable: yes.
-- Replicated: no.

local account  = KEYS[1] -- hash

local expected = ARGV[1] -- the hash that was verified
local replaced = ARGV[2] -- the hash of the same password

if redis.call('HGET', account, 'password_hash') ~= expected then
  return 0
end
redis.call('HSET', account, 'password_hash', replaced)
return 1
