-- Records a batch of statements and notes: what is new is written and queued, what is known is recognised.
-- ARGV: raw_ttl_s, events_ttl_s, dead_ttl_s, memory_ttl_s, '1' to look only, why an opening came too late, then for each
-- entry three: what is read here of it, as a JSON list of texts; its JSON; and the body of its webhook, if it brings it.
-- In the list are the fields that `record` takes, and what linking remembers of it: text of a deployment, the service,
-- the rest as JSON; its twins (id and other id of each deployment it names); how rules call what it names by another id
-- (that and the id); its sender's history, number and role in it; and the id of the dead letter it cures.
-- Returns {otherwise, answers, 1 if a drain has to be asked for}. `otherwise` has position (from 0), id and other id of
-- each deployment that was reported under the other id: if there is one, nothing is recorded, and the caller repeats
-- the call with the entries retold. `answers` has one word per entry.
local raw_ttl, events_ttl, dead_ttl, memory_ttl, too_late = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[6]
local P = 'dora:'
local now = clock_ms()
local answers, wake = {}, false

local function tell(id, state, more)
  local line = {at = now, state = state}
  for name, value in pairs(more or {}) do line[name] = value end
  redis.call('RPUSH', P .. 'story:' .. id, cjson.encode(line))
end

-- The body of a webhook comes with the first entry of its place, and is kept with the first that is not known.
local bodies, kept = {}, {}

local function keep_raw(place, ttl)
  ttl = tonumber(ttl)
  if bodies[place] and ttl > (kept[place] or 0) then
    redis.call('SET', P .. 'raw:' .. place, bodies[place], 'EX', ttl)
    kept[place] = ttl
  end
end

-- A statement that ends here: it is written down and never queued.
local function note(id, state, json, received, place, reason)
  local ttl = state == 'dead_lettered' and dead_ttl or events_ttl
  if redis.call('SET', P .. 'event:' .. id, json, 'NX', 'EX', ttl) then
    if reason then
      tell(id, state, {reason = reason})
      redis.call('EXPIRE', P .. 'story:' .. id, ttl)
    end
    redis.call('ZADD', P .. 'settled', received, id)
    if state == 'dead_lettered' then
      redis.call('ZADD', P .. 'dead', now, id)
      keep_raw(place, dead_ttl)
    elseif not reason then
      -- a rule had to do with it: `rules diff` shows what another one would make of it
      keep_raw(place, raw_ttl)
    end
  end
  return state
end

local function queue(id, lane, key, order, received)
  redis.call('ZADD', P .. 'queue:' .. key, order, id)
  redis.call('ZADD', P .. 'waiting', received, id)
  if not redis.call('ZSCORE', P .. 'hand:' .. lane, key) then
    redis.call('ZADD', P .. 'lane:' .. lane, 'NX', now, key)
  end
  wake = wake or redis.call('EXISTS', P .. 'lease:' .. lane) == 0
end

-- Incident Management takes the time of a call for the beginning: what ended so long before cannot be told truly.
local TOO_LATE_MS = 600000

local function ended_long_before(fact, key, received)
  if string.sub(key, 1, 9) ~= 'incident:' then return false end
  for _, id in ipairs(redis.call('HKEYS', P .. 'homeless:' .. fact)) do
    local ended = redis.call('ZSCORE', P .. 'dead', id) and redis.call('ZSCORE', P .. 'settled', id)
    if ended and received - ended > TOO_LATE_MS then return true end
  end
  return false
end

local function record(json, raw, id, fact, rank, state, lane, key, order, opening, needs_opening, place, received)
  if raw ~= '' then bodies[place], kept[place] = raw, nil end
  if state ~= 'waiting' then return note(id, state, json, received, place) end
  local known = redis.call('HGET', P .. 'fact:' .. fact, 'rank')
  local again = known == rank and redis.call('ZSCORE', P .. 'dead', id)
  if known == rank and not again then return 'duplicate' end
  if known and rank < known then
    if redis.call('EXISTS', P .. 'event:' .. id) == 1 then return 'duplicate' end
    return note(id, 'superseded', json, received, place, 'a later statement about it came first')
  end
  if not known and needs_opening ~= '' then
    local ends, reason = string.match(needs_opening, '^(%S+): (.*)$')
    if string.sub(rank, 1, 1) == '2' then
      -- withdrawn before it was reported: when its opening comes late, it is not to be reported either
      redis.call('HSET', P .. 'fact:' .. fact, 'rank', rank)
      redis.call('EXPIRE', P .. 'fact:' .. fact, memory_ttl)
    end
    return note(id, ends, json, received, place, reason)
  end
  if not known and opening ~= '' and ended_long_before(fact, key, received) then
    return note(id, 'dead_lettered', json, received, place, too_late)
  end
  redis.call('SET', P .. 'event:' .. id, json)
  redis.call('HSET', P .. 'fact:' .. fact, 'rank', rank)
  if id ~= fact then redis.call('HSET', P .. 'fact:' .. fact, 'said:' .. rank, id) end
  if opening ~= '' then redis.call('HSETNX', P .. 'fact:' .. fact, 'opening', opening) end
  redis.call('EXPIRE', P .. 'fact:' .. fact, memory_ttl)
  keep_raw(place, raw_ttl)
  -- it had come to its end: as a dead letter, or noted while the opening that it needs was not known
  local was_dead = redis.call('ZREM', P .. 'dead', id) == 1
  if redis.call('ZREM', P .. 'settled', id) == 1 then
    tell(id, 'waiting', {by = 'redelivery'})
    redis.call('PERSIST', P .. 'story:' .. id)
  end
  queue(id, lane, key, order, received)
  return was_dead and 'redriven' or 'accepted'
