-- What workers have seen of deployments: opens and closes their breakers, keeps decayed rates.
-- Keys: wr:d:{deployment} hash, forgotten after a day without a call
--   s           score of the weighted choice (choose.lua)
--   fw, f, c    start of the failure window (ms), failures and calls in it
--   open, probe when the breaker opened and when it was last probed (ms); absent: closed
--   cool        the provider asked not to be called before this (ms)
--   at, ok, ko  decayed numbers of good and failed calls, and when they were decayed last (ms)
--   lat         decayed mean of the time to the first token (ms)
-- ARGV  1 window ms  2 failures that open a breaker  3 half-life of the rates, ms
--       then for each deployment: id, good calls, failures, sum of times to the first token (ms), cool for ms,
--       1 where a probe was good (only that closes a breaker: other good calls may be older than its opening)
-- Returns for each deployment: state (0 closed, 1 open, 2 cools down), error rate in 1/10000, latency in ms, and for
-- an open one the ms since it was probed last.
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local window, limit, half = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local function n(value) return tonumber(value or '0') or 0 end
local function text(value) return string.format('%.0f', value) end
local answer = {}
for i = 4, #ARGV, 6 do
  local key, good, bad, sum, cool = 'wr:d:' .. ARGV[i], n(ARGV[i + 1]), n(ARGV[i + 2]), n(ARGV[i + 3]), n(ARGV[i + 4])
  local h = redis.call('HMGET', key, 'fw', 'f', 'c', 'open', 'cool', 'at', 'ok', 'ko', 'lat', 'probe')
  local open, cools, quiet = h[4], n(h[5]), 0
  local fade = 0.5 ^ (math.max(0, now - n(h[6])) / half)
  local ok, ko, lat = n(h[7]) * fade, n(h[8]) * fade, n(h[9])
  if good + bad + cool > 0 then
    local since, failed, calls = n(h[1]), n(h[2]), n(h[3])
    if now - since > window then since, failed, calls = now, 0, 0 end
    failed, calls = failed + bad, calls + good + bad
    if good > 0 then
      lat = (lat * ok + sum) / (ok + good)
      if open and ARGV[i + 5] == '1' then
        redis.call('HDEL', key, 'open', 'probe')
        open, since, failed, calls = false, now, 0, good
      end
    end
    ok, ko = ok + good, ko + bad
    if not open and bad > 0 and failed >= limit and failed * 2 >= calls then
      open = text(now)
      redis.call('HSET', key, 'open', open, 'probe', open)
    end
    if cool > 0 then
      cools = math.max(cools, now + cool)
      redis.call('HSET', key, 'cool', text(cools))
    end
    redis.call('HSET', key, 'fw', text(since), 'f', text(failed), 'c', text(calls), 'at', text(now),
      'ok', string.format('%.3f', ok), 'ko', string.format('%.3f', ko), 'lat', string.format('%.1f', lat))
    redis.call('PEXPIRE', key, 86400000)
  end
  local state = 0
  if open then state, quiet = 1, math.max(0, now - n(h[10])) elseif cools > now then state = 2 end
  -- one good call more than was seen: who is not called any more is forgiven as the failures fade
  local rate = math.floor(10000 * ko / (ok + ko + 1))
  answer[#answer + 1] = {state, rate, math.floor(lat), quiet}
end
return answer
