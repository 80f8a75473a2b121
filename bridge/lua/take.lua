-- Leases free lanes that have work, up to a fair share of all lanes that have some.
-- ARGV: owner, lease_ms, lanes, worker processes alive, overdue_ms. Returns {lanes taken, the fair share}.
-- A lane that has been left free for too long, or was in a hand, is taken beyond the share: its fair owner may be
-- dead. `dora:free` says since when a lane with work is free.
local owner, lease, lanes = ARGV[1], ARGV[2], tonumber(ARGV[3])
local alive, overdue, now = tonumber(ARGV[4]), tonumber(ARGV[5]), clock_ms()
local P = 'dora:'
local free, busy, mine, taken = {}, 0, 0, {}
for lane = 0, lanes - 1 do
  local holder = redis.call('GET', P .. 'lease:' .. lane)
  if holder then
    busy = busy + 1
    redis.call('ZREM', P .. 'free', lane)
    if holder == owner then mine = mine + 1 end
  else
    local due = tonumber(redis.call('ZRANGE', P .. 'lane:' .. lane, 0, 0, 'WITHSCORES')[2] or 'inf')
    local abandoned = redis.call('EXISTS', P .. 'hand:' .. lane) == 1
    if due <= now or abandoned then
      redis.call('ZADD', P .. 'free', 'NX', now, lane)
      free[#free + 1] = {lane, tonumber(redis.call('ZSCORE', P .. 'free', lane)), abandoned}
    end
  end
end
local share = math.ceil((busy + #free) / math.max(alive, 1))
for _, candidate in ipairs(free) do
  local lane, since, abandoned = unpack(candidate)
  if mine + #taken < share or abandoned or since < now - overdue then
    redis.call('SET', P .. 'lease:' .. lane, owner, 'PX', lease)
    redis.call('ZREM', P .. 'free', lane)
    if abandoned then
      local lane_key, hand = P .. 'lane:' .. lane, P .. 'hand:' .. lane
      redis.call('ZUNIONSTORE', lane_key, 2, lane_key, hand, 'AGGREGATE', 'MIN')
      redis.call('DEL', hand)
    end
    taken[#taken + 1] = lane
  end
end
return {taken, share}
