-- messages_expire.lua: remove the expired messages of one inbox.
--
-- Why a script: the entries and the inbox's size in bytes change together.
-- Returns: {removed, oldest_ms, complete}: oldest_ms is the time of the oldest entry left, 0 for
--   none; complete is 0 when the bound on the work of one call was reached.
-- Repeatable: yes.

local account = KEYS[1] -- hash
local inbox   = KEYS[2] -- stream

local ttl_ms    = tonumber(ARGV[1])
local max_count = tonumber(ARGV[2]) -- entries removed by one call, at the most

local now = redis.call('TIME')
local expired_ms = tonumber(now[1]) * 1000 + math.floor(tonumber(now[2]) / 1000) - ttl_ms

local bytes, removed, oldest_ms = 0, 0, 0
while true do
  local entry = redis.call('XRANGE', inbox, '-', '+', 'COUNT', 1)[1]
  if not entry then
    oldest_ms = 0
    break
  end
  oldest_ms = tonumber(string.match(entry[1], '^%d+'))
  if oldest_ms >= expired_ms or removed == max_count then
    break
  end
  redis.call('XDEL', inbox, entry[1])
  bytes, removed = bytes + #entry[2][4], removed + 1
end
if removed == 0 then
  return {0, oldest_ms, 1}
end

if oldest_ms == 0 then
  redis.call('DEL', inbox)
  redis.call('HSET', account, 'inbox_bytes', 0, 'inbox_oldest', 0)
else
  redis.call('HINCRBY', account, 'inbox_bytes', -bytes)
  redis.call('HSET', account, 'inbox_oldest', string.format('%.0f', oldest_ms))
end
return {removed, oldest_ms, oldest_ms >= expired_ms and 1 or 0}
