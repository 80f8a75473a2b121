-- Leases free lanes that have work, up to a fair share of all lanes that have some.
-- ARGV: owner, lease_ms, lanes, worker processes alive, overdue_ms. Returns the lanes taken.
-- A lane whose work is overdue, or was in a hand, is taken beyond the share: its fair owner may be dead.
local owner, lease, lanes = ARGV[1], ARGV[2], tonumber(ARGV[3])
local alive, overdue, now = tonumber(ARGV[4]), tonumber(ARGV[5]), clock_ms()
local P = 'dora:'
local free, busy, mine, taken = {}, 0, 0, {}
for lane = 0, lanes - 1 do
  local holder = redis.call('GET', P .. 'lease:' .. lane)
  if holder then
    busy = busy + 1
    if holder == owner then mine = mine + 1 end
  else
    local due = tonumber(redis.call('ZRANGE', P .. 'lane:' .. lane, 0, 0, 'WITHSCORES')[2] or 'inf')
    local abandoned = redis.call('EXISTS', P .. 'hand:' .. lane) == 1
    if due <= now or abandoned then free[#free + 1] = {lane, due, abandoned} end
  end
end
local share = math.ceil((busy + #free) / math.max(alive, 1))
for _, candidate in ipairs(free) do
  local lane, due, abandoned = unpack(candidate)
  if mine + #taken < share or abandoned or due < now - overdue then
    redis.call('SET', P .. 'lease:' .. lane, owner, 'PX', lease)
    if abandoned then
      local lane_key, hand = P .. 'lane:' .. lane, P .. 'hand:' .. lane
      redis.call('ZUNIONSTORE', lane_key, 2, lane_key, hand, 'AGGREGATE', 'MIN')
      redis.call('DEL', hand)
    end
    taken[#taken + 1] = lane
  end
end
return taken
