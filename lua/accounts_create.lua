-- accounts_create.lua: write a new account with its keys.
--
-- Why a script: the account appears as a whole or not at all.
-- Returns: 1.
-- Repeatable: yes, with the same arguments and until the account is permanent.
-- Replicated: yes.
--
-- The account expires until accounts_keep.lua is called, once the name is confirmed, so a
-- registration that dies in between leaves nothing.

local account  = KEYS[1] -- hash
local one_time = KEYS[2] -- hash: key id -> public key
local order    = KEYS[3] -- zset: key id by arrival, oldest lowest

local fields         = cjson.decode(ARGV[1]) -- {field, value, ...}
local added          = cjson.decode(ARGV[2]) -- {id, key, id, key, ...}
local unconfirmed_ms = ARGV[3] -- how long the account lives while its name is not confirmed

for i = 1, #fields, 2 do
  redis.call('HSET', account, fields[i], fields[i + 1])
end
redis.call('HSET', account, 'inbox_bytes', 0, 'inbox_last', '0-0', 'inbox_oldest', 0)
for i = 1, #added, 2 do
  redis.call('HSET', one_time, added[i], added[i + 1])
  redis.call('ZADD', order, (i + 1) / 2, added[i])
end
for _, key in ipairs({account, one_time, order}) do
  redis.call('PEXPIRE', key, unconfirmed_ms)
end
return 1
