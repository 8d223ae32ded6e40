-- What wrk sends: new events of 1,000 accounts. Arguments: "rising" or "random" ids,
-- "message" or "work" (which waits, so that nothing is settled meanwhile), and how
-- many events a request has (1: an object, more: an array).
local number = 0
function setup(thread)
  thread:set("me", number)
  number = number + 1
end

function init(args)
  ids, kind, batch = args[1], args[2], tonumber(args[3])
  n, started = 0, os.time()
  math.randomseed(started * 1000 + me)
end

local function id()
  n = n + 1
  if ids == "rising" then
    return string.format("%d-%09d-%d", started, n, me)
  end
  local r = math.random
  return string.format("%04x%04x-%04x-4%03x-%04x-%04x%04x%04x", r(0, 65535), r(0, 65535), r(0, 65535),
    r(0, 4095), r(32768, 49151), r(0, 65535), r(0, 65535), r(0, 65535))
end

local function event()
  local c = 100000 + math.random(0, 999)
  local i = id()
  if kind == "work" then
    return string.format('{"client_id":"client00000000000000000000%d","message_id":"%s","type":"work","payload":{"ms":60000,"phone":"+7000%d","text":"hello there, this is message number %d"}}', c, i, c, n)
  end
  return string.format('{"client_id":"client00000000000000000000%d","message_id":"%s","payload":{"phone":"+7000%d","text":"hello there, this is message number %d"}}', c, i, c, n)
end

local header = {["Content-Type"] = "application/json"}

function request()
  if batch == 1 then
    return wrk.format("POST", "/v1/events", header, event())
  end
  local all = {}
  for i = 1, batch do all[i] = event() end
  return wrk.format("POST", "/v1/events", header, "[" .. table.concat(all, ",") .. "]")
end

function done(summary, latency)
  local e = summary.errors
  io.write(string.format('\n{"requests":%d,"micros":%d,"refused":%d,"broken":%d,"p50":%d,"p99":%d}\n', summary.requests,
    summary.duration, e.status, e.connect + e.read + e.write + e.timeout, latency:percentile(50), latency:percentile(99)))
end
