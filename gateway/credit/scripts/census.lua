-- What the window holds at one moment, for the reconciliation; it is read under the settler's lock, so that nobody
-- takes events from the stream meanwhile.
-- ARGV  1 how many organisations, then their ids; then the keys' ids
-- Returns { epoch or '', id of the newest usage event or '', {HGETALL per organisation}, {HGETALL per key},
--           {job, org, key, hold, window epoch of the hold, each as a row of five} }
local orgs, windows, keys, holds = tonumber(ARGV[1]), {}, {}, {}
for i = 2, orgs + 1 do windows[#windows + 1] = redis.call('HGETALL', 'wr:o:' .. ARGV[i]) end
for i = orgs + 2, #ARGV do keys[#keys + 1] = redis.call('HGETALL', 'wr:k:' .. ARGV[i]) end
for _, job in ipairs(redis.call('ZRANGE', 'wr:leases', 0, -1)) do
  local j = redis.call('HMGET', 'wr:j:' .. job, 'org', 'key', 'hold', 'we')
  if j[1] then holds[#holds + 1] = { job, j[1], j[2], j[3], j[4] } end
end
local newest = redis.call('XREVRANGE', 'wr:usage', '+', '-', 'COUNT', 1)
return { redis.call('GET', 'wr:epoch') or '', newest[1] and newest[1][1] or '', windows, keys, holds }
