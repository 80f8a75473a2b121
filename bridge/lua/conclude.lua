-- Ends a dead letter without sending it, or notes that it still is one.
-- ARGV: id, state, story line, ttl_s, audit line or '', '1' if the body it came from goes as well.
-- Returns 1, or 0 if it is no dead letter (any more): then nothing is touched.
local id, state, line, ttl, audit, with_body = unpack(ARGV)
local P = 'dora:'
local event, story = P .. 'event:' .. id, P .. 'story:' .. id
if not redis.call('ZSCORE', P .. 'dead', id) then return 0 end
redis.call('RPUSH', story, line)
if state == 'dead_lettered' then
  local left = redis.call('PTTL', event)
  if left > 0 then redis.call('PEXPIRE', story, left) end
else
  redis.call('ZREM', P .. 'dead', id)
  redis.call('EXPIRE', event, ttl)
  redis.call('EXPIRE', story, ttl)
  if with_body == '1' then redis.call('EXPIRE', P .. 'raw:' .. id, ttl) end
end
if audit ~= '' then redis.call('XADD', P .. 'audit', 'MAXLEN', '~', 10000, '*', 'line', audit) end
return 1
