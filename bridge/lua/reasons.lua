-- Counts dead letters by the reason of their last line, without reading whole records.
-- ARGV: first and last place, newest first. Returns {how many were looked at, reason, count, reason, count, …}.
local P = 'dora:'
local ids, counts, answer = redis.call('ZREVRANGE', P .. 'dead', ARGV[1], ARGV[2]), {}, {}
for _, id in ipairs(ids) do
  local line = redis.call('LINDEX', P .. 'story:' .. id, -1) or ''
  local reason
  if string.find(line, '"verdict"', 1, true) then
    reason = string.match(line, '"reason": ?"([a-z_]+)"') or 'invalid'
  elseif string.sub(id, 1, 3) == 'in-' or string.find(line, '"retranslate"', 1, true) then
    reason = 'payload_invalid'
  else
    reason = 'opening_unknown'
  end
  counts[reason] = (counts[reason] or 0) + 1
end
answer[1] = tostring(#ids)
for reason, count in pairs(counts) do
  answer[#answer + 1] = reason
  answer[#answer + 1] = tostring(count)
end
return answer
