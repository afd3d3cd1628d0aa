-- usernames_confirm.lua: make the claim to a name permanent.
--
-- Why a script: only the account that holds the claim may confirm it.
-- Returns: 1, or 0 if the claim has expired or is another account's by now.
-- Repeatable: yes.
-- Replicated: yes.

local name    = KEYS[1] -- string: user id
local user_id = ARGV[1]

if redis.call('GET', name) ~= user_id then
  return 0
end
redis.call('PERSIST', name)
return 1
