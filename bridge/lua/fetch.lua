-- Takes due keys of leased lanes in hand and gives the first statement of each; renews the leases.
-- ARGV: owner, now_ms, lease_ms, how many in all, how many of each lane, then lanes.
-- Returns {lanes that are lost, heads, earliest due time of what is left or -1}.
local owner, now, lease = ARGV[1], tonumber(ARGV[2]), ARGV[3]
local P = 'dora:'
local lost, heads, soonest = {}, {}, -1

local wanted, each = tonumber(ARGV[4]), tonumber(ARGV[5])
for i = 6, #ARGV do
  local lane, count = ARGV[i], math.min(each, wanted - #heads)
  if redis.call('GET', P .. 'lease:' .. lane) ~= owner then
    lost[#lost + 1] = tonumber(lane)
  else
    redis.call('PEXPIRE', P .. 'lease:' .. lane, lease)
    local lane_key = P .. 'lane:' .. lane
    for _, key in ipairs(redis.call('ZRANGEBYSCORE', lane_key, '-inf', now, 'LIMIT', 0, math.max(count, 0))) do
      redis.call('ZREM', lane_key, key)
      local found = head(P, lane, key, now)
      if found then
        redis.call('ZADD', P .. 'hand:' .. lane, now, key)
        heads[#heads + 1] = found
      end
    end
    local next_one = redis.call('ZRANGE', lane_key, 0, 0, 'WITHSCORES')[2]
    if next_one and (soonest < 0 or tonumber(next_one) < soonest) then soonest = tonumber(next_one) end
  end
end
return {lost, heads, tostring(soonest)}
