-- Puts dead letters back into their queues. What is no dead letter (any more) is left alone.
-- ARGV: events_ttl_s, memory_ttl_s, audit line or '', then for each the 13 fields below.
-- `json`, `opening` and `original` are empty unless the statement was edited or translated again.
-- Returns one word each, `redriven`, `superseded`, `gone` or `no_opening`, and last '1' if a drain has to be asked for.
local events_ttl, memory_ttl, audit = ARGV[1], ARGV[2], ARGV[3]
local P = 'dora:'
local answers, wake, acted = {}, false, false

-- Whether Datadog has, or may have, another statement about the same fact.
local function may_be_known(id, key, lane, cannot_be_under_way)
  if redis.call('EXISTS', P .. 'event:' .. id) == 0 then return true end
  local in_hand = redis.call('ZSCORE', P .. 'waiting', id) and redis.call('ZSCORE', P .. 'hand:' .. lane, key)
  if in_hand and not cannot_be_under_way then return true end
  for _, line in ipairs(redis.call('LRANGE', P .. 'story:' .. id, 0, -1)) do
    local told = cjson.decode(line)
    if told.verdict == 'delivered' then return true end
    if told.reason == 'server_error' or told.reason == 'timeout' or told.reason == 'network' then return true end
  end
  return false
end

local function is_late(id, fact, rank, key, lane)
  local said = redis.call('HGETALL', P .. 'fact:' .. fact)
  -- what changes or ends an incident of Incident Management waits for the id that Datadog gives it, even in a hand
  local unborn = string.sub(key, 1, 9) == 'incident:' and redis.call('HEXISTS', P .. 'fact:' .. fact, 'uuid') == 0
  for i = 1, #said, 2 do
    local other = string.match(said[i], '^said:(.*)$')
    if other and other > rank and said[i + 1] ~= id and may_be_known(said[i + 1], key, lane, unborn) then return true end
  end
  return false
end

local function redrive(id, fact, rank, lane, key, old_key, order, received, needs_opening, json, opening, original, line)
  if not redis.call('ZSCORE', P .. 'dead', id) then return 'gone' end
  local about, event, story = P .. 'fact:' .. fact, P .. 'event:' .. id, P .. 'story:' .. id
  local known = redis.call('HGET', about, 'rank')
  if not known and needs_opening ~= '' then return 'no_opening' end
  acted = true
  if original ~= '' then redis.call('SET', P .. 'original:' .. id, original, 'NX', 'EX', memory_ttl) end
  if json ~= '' then redis.call('SET', event, json, 'KEEPTTL') end
  -- others may have been sent meanwhile; but what Datadog may have got must be repeated as it was
  if json ~= '' or not may_be_known(id, key, lane) then
    redis.call('HDEL', about, 'adjusted')
    redis.call('ZREM', P .. 'seconds:' .. old_key, id)
  end
  redis.call('ZREM', P .. 'dead', id)
  if known and known > rank and is_late(id, fact, rank, key, lane) then
    local told = cjson.decode(line)
    told.state, told.reason = 'superseded', 'Datadog has, or may have, a later statement about it'
    redis.call('RPUSH', story, cjson.encode(told))
    redis.call('EXPIRE', story, events_ttl)
    redis.call('EXPIRE', event, events_ttl)
    return 'superseded'
  end
  if not known or known < rank then redis.call('HSET', about, 'rank', rank) end
  if id ~= fact then redis.call('HSET', about, 'said:' .. rank, id) end
  if opening ~= '' then redis.call('HSET', about, 'opening', opening) end
  redis.call('EXPIRE', about, memory_ttl)
  redis.call('RPUSH', story, line)
  redis.call('PERSIST', story)
  redis.call('PERSIST', event)
  redis.call('ZREM', P .. 'settled', id)
  redis.call('ZADD', P .. 'waiting', received, id)
  redis.call('ZADD', P .. 'queue:' .. key, order, id)
  if not redis.call('ZSCORE', P .. 'hand:' .. lane, key) then
    -- as the first of its key it need not wait for as long as what comes after it was to
    local is_first = redis.call('ZRANGE', P .. 'queue:' .. key, 0, 0)[1] == id
    redis.call('ZADD', P .. 'lane:' .. lane, is_first and 'LT' or 'NX', clock_ms(), key)
  end
  wake = wake or redis.call('EXISTS', P .. 'lease:' .. lane) == 0
  return 'redriven'
end

for i = 4, #ARGV, 13 do answers[#answers + 1] = redrive(unpack(ARGV, i, i + 12)) end
if acted and audit ~= '' then redis.call('XADD', P .. 'audit', 'MAXLEN', '~', 10000, '*', 'line', audit) end
if wake and not redis.call('SET', P .. 'ring', '1', 'NX', 'PX', 5000) then wake = false end
answers[#answers + 1] = wake and '1' or '0'
return answers
