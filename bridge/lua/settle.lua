-- Records what became of statements in hand, and gives the next one of each key that has one.
-- ARGV: owner, now_ms, lease_ms, then for each: lane, key, id, state, story line, due_ms, ttl_s.
-- Returns {lanes that are lost, heads as in fetch}.
-- A lane leased by another: nothing is touched. A lane nobody holds: recorded all the same (it saves a
-- repetition), but reported as lost, so that its holder of before stops.
local owner, now, lease = ARGV[1], ARGV[2], ARGV[3]
local P = 'dora:'
local lost, heads, seen = {}, {}, {}

for i = 4, #ARGV, 7 do
  local lane, key, id, state, line, due, ttl = unpack(ARGV, i, i + 6)
  if seen[lane] == nil then
    local holder = redis.call('GET', P .. 'lease:' .. lane)
    seen[lane] = holder == owner and 'mine' or (holder and 'other' or 'free')
    if seen[lane] == 'mine' then redis.call('PEXPIRE', P .. 'lease:' .. lane, lease)
    else lost[#lost + 1] = tonumber(lane) end
  end
  if seen[lane] ~= 'other' then
    redis.call('RPUSH', P .. 'story:' .. id, line)
    local queue, hand, lane_key = P .. 'queue:' .. key, P .. 'hand:' .. lane, P .. 'lane:' .. lane
    if state == 'waiting' then
      redis.call('LTRIM', P .. 'story:' .. id, -100, -1)
      redis.call('ZREM', hand, key)
      redis.call('ZADD', lane_key, due, key)
    else
      local received = redis.call('ZSCORE', P .. 'waiting', id) or now
      redis.call('ZREM', queue, id)
      redis.call('ZREM', P .. 'waiting', id)
      redis.call('ZADD', P .. 'settled', received, id)
      redis.call('EXPIRE', P .. 'story:' .. id, ttl)
      redis.call('EXPIRE', P .. 'event:' .. id, ttl)
      if state == 'dead_lettered' then
        redis.call('ZADD', P .. 'dead', now, id)
        redis.call('EXPIRE', P .. 'raw:' .. id, ttl)
      end
      local next_id = redis.call('ZRANGE', queue, 0, 0)[1]
      local json = next_id and redis.call('GET', P .. 'event:' .. next_id)
      if json and seen[lane] == 'mine' then
        local fact = string.match(next_id, '^(.-)~')
        local opening = fact and redis.call('HGET', P .. 'fact:' .. fact, 'opening') or ''
        local story = redis.call('LINDEX', P .. 'story:' .. next_id, -1) or ''
        heads[#heads + 1] = {lane, key, next_id, json, story, opening}
      else
        redis.call('ZREM', hand, key)
        if next_id then redis.call('ZADD', lane_key, now, key) end
      end
    end
  end
end
return {lost, heads}
