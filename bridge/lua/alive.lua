-- Notes a sign of life of a worker process. ARGV: its name, alive_ms. Returns how many gave one lately.
local now, alive = clock_ms(), tonumber(ARGV[2])
redis.call('ZADD', 'dora:workers', now, ARGV[1])
redis.call('ZREMRANGEBYSCORE', 'dora:workers', 0, now - 10 * alive)
return redis.call('ZCOUNT', 'dora:workers', now - alive, '+inf')
