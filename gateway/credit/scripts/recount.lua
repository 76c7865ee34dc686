-- Counts the long bodies of open jobs anew: whoever ends a job in an earlier version of finish.lua does not take it off.
-- Returns how many bytes they are.
if redis.call('EXISTS', 'wr:long') == 0 then return 0 end
local all, of = 0, {}
for _, job in ipairs(redis.call('ZRANGE', 'wr:leases', 0, -1)) do
  local j = redis.call('HMGET', 'wr:j:' .. job, 'org', 'len')
  if j[2] then
    all = all + number(j[2])
    of[j[1]] = (of[j[1]] or 0) + number(j[2])
  end
end
redis.call('DEL', 'wr:long')
if all > 0 then
  redis.call('HSET', 'wr:long', 'all', int(all))
  for org, bytes in pairs(of) do redis.call('HSET', 'wr:long', org, int(bytes)) end
end
return all
