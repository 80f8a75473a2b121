-- Puts down what answers say about a destination.
-- ARGV: family, what (ok, limited, refused, failing), remaining or '', wait_ms or '', reason, jitter 0..1,
--       how many calls this sums up, 1 if one of them was a probe, then the keys of their events.
-- Returns {state before, state after, milliseconds it is held, failures in a row, when a call worked last}.
local family, what, remaining, wait, now = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4]), clock_ms()
local reason, jitter, count, probed = ARGV[5], tonumber(ARGV[6]), tonumber(ARGV[7]), ARGV[8] == '1'
local P = 'dora:'
local destination, budget, probe = P .. 'destination:' .. family, P .. 'budget:' .. family, P .. 'probe:' .. family
local failing = P .. 'failing:' .. family
-- one event that fails alone is its own fault: it waits alone
local FREE_MS, FAILURES, KEYS_FAILING = 5000, 5, 2
local PAST_THE_END_MS = 100

local before, until_ms, held, failures = unpack(redis.call('HMGET', destination, 'state', 'until', 'held', 'failures'))
before = before or 'open'
held, failures = tonumber(held or 0), tonumber(failures or 0)

local function hold(state, base, cap)
  -- only a probe, or the first refusal, lengthens the wait: answers to calls that were under way say nothing new
  if before ~= state then held = 1 elseif probed then held = held + 1 end
  local pause = math.max(wait or math.min(base * 2 ^ math.min(held - 1, 20), cap), 100)
  pause = math.floor(pause + jitter * math.max(pause / 10, 50))
  if before ~= state or probed or now + pause > tonumber(until_ms or 0) and wait then
    redis.call('HSET', destination, 'state', state, 'until', now + pause, 'reason', reason, 'held', held)
    if before ~= state then redis.call('HSET', destination, 'since', now) end
  end
  redis.call('DEL', budget)
end

if what == 'ok' then
  redis.call('HSET', destination, 'failures', 0, 'worked_at', now)
  redis.call('DEL', failing)
  failures = 0
  -- while it is held, answers to calls sent before say nothing; the probe's do
  if before == 'open' or probed then
    if before ~= 'open' then redis.call('HSET', destination, 'state', 'open', 'since', now, 'held', 0, 'until', 0, 'reason', '') end
    if remaining ~= '' and wait then
      if probed or redis.call('GET', budget) == 'free' then
        -- A probe that was the last call of a period came just before its end: the calls that it made known count for
        -- the next one already. Asking a little later from now on, no period passes with a probe alone.
        if remaining == '0' then wait = wait + PAST_THE_END_MS end
        redis.call('SET', budget, remaining, 'PX', math.max(math.floor(wait), 1))
      end
    else
      redis.call('SET', budget, 'free', 'PX', FREE_MS)
    end
  end
elseif what == 'limited' then
  hold('held', 1000, 60000)
elseif what == 'refused' then
  hold('parked', 30000, 300000)
elseif what == 'failing' then
  failures = redis.call('HINCRBY', destination, 'failures', count)
  redis.call('SADD', failing, unpack(ARGV, 9))
  redis.call('EXPIRE', failing, 86400)
  local several = redis.call('SCARD', failing) >= KEYS_FAILING
  if before ~= 'open' or (several and failures >= FAILURES) then hold(before == 'parked' and 'parked' or 'held', 1000, 30000) end
end
if probed then redis.call('DEL', probe) end
local after, until_after = unpack(redis.call('HMGET', destination, 'state', 'until'))
if after and after ~= before then redis.call('HINCRBY', destination, 'became_' .. after, 1) end
return {before, after or 'open', math.max((tonumber(until_after) or 0) - now, 0), failures,
  redis.call('HGET', destination, 'worked_at') or '0'}