end

-- An env that neither a rule nor the payload names is not guessed: a person has to see that it is missing.
local function guard_env(fact, id, is_missing)
  local envless = P .. 'envless:' .. fact
  if not is_missing then return redis.call('ZREM', envless, id) end
  redis.call('ZADD', envless, now, id)
  redis.call('ZREMRANGEBYSCORE', envless, '-inf', now - events_ttl * 1000)
  redis.call('EXPIRE', envless, events_ttl)
end

-- What linking has to know of a statement; see timeline.py. `dora:linking` counts, so that nothing said meanwhile is
-- missed. A service that never had an incident, nor a late deployment, needs no look, but for what has to be forgotten.
local FORGET_FROM = 1000

local function remember_deployment(id, text, service)
  local deployments = P .. 'deployments:' .. service
  redis.call('HSET', deployments, id, text)
  redis.call('HSET', P .. 'fact:' .. id, 'service', service)
  redis.call('EXPIRE', deployments, memory_ttl)
  if string.find(text, '^[^|]*|[^|]*|[^|]*|$') then guard_env('deployment', id, true) end
  if redis.call('EXISTS', P .. 'incidents:' .. service, P .. 'late:' .. service) > 0
      or redis.call('HLEN', deployments) > FORGET_FROM then
    redis.call('ZINCRBY', P .. 'linking', 1, service)
  end
end

local function remember(traces, is_sent, is_superseded)
  for _, trace in ipairs(cjson.decode(traces)) do
    local kind, id, at, text, service = unpack(trace)
    local services = {}
    -- what a webhook says itself stays true when something was concluded before it came; the call is not made
    if is_superseded and not (kind == 'incident' and cjson.decode(text).explicit) then kind = 'none' end
    if kind == 'none' then
      services = {}
    elseif kind == 'undeployed' then
      redis.call('HDEL', P .. 'deployments:' .. service, id)
      guard_env('deployment', id, false)
      services = {service}
    elseif kind == 'reopened' then
      redis.call('ZADD', P .. 'reopened:' .. id, 'NX', at, text)
      redis.call('EXPIRE', P .. 'reopened:' .. id, memory_ttl)
    elseif kind == 'verdict' then
      redis.call('SET', P .. 'verdict:' .. id, text, 'EX', memory_ttl)
    else
      local incident = P .. 'incident:' .. id
      if kind == 'incident' then
        redis.call('HSETNX', incident, 'first', text)
        redis.call('HSET', incident, 'last', text)
      elseif kind == 'label' then
        -- redelivered, an older word must not undo a newer one
        local said_at = tonumber(redis.call('HGET', incident, 'labelled_at') or '0')
        if redis.call('EXISTS', incident) == 1 and at >= said_at then
          redis.call('HSET', incident, 'label', text, 'labelled_at', at)
        end
      elseif redis.call('EXISTS', incident) == 1 then
        redis.call('HSET', incident, kind, text)
      end
      redis.call('EXPIRE', incident, memory_ttl)
      local first = redis.call('HGET', incident, 'first')
      first = first and cjson.decode(first) or {}
      services = first.services or {}
      if kind == 'withdrawn' then guard_env('failure', id, false) end
      if kind == 'incident' and is_sent and not first.explicit then guard_env('failure', id, not first.env) end
      for _, one in ipairs(services) do
        redis.call('ZADD', P .. 'incidents:' .. one, 'NX', at, id)
        redis.call('EXPIRE', P .. 'incidents:' .. one, memory_ttl)
      end
    end
    for _, one in ipairs(services) do redis.call('ZINCRBY', P .. 'linking', 1, one) end
  end
end

