-- Requests of one length from a file, in their order; prints what came of them as JSON.
-- wrk -s wrk.lua http://127.0.0.1:PORT -- FILE LENGTH
local file, length

function init(arguments)
  file = assert(io.open(arguments[1], "rb"))
  length = tonumber(arguments[2])
end

function request()
  local one = file:read(length)
  if not one or #one < length then
    file:seek("set")
    one = file:read(length)
  end
  return one
end

function done(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format(
    '\n{"requests": %d, "seconds": %.6f, "refused": %d, "broken": %d, "p50_ms": %.3f, "p99_ms": %.3f}\n',
    summary.requests, summary.duration / 1e6, errors.status,
    errors.connect + errors.read + errors.write + errors.timeout,
    latency:percentile(50) / 1000, latency:percentile(99) / 1000
  ))
end
