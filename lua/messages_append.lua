-- messages_append.lua: put one message into its recipient's inbox and tell the nodes that hold a socket.
--
-- Why a script: the existence check, the limits, the append and the event are one step, so a
--   stored message is always announced, in queue order, and an inbox is never over its limits.
-- Returns: {'unknown'} if there is no such recipient;
--   {'conflict'} if the idempotency key was used for another body;
--   {'repeated'} if it was used for this body: nothing is stored again;
--   {'stored', id, previous, oldest_ms, dropped, expired, waits}: previous is the id appended before
--   this one, oldest_ms a lower bound of the time of the oldest entry left, dropped the number of entries
--   removed for the limits, expired of those that were over their time, alone or with all of the inbox;
--   waits is 1 if the inbox begins with this message and no node has a socket to give it to.
-- Repeatable: only with an idempotency key; else each call stores another message.
-- Replicated: yes.
-- Invariant: while inbox exists, account.inbox_bytes is the sum of the bodies in it; only
--   messages_*.lua and keys_takeover.lua write either.

local account     = KEYS[1] -- hash: the recipient's account
local inbox       = KEYS[2] -- stream: from, body or body@<ms>
local channel     = KEYS[3] -- channel: the recipient's events
local idempotency = KEYS[4] -- string, may be absent: body digest and entry id of an earlier call

local sender      = ARGV[1] -- address id
local body        = ARGV[2] -- bytes
local max_count   = tonumber(ARGV[3])
local max_bytes   = tonumber(ARGV[4]) -- a larger body is stored alone
local ttl_ms      = tonumber(ARGV[5])
local publish     = ARGV[6] -- PUBLISH, or SPUBLISH on Cluster
local fingerprint = ARGV[7] -- with KEYS[4]: digest of the body
local memory_ms   = ARGV[8] -- with KEYS[4]: how long the key is remembered

-- A message up to this size travels in the event itself, so a socket needs no read of the inbox.
local INLINE_MAX_BYTES = 16384

local state = redis.call('HMGET', account, 'inbox_bytes', 'inbox_last', 'inbox_oldest', 'inbox_count')
local previous = state[2]
if not previous then
  return {'unknown'}
end
local earlier = idempotency and redis.call('GET', idempotency)
if earlier then
  return {string.match(earlier, '^%x+') == fingerprint and 'repeated' or 'conflict'}
end

local now = redis.call('TIME')
local now_ms = tonumber(now[1]) * 1000 + math.floor(tonumber(now[2]) / 1000)

local count, dropped, expired = redis.call('XLEN', inbox), 0, 0
local bytes, oldest_ms = tonumber(state[1] or 0), tonumber(state[3] or 0)
if count == 0 then -- what the account says is of an inbox that died as a whole, unless it has been emptied
  bytes, oldest_ms, expired = 0, 0, bytes > 0 and tonumber(state[4]) or 0
end
while count > 0 do
  local fits = count < max_count and bytes + #body <= max_bytes
  if fits and oldest_ms >= now_ms - ttl_ms then
    break
  end
  -- The bound on the oldest entry's time may be an entry's that was acked: look at the entry itself.
  local entry = redis.call('XRANGE', inbox, '-', '+', 'COUNT', 1)[1]
  oldest_ms = tonumber(string.match(entry[1], '^%d+'))
  local is_over = oldest_ms < now_ms - ttl_ms
  if is_over or not fits then
    redis.call('XDEL', inbox, entry[1])
    count, bytes = count - 1, bytes - #entry[2][4]
    dropped, expired = dropped + (is_over and 0 or 1), expired + (is_over and 1 or 0)
  end
end

-- The id is made here, not by XADD: it must grow even when the stream was deleted in between
-- or the clock went back.
local last_ms, last_seq = string.match(previous, '^(%d+)-(%d+)$')
local is_ahead = tonumber(last_ms) >= now_ms
local ms, seq = is_ahead and tonumber(last_ms) or now_ms, is_ahead and tonumber(last_seq) + 1 or 0
local id = string.format('%.0f-%.0f', ms, seq)
oldest_ms = count > 0 and oldest_ms or ms

-- After a clock that ran ahead the id's time is not the message's. If it is wrong by a second, the true one stands
-- in the name of a field: readers of older versions pass over names, and other entries stay as small as they are.
local body_field = ms - now_ms < 1000 and 'body' or string.format('body@%.0f', now_ms)

redis.call('XADD', inbox, id, 'from', sender, body_field, body)
redis.call('PEXPIRE', inbox, ttl_ms)
redis.call('HSET', account, 'inbox_bytes', bytes + #body, 'inbox_count', count + 1, 'inbox_last', id,
  'inbox_oldest', string.format('%.0f', oldest_ms))
if idempotency then
  redis.call('SET', idempotency, fingerprint .. ' ' .. id, 'PX', memory_ms)
end

local event = 'message ' .. id .. ' ' .. previous .. ' ' .. sender
local is_inline = #body <= INLINE_MAX_BYTES and body_field == 'body'
local heard = redis.call(publish, channel, is_inline and event .. '\n' .. body or event)
return {'stored', id, previous, oldest_ms, dropped, expired, count == 0 and heard == 0 and 1 or 0}
