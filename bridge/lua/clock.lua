-- Put before each script that needs the time: Redis's own, so that a wrong clock of one process harms nobody else.
local function clock_ms()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

