-- nodes_report.lua: note the settings of one node, and read those of all that have reported lately.
--
-- Why a script: Redis's clock alone says who reported lately, and what is older goes in the same step.
-- Returns: a list of node ids, each followed by its settings.
-- Repeatable: yes.
-- Replicated: no.

local reports = KEYS[1] -- hash: by node id the ms of the report, a space, settings

local node     = ARGV[1]
local settings = ARGV[2] -- empty: the node leaves
local life_ms  = tonumber(ARGV[3])

local now = redis.call('TIME')
local now_ms = tonumber(now[1]) * 1000 + math.floor(tonumber(now[2]) / 1000)
redis.call('HDEL', reports, node) -- before HSET, which Redis without memory refuses as the first that writes
if settings ~= '' then
  redis.call('HSET', reports, node, string.format('%.0f %s', now_ms, settings))
end
local lately = {}
local all = redis.call('HGETALL', reports)
for index = 1, #all, 2 do
  local reported_ms, said = string.match(all[index + 1], '^(%d+) (.*)$')
  if reported_ms and tonumber(reported_ms) > now_ms - life_ms then
    lately[#lately + 1] = all[index]
    lately[#lately + 1] = said
  else
    redis.call('HDEL', reports, all[index])
  end
end
redis.call('PEXPIRE', reports, life_ms)
return lately
