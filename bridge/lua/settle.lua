-- Records what became of statements in hand, and gives the next one of each key that has one.
-- ARGV: owner, lease_ms, '1' if PATCHes can be sent, then for each: lane, key, id, state, story line, ms to wait, ttl_s, commit or version
-- and second that Datadog was told of a deployment (or may have been), else '', and the id that Datadog gave it, else ''.
-- Returns {lanes that are lost, heads as in fetch}.
-- A lane nobody holds: its outcomes are recorded, but it is reported as lost, so that its holder of before stops.
-- A lane that another holds: likewise, but only what came to an end, and neither its lane nor its hand is touched.
-- What was recorded before, by whomever, is not recorded again.
local owner, lease, now = ARGV[1], ARGV[2], clock_ms()
local P = 'dora:'
local lost, heads, seen = {}, {}, {}

local function tell(key, id, line, told, second)
  redis.call('RPUSH', P .. 'story:' .. id, line)
  if second == '' then return end
  local sent = P .. 'line:' .. key
  redis.call('ZADD', sent, 'GT', second, told)
  redis.call('ZREMRANGEBYRANK', sent, 0, -501)
  redis.call('EXPIRE', sent, 15552000)
end

-- A deployment that came late may have looked like a rollback: linking has to look at where it came.
local function note_late(key, id, fact)
  if string.sub(key, 1, 11) ~= 'deployment:' then return end
  local text = redis.call('HGET', fact, 'adjusted')
  local behind = text and text ~= '' and cjson.decode(text).behind
  local json = behind and redis.call('GET', P .. 'event:' .. id)
  if not json then return end
  local service = cjson.decode(json).body.data.attributes.service
  redis.call('HSET', P .. 'late:' .. service, id, string.format('%d|%d', behind, now))
  redis.call('EXPIRE', P .. 'late:' .. service, 15552000)
  redis.call('ZINCRBY', P .. 'linking', 1, service)
end

-- What later statements about other things wait for. A PATCH says nothing about its deployment being there.
local function mark_delivered(key, id, line, uuid)
  if string.sub(key, 1, 7) == 'change:' then return end
  local fact = P .. 'fact:' .. (string.match(id, '^(.-)~') or id)
  redis.call('HSETNX', fact, 'delivered', now)
  if string.find(line, '"reason":"delayed"', 1, true) then redis.call('HSETNX', fact, 'delayed', now) end
  if uuid ~= '' then redis.call('HSET', fact, 'uuid', uuid) end
  note_late(key, id, fact)
end

local function finish(key, id, state, line, ttl)
  local received = redis.call('ZSCORE', P .. 'waiting', id) or now
  redis.call('ZREM', P .. 'queue:' .. key, id)
  redis.call('ZREM', P .. 'waiting', id)
  redis.call('ZADD', P .. 'settled', received, id)
  -- the sample must not outgrow what reading back may ask Datadog for
  if string.find(line, '"reason":"delayed"', 1, true)
      or (string.find(line, '"sampled":true', 1, true) and redis.call('ZCARD', P .. 'lookups') < 1000) then
    redis.call('ZADD', P .. 'lookups', now + 60000, id)
  end
  redis.call('EXPIRE', P .. 'story:' .. id, ttl)
  redis.call('EXPIRE', P .. 'event:' .. id, ttl)
  if state == 'dead_lettered' then
    redis.call('ZADD', P .. 'dead', now, id)
    -- several statements of one webhook share a body
    local ok, raw = pcall(function() return cjson.decode(redis.call('GET', P .. 'event:' .. id)).raw end)
    redis.call('EXPIRE', P .. 'raw:' .. (ok and raw or id), ttl)
  end
end

for i = 4, #ARGV, 10 do
  local lane, key, id, state, line, wait, ttl, told, second, uuid = unpack(ARGV, i, i + 9)
  if seen[lane] == nil then
    local holder = redis.call('GET', P .. 'lease:' .. lane)
    seen[lane] = holder == owner and 'mine' or (holder and 'other' or 'free')
    if seen[lane] == 'mine' then redis.call('PEXPIRE', P .. 'lease:' .. lane, lease)
    else lost[#lost + 1] = tonumber(lane) end
  end
  local hand, lane_key = P .. 'hand:' .. lane, P .. 'lane:' .. lane
  local is_queued = redis.call('ZSCORE', P .. 'queue:' .. key, id)
  if state ~= 'waiting' and is_queued then
    tell(key, id, line, told, second)
    finish(key, id, state, line, ttl)
    if state == 'delivered' then mark_delivered(key, id, line, uuid) end
  elseif is_queued and seen[lane] ~= 'other' then
    tell(key, id, line, told, second)
    redis.call('LTRIM', P .. 'story:' .. id, -100, -1)
    redis.call('ZREM', hand, key)
    redis.call('ZADD', lane_key, now + wait, key)
  end
  if seen[lane] ~= 'other' and (state ~= 'waiting' or not is_queued) then
    local next_head = seen[lane] == 'mine' and head(P, lane, key, now, ARGV[3] == '1')
    if next_head then
      heads[#heads + 1] = next_head
    else
      redis.call('ZREM', hand, key)
      if redis.call('EXISTS', P .. 'queue:' .. key) == 1 then redis.call('ZADD', lane_key, now, key) end
    end
  end
end
return {lost, heads}
