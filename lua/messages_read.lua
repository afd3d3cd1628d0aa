-- messages_read.lua: read the next page of a large inbox, oldest first.
--
-- Why a script: the page is bounded in bytes as well as in entries, whatever else waits; a small inbox
--   is read without one, as messages_survey.lua says.
-- Returns: {position, complete, entry...}: position is the id up to which nothing is left
--   unread, '0-0' for an unknown address; complete is 1 when nothing lies beyond it; an entry is
--   {id, from, body, name of the body's field}.
-- Repeatable: yes.
-- Replicated: no.

local account   = KEYS[1] -- hash
local inbox     = KEYS[2] -- stream

local start     = ARGV[1] -- where messages_survey.lua says that the page begins
local max_count = tonumber(ARGV[2])
local max_bytes = tonumber(ARGV[3]) -- at least one entry is returned, however large

-- Entries at a time: one, then as many as fit by the largest so far, but few. With bodies of up to
-- a MiB a large COUNT would copy far more than is sent.
local MAX_AT_ONCE = 10

local page = {'0-0', 0}
local bytes, largest, at_once = 0, 0, 1
while #page - 2 < max_count and bytes < max_bytes do
  local entries = redis.call('XRANGE', inbox, start, '+', 'COUNT', math.min(at_once, max_count + 2 - #page))
  for _, entry in ipairs(entries) do
    if bytes >= max_bytes then
      break
    end
    page[#page + 1] = {entry[1], entry[2][2], entry[2][4], entry[2][3]}
    page[1] = entry[1]
    bytes, largest = bytes + #entry[2][4], math.max(largest, #entry[2][4])
  end
  if #entries < at_once and #page - 2 < max_count and bytes < max_bytes then
    page[1] = redis.call('HGET', account, 'inbox_last') or '0-0'
    page[2] = 1
    break
  end
  start = '(' .. page[1]
  at_once = math.max(1, math.min(MAX_AT_ONCE, math.floor((max_bytes - bytes) / largest)))
end
return page
