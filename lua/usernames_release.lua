-- usernames_release.lua: free a name whose account is gone.
--
-- Why a script: only the account named as gone loses the name, and never a claim under way.
-- Returns: 1, or 0 if the name is free, another account's, or merely claimed so far.
-- Repeatable: yes.
-- Replicated: no.

local name    = KEYS[1] -- string: user id
local user_id = ARGV[1]

if redis.call('GET', name) ~= user_id or redis.call('PTTL', name) ~= -1 then
  return 0
end
return redis.call('DEL', name)
