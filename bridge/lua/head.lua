-- Put before fetch.lua and settle.lua: the first statement of a key, with what has to be done to it before it is sent.

-- Datadog cannot tell two deployments of one service in the same second apart, and may take one that comes late, of
-- a commit or version that was sent before, for a rollback. What is done about either is decided once, here, and
-- kept with the fact, so that a repetition has the same body:
--   second     the next free second, when another deployment of this service and env has this one
--   late       true when a later one was sent before
--   behind     the second of the latest one that was, where Datadog can be told by PATCH what is no rollback
--   anonymous  where it cannot: commit and version are left out, since they were sent before too
local FURTHEST_S = 60

local function adjusted(P, key, id, json, now, can_patch)
  if string.sub(key, 1, 11) ~= 'deployment:' then return '' end
  local fact = P .. 'fact:' .. id
  local kept = redis.call('HGET', fact, 'adjusted')
  if kept then return kept end
  local ok, attributes = pcall(function() return cjson.decode(json).body.data.attributes end)
  if not ok then return '' end
  local finished = math.floor(attributes.finished_at / 1e9)
  local result, seconds, line = {}, P .. 'seconds:' .. key, P .. 'line:' .. key
  local second = finished
  while second < finished + FURTHEST_S and second <= now / 1000
      and redis.call('ZCOUNT', seconds, second, second) > 0 do second = second + 1 end
  if second > now / 1000 or second == finished + FURTHEST_S then second = finished end
  if second ~= finished then result.second = second end
  redis.call('ZADD', seconds, second, id)
  redis.call('ZREMRANGEBYRANK', seconds, 0, -1001)
  redis.call('EXPIRE', seconds, 2592000)
  local latest = redis.call('ZRANGE', line, -1, -1, 'WITHSCORES')
  if latest[2] and tonumber(latest[2]) > second then
    result.late = true
    local identity = type(attributes.git) == 'table' and attributes.git.commit_sha or attributes.version
    if can_patch then
      result.behind = tonumber(latest[2])
    elseif identity and identity ~= latest[1] and redis.call('ZSCORE', line, identity) then
      result.anonymous = true
    end
  end
  local text = next(result) and cjson.encode(result) or ''
  redis.call('HSET', fact, 'adjusted', text)
  return text
end

-- {lane, key, id, json, last line of its story or '', opening or '', adjustments or '', Datadog's own id or ''}, or nil.
local function head(P, lane, key, now, can_patch)
  while true do
    local id = redis.call('ZRANGE', P .. 'queue:' .. key, 0, 0)[1]
    if not id then return nil end
    local json = redis.call('GET', P .. 'event:' .. id)
    if json then
      local fact = string.match(id, '^(.-)~')
      local opening = fact and redis.call('HGET', P .. 'fact:' .. fact, 'opening') or ''
      local uuid = fact and redis.call('HGET', P .. 'fact:' .. fact, 'uuid') or ''
      local story = redis.call('LINDEX', P .. 'story:' .. id, -1) or ''
      return {lane, key, id, json, story, opening, adjusted(P, key, id, json, tonumber(now), can_patch), uuid}
    end
    redis.call('ZREM', P .. 'queue:' .. key, id)
    redis.call('ZREM', P .. 'waiting', id)
  end
end

