-- How many calls of a family may go out now. ARGV: family, wanted.
-- Returns {granted, milliseconds to wait before asking again, 'probe', 'unlimited', 'counted', or 'limited' where
-- Datadog's rate limit is what has to be waited for}.
-- Nothing known: one probe. Its answer, put down by report.lua, says how many more.
local family, wanted, now = ARGV[1], tonumber(ARGV[2]), clock_ms()
local P = 'dora:'
local destination, budget, probe = P .. 'destination:' .. family, P .. 'budget:' .. family, P .. 'probe:' .. family

local function one_probe(lasts_ms, ask_again_ms)
  if redis.call('SET', probe, now, 'NX', 'PX', lasts_ms) then return {1, 0, 'probe'} end
  return {0, ask_again_ms, 'counted'}
end

local state, until_ms, reason = unpack(redis.call('HMGET', destination, 'state', 'until', 'reason'))
if state and state ~= 'open' then
  local rest = tonumber(until_ms) - now
  if rest > 0 then return {0, rest, reason == 'rate_limited' and 'limited' or 'counted'} end
  return one_probe(3000, 100)
end
local tokens = redis.call('GET', budget)
if not tokens then return one_probe(2000, 10) end
if tokens == 'free' then return {wanted, 0, 'unlimited'} end
local granted = math.min(wanted, tonumber(tokens))
if granted <= 0 then return {0, math.max(redis.call('PTTL', budget), 1), 'limited'} end
redis.call('DECRBY', budget, granted)
return {granted, 0, 'counted'}
