-- Looks for lanes that have work and no lease. ARGV: lanes. Returns 1 if a drain has to be asked for.
local now = clock_ms()
local P = 'dora:'
for lane = 0, tonumber(ARGV[1]) - 1 do
  if redis.call('EXISTS', P .. 'lease:' .. lane) == 0 then
    local due = redis.call('ZRANGE', P .. 'lane:' .. lane, 0, 0, 'WITHSCORES')[2]
    if redis.call('EXISTS', P .. 'hand:' .. lane) == 1 or (due and tonumber(due) <= now) then
      return redis.call('SET', P .. 'ring', '1', 'NX', 'PX', 5000) and 1 or 0
    end
  end
end
return 0