-- What became a dead letter for want of an opening follows it as soon as it is there.
local function bring_home(fact, lane, key)
  local homeless = redis.call('HGETALL', P .. 'homeless:' .. fact)
  if #homeless > 0 then redis.call('DEL', P .. 'homeless:' .. fact) end
  for i = 1, #homeless, 2 do
    local id, traces = homeless[i], homeless[i + 1]
    local json = redis.call('ZSCORE', P .. 'dead', id) and redis.call('GET', P .. 'event:' .. id)
    local statement = json and cjson.decode(json)
    if statement and statement.key == key and statement.rank > redis.call('HGET', P .. 'fact:' .. fact, 'rank') then
      local received = redis.call('ZSCORE', P .. 'settled', id) or now
      redis.call('HSET', P .. 'fact:' .. fact, 'rank', statement.rank, 'said:' .. statement.rank, id)
      redis.call('ZREM', P .. 'dead', id)
      redis.call('ZREM', P .. 'settled', id)
      redis.call('PERSIST', P .. 'event:' .. id)
      tell(id, 'waiting', {by = 'opening'})
      redis.call('PERSIST', P .. 'story:' .. id)
      queue(id, lane, key, string.format('%.0f', statement.order), received)
      if traces ~= '' then remember(traces, true, false) end
    end
  end
end

local FIRST, EACH = 7, 3
local entries = {}
for i = FIRST, #ARGV, EACH do entries[#entries + 1] = cjson.decode(ARGV[i]) end

-- Which deployments are known under the other id, or were said to have failed; see twins.py. Earlier ones of these
-- entries count as recorded.
local function known_otherwise()
  local found, here = {}, {}
  local function is_reported(id, service)
    return here[id] == service or redis.call('HGET', P .. 'fact:' .. id, 'service') == service
  end
  for position, entry in ipairs(entries) do
    local deployed, service, twins, before = entry[12], entry[13], entry[15], #found
    for id, twin in string.gmatch(twins, '(%S+) (%S+)') do
      if is_reported(twin, service) and not is_reported(id, service) then
        for _, one in ipairs({position - 1, id, twin}) do found[#found + 1] = tostring(one) end
      end
    end
    if deployed ~= '' and #found == before then here[entry[1]] = service end
  end
  return found
end

local otherwise = known_otherwise()
if #otherwise > 0 or ARGV[5] == '1' then return {otherwise, {}, 0} end

local latest = {}
for position, entry in ipairs(entries) do
  local at = FIRST + EACH * (position - 1)
  local id, fact, _, state, lane, key, _, opening, needs_opening = unpack(entry, 1, 9)
  local deployed, service, traces, twins, called, history, number, role, cured = unpack(entry, 12)
  number = tonumber(number)
  local answer
  local reported = role == 'missed' and tonumber(redis.call('GET', P .. 'history:' .. history) or 'inf')
  if reported and reported >= number then
    answer = 'known'
  else
    for name, own in string.gmatch(called, '(%S+) (%S+)') do
      redis.call('SET', P .. 'twin:' .. name, own, 'EX', memory_ttl)
    end
    answer = record(ARGV[at + 1], ARGV[at + 2], unpack(entry, 1, 11))
    if deployed ~= '' and (answer == 'accepted' or answer == 'redriven') then
      remember_deployment(id, deployed, service)
      if answer == 'redriven' and not string.find(deployed, '|$') then guard_env('deployment', id, false) end
    end
    if deployed == '' and (answer == 'accepted' or answer == 'redriven') then
      -- a deployment that comes after what is said of it goes by the id that this waits for
      for awaited in string.gmatch(twins, '(%S+) %S+') do
        redis.call('HSETNX', P .. 'fact:' .. awaited, 'service', service)
        redis.call('EXPIRE', P .. 'fact:' .. awaited, memory_ttl)
      end
    end
    -- ignored for want of an opening: as if it had never been said
    local is_noted = answer == 'ignored' and state ~= 'waiting'
    if traces ~= '' and (answer == 'accepted' or answer == 'redriven' or answer == 'superseded' or is_noted) then
      remember(traces, not is_noted, answer == 'superseded')
    end
    if answer == 'dead_lettered' and needs_opening ~= '' then
      redis.call('HSET', P .. 'homeless:' .. fact, id, traces)
      redis.call('EXPIRE', P .. 'homeless:' .. fact, dead_ttl)
    elseif answer == 'accepted' and opening ~= '' then
      bring_home(fact, lane, key)
    end
    if history ~= '' then latest[history] = math.max(latest[history] or number, number) end
  end
  answers[#answers + 1] = answer
  -- a body that could not be understood before, and now can be: the dead letter about it is done
  if cured ~= '' and redis.call('ZREM', P .. 'dead', cured) == 1 then
    local is_note = string.sub(cured, 1, 3) == 'in-'
    tell(cured, 'superseded', is_note and {by = 'redelivery', reason = 'understood when it was delivered again'}
        or {by = 'opening', reason = 'its opening is known now'})
    redis.call('EXPIRE', P .. 'story:' .. cured, events_ttl)
    redis.call('EXPIRE', P .. 'event:' .. cured, events_ttl)
  end
end
-- at the end: of several entries of one history the latest comes first
for history, number in pairs(latest) do
  local known = tonumber(redis.call('GET', P .. 'history:' .. history) or '-1')
  redis.call('SET', P .. 'history:' .. history, math.max(known, number), 'EX', memory_ttl)
end
if wake and not redis.call('SET', P .. 'ring', '1', 'NX', 'PX', 5000) then wake = false end
return {otherwise, answers, wake and 1 or 0}
