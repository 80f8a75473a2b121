-- Takes due keys of leased lanes in hand and gives the first statement of each; renews the leases.
-- ARGV: owner, lease_ms, how many in all, how many of each lane, '1' if PATCHes can be sent, then lanes.
-- Returns {lanes that are lost, heads, milliseconds until the first of what is left is due, or -1}.
local owner, lease, now = ARGV[1], ARGV[2], clock_ms()
local P = 'dora:'
local lost, heads, soonest = {}, {}, -1

local wanted, each = tonumber(ARGV[3]), tonumber(ARGV[4])
for i = 6, #ARGV do
  local lane, count = ARGV[i], math.min(each, wanted - #heads)
  if redis.call('GET', P .. 'lease:' .. lane) ~= owner then
    lost[#lost + 1] = tonumber(lane)
  else
    redis.call('PEXPIRE', P .. 'lease:' .. lane, lease)
    local lane_key = P .. 'lane:' .. lane
    for _, key in ipairs(redis.call('ZRANGEBYSCORE', lane_key, '-inf', now, 'LIMIT', 0, math.max(count, 0))) do
      redis.call('ZREM', lane_key, key)
      local found = head(P, lane, key, now, ARGV[5] == '1')
      if found then
        redis.call('ZADD', P .. 'hand:' .. lane, now, key)
        heads[#heads + 1] = found
      end
    end
    local next_one = redis.call('ZRANGE', lane_key, 0, 0, 'WITHSCORES')[2]
    local wait = next_one and math.max(tonumber(next_one) - now, 0)
    if wait and (soonest < 0 or wait < soonest) then soonest = wait end
  end
end
return {lost, heads, soonest}
