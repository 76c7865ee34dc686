-- Takes the holds of the jobs that are still open into the new window and opens it.
-- ARGV  1 new window epoch.  Returns how many holds were taken over.
local jobs = redis.call('ZRANGE', 'wr:leases', 0, -1)
local taken = 0
for _, job in ipairs(jobs) do
  local j = redis.call('HMGET', 'wr:j:' .. job, 'org', 'key', 'hold', 'slot')
  if not j[1] then
    redis.call('ZREM', 'wr:leases', job)
  else
    redis.call('HINCRBY', 'wr:o:' .. j[1], 'held', j[3])
    redis.call('HINCRBY', 'wr:o:' .. j[1], 'slots', 1)
    redis.call('HINCRBY', 'wr:k:' .. j[2], 'held', j[3])
    redis.call('HINCRBY', 'wr:k:' .. j[2], 'slots', 1)
    if j[4] then
      redis.call('HINCRBY', 'wr:o:' .. j[1], j[4], 1)
      redis.call('HINCRBY', 'wr:k:' .. j[2], j[4], 1)
    end
    redis.call('HSET', 'wr:j:' .. job, 'we', ARGV[1])
    taken = taken + 1
  end
end
redis.call('SET', 'wr:epoch', ARGV[1])
return taken
