-- A worker's heartbeat: renews leases and leaves checkpoints, for all its jobs in one call.
-- ARGV  1 lease ms; then five per job: job, epoch, checkpoint event or '', its micro-won, attempts or ''
-- Returns one number per job: 1 renewed, 0 lost (ended, or claimed by another), 2 renewed but cancelled, 3 so and free
local now = now_ms()
local out = {}
for i = 2, #ARGV, 5 do
  local name = 'wr:j:' .. ARGV[i]
  local j = redis.call('HMGET', name, 'ep', 'cx')
  if j[1] ~= ARGV[i + 1] then
    out[#out + 1] = 0
  else
    redis.call('ZADD', 'wr:leases', int(now + tonumber(ARGV[1])), ARGV[i])
    if ARGV[i + 2] ~= '' then redis.call('HSET', name, 'ck', ARGV[i + 2], 'ckm', ARGV[i + 3]) end
    if ARGV[i + 4] ~= '' then redis.call('HSET', name, 'att', ARGV[i + 4]) end
    out[#out + 1] = j[2] and (j[2] == 'free' and 3 or 2) or 1
  end
end
return out
