-- A new event with each request, of 1,000 accounts; setup numbers the threads.
local threads = 0

function setup(thread)
  threads = threads + 1
  thread:set("number", threads)
end

function init(args)
  n = 0
  wrk.method = "POST"
  wrk.headers["Content-Type"] = "application/json"
end

function request()
  n = n + 1
  return wrk.format(nil, nil, nil, string.format(
    '{"client_id":"c%d","message_id":"%d-%d","payload":{"phone":"+70000000001","text":"hello"}}', n % 1000, number, n))
end

