-- Whose turn it is: smooth weighted choice over all workers, leaving out open breakers and deployments that cool down.
-- Keys: wr:d:{deployment} hash  s score  open, probe, cool times in ms of Redis's clock (see report.lua)
-- ARGV  1 ms between two probes of an open deployment
--       then for each candidate, preferred group first:  group number, deployment, weight
-- Returns {position of the chosen from 1, 1 where it is a probe}, or {0, ms until one may be asked, 1 where that is
-- because its provider asked for the pause}.
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local every = tonumber(ARGV[1])
local wait, paused = math.huge, 0
local count = (#ARGV - 1) / 3
local i = 1
while i <= count do
  local group, total, free = ARGV[3 * i - 1], 0, {}
  while i <= count and ARGV[3 * i - 1] == group do
    local key = 'wr:d:' .. ARGV[3 * i]
    local h = redis.call('HMGET', key, 's', 'open', 'probe', 'cool')
    local cools = (tonumber(h[4] or '0') or 0) - now
    if cools > 0 then
      if cools < wait then wait, paused = cools, 1 end
    elseif h[2] then
      local rest = (tonumber(h[3] or '0') or 0) + every - now
      if rest <= 0 then
        redis.call('HSET', key, 'probe', string.format('%.0f', now))
        return {i, 1}
      end
      if rest < wait then wait, paused = rest, 0 end
    else
      local weight = tonumber(ARGV[3 * i + 1])
      total = total + weight
      free[#free + 1] = {i, key, (tonumber(h[1] or '0') or 0) + weight}
    end
    i = i + 1
  end
  if #free > 0 then
    local best = free[1]
    for _, one in ipairs(free) do
      if one[3] > best[3] then best = one end
    end
    if #free > 1 then
      best[3] = best[3] - total
      for _, one in ipairs(free) do redis.call('HSET', one[2], 's', string.format('%.0f', one[3])) end
    end
    return {best[1], 0}
  end
end
return {0, math.max(1, math.floor(wait)), paused}
