-- Takes ids out of an index whose records have expired. ARGV: index, greatest score, how many to skip, how many to see.
-- Returns {seen, removed}; what is left of those seen has to be skipped the next time.
local index = 'dora:' .. ARGV[1]
local removed = 0
local ids = redis.call('ZRANGEBYSCORE', index, '-inf', ARGV[2], 'LIMIT', ARGV[3], ARGV[4])
for _, id in ipairs(ids) do
  if redis.call('EXISTS', 'dora:event:' .. id) == 0 then removed = removed + redis.call('ZREM', index, id) end
end
return {#ids, removed}
