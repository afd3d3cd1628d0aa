-- messages_ack.lua: remove acknowledged messages from their recipient's inbox.
--
-- Why a script: the entries and the inbox's size in bytes change together.
-- Returns: the number of entries removed; ids that are not there count nothing.
-- Repeatable: yes.
-- Replicated: no.

local account = KEYS[1] -- hash
local inbox   = KEYS[2] -- stream
-- ARGV[1..n]: entry ids, each followed by the size of its body, '' if that is not known

local function size_of(id)
  local entry = redis.call('XRANGE', inbox, id, id)[1]
  return entry and #entry[2][4]
end

local bytes, removed = 0, 0
for i = 1, #ARGV, 2 do
  local id, size = ARGV[i], tonumber(ARGV[i + 1]) or size_of(ARGV[i])
  if redis.call('XDEL', inbox, id) == 1 then
    bytes, removed = bytes + size, removed + 1
  end
end
if removed == 0 then
  return 0
end

local left = redis.call('XLEN', inbox)
if left == 0 then
  redis.call('DEL', inbox) -- an empty stream would still take its 500 bytes
  redis.call('HSET', account, 'inbox_bytes', 0, 'inbox_oldest', 0)
else
  redis.call('HINCRBY', account, 'inbox_bytes', -bytes)
  redis.call('HSET', account, 'inbox_count', left)
end
return removed
