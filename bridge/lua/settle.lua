-- Records what became of statements in hand, and gives the next one of each key that has one.
-- ARGV: owner, lease_ms, then for each: lane, key, id, state, story line, ms to wait, ttl_s, commit or version
-- and second that Datadog was told of a deployment (or may have been), else ''.
-- Returns {lanes that are lost, heads as in fetch}.
-- A lane leased by another: nothing is touched. A lane nobody holds: recorded all the same (it saves a
-- repetition), but reported as lost, so that its holder of before stops.
local owner, lease, now = ARGV[1], ARGV[2], clock_ms()
local P = 'dora:'
local lost, heads, seen = {}, {}, {}

for i = 3, #ARGV, 9 do
  local lane, key, id, state, line, wait, ttl, told, second = unpack(ARGV, i, i + 8)
  if seen[lane] == nil then
    local holder = redis.call('GET', P .. 'lease:' .. lane)
    seen[lane] = holder == owner and 'mine' or (holder and 'other' or 'free')
    if seen[lane] == 'mine' then redis.call('PEXPIRE', P .. 'lease:' .. lane, lease)
    else lost[#lost + 1] = tonumber(lane) end
  end
  if seen[lane] ~= 'other' then
    redis.call('RPUSH', P .. 'story:' .. id, line)
    if second ~= '' then
      local sent = P .. 'line:' .. key
      redis.call('ZADD', sent, 'GT', second, told)
      redis.call('ZREMRANGEBYRANK', sent, 0, -501)
      redis.call('EXPIRE', sent, 15552000)
    end
    local queue, hand, lane_key = P .. 'queue:' .. key, P .. 'hand:' .. lane, P .. 'lane:' .. lane
    if state == 'waiting' then
      redis.call('LTRIM', P .. 'story:' .. id, -100, -1)
      redis.call('ZREM', hand, key)
      redis.call('ZADD', lane_key, now + wait, key)
    else
      local received = redis.call('ZSCORE', P .. 'waiting', id) or now
      redis.call('ZREM', queue, id)
      redis.call('ZREM', P .. 'waiting', id)
      redis.call('ZADD', P .. 'settled', received, id)
      if string.find(line, '"reason":"delayed"', 1, true) then redis.call('ZADD', P .. 'delayed', now + 60000, id) end
      redis.call('EXPIRE', P .. 'story:' .. id, ttl)
      redis.call('EXPIRE', P .. 'event:' .. id, ttl)
      if state == 'dead_lettered' then
        redis.call('ZADD', P .. 'dead', now, id)
        -- several statements of one webhook share a body
        local ok, raw = pcall(function() return cjson.decode(redis.call('GET', P .. 'event:' .. id)).raw end)
        redis.call('EXPIRE', P .. 'raw:' .. (ok and raw or id), ttl)
      end
      local next_head = seen[lane] == 'mine' and head(P, lane, key, now)
      if next_head then
        heads[#heads + 1] = next_head
      else
        redis.call('ZREM', hand, key)
        if redis.call('EXISTS', queue) == 1 then redis.call('ZADD', lane_key, now, key) end
      end
    end
  end
end
return {lost, heads}
