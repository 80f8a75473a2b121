-- Gives lanes back; what was in hand and not settled is due again at once.
-- ARGV: owner, then lanes.
local P = 'dora:'
for i = 2, #ARGV do
  local lane = ARGV[i]
  if redis.call('GET', P .. 'lease:' .. lane) == ARGV[1] then
    local lane_key, hand = P .. 'lane:' .. lane, P .. 'hand:' .. lane
    if redis.call('EXISTS', hand) == 1 then
      redis.call('ZUNIONSTORE', lane_key, 2, lane_key, hand, 'AGGREGATE', 'MIN')
      redis.call('DEL', hand)
    end
    redis.call('DEL', P .. 'lease:' .. lane)
  end
end
return 0
