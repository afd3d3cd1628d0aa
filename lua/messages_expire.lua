-- messages_expire.lua: remove the expired messages of one inbox.
--
-- Why a script: the entries, the inbox's size in bytes and its own expiry change together.
-- Returns: {removed, oldest_ms}: removed counts those that Redis removed with their inbox, too;
--   oldest_ms is the time of the oldest entry left, expired too if the bound on the work of one call
--   was reached; nil when the inbox is empty.
-- Repeatable: yes.
-- Replicated: no.

local account = KEYS[1] -- hash
local inbox   = KEYS[2] -- stream

local ttl_ms    = tonumber(ARGV[1])
local max_count = tonumber(ARGV[2]) -- entries removed by one call, at the most

local now = redis.call('TIME')
local now_ms = tonumber(now[1]) * 1000 + math.floor(tonumber(now[2]) / 1000)
local expired_ms = now_ms - ttl_ms

local function oldest()
  local entry = redis.call('XRANGE', inbox, '-', '+', 'COUNT', 1)[1]
  return entry, entry and tonumber(string.match(entry[1], '^%d+'))
end

local bytes, removed = 0, 0
local entry, oldest_ms = oldest()
while entry and oldest_ms < expired_ms and removed < max_count do
  redis.call('XDEL', inbox, entry[1])
  bytes, removed = bytes + #entry[2][4], removed + 1
  entry, oldest_ms = oldest()
end

if removed > 0 and entry then
  redis.call('HINCRBY', account, 'inbox_bytes', -bytes)
  redis.call('HSET', account, 'inbox_oldest', string.format('%.0f', oldest_ms),
    'inbox_count', redis.call('XLEN', inbox))
elseif not entry then
  local state = redis.call('HMGET', account, 'inbox_bytes', 'inbox_count')
  if removed == 0 and tonumber(state[1] or 0) ~= 0 then
    removed = tonumber(state[2]) or 0 -- the inbox died as a whole, and nobody has said so yet
  end
  redis.call('DEL', inbox) -- an empty stream would still take its 500 bytes
  if state[1] then
    redis.call('HSET', account, 'inbox_bytes', 0, 'inbox_oldest', 0)
  end
end

-- An inbox that was written to under another TTL follows this one. What has expired is left to the next call.
if entry and oldest_ms >= expired_ms then
  local newest_ms = string.match(redis.call('XREVRANGE', inbox, '+', '-', 'COUNT', 1)[1][1], '^%d+')
  redis.call('PEXPIRE', inbox, math.max(1, ttl_ms - math.max(0, now_ms - tonumber(newest_ms))))
end
return {removed, oldest_ms or false}
