-- A worker takes a job. A message is only a hint; this decides.
-- ARGV  1 job  2 worker  3 lease ms  4 most epochs
-- Returns {'ok', epoch, cap, hold, sealed job, reply channel, now, attempts so far, base event}
--      or {'gone'} | {'leased'} | {'spent', reply, epoch} (claimed too often: it kills its workers; it is ended here)
local now = now_ms()
local job = ARGV[1]
local j = load(job)
if not j then return {'gone'} end
if j.st == 'r' then
  local lease = redis.call('ZSCORE', 'wr:leases', job)
  if lease and tonumber(lease) > now then return {'leased'} end
end
local body = redis.call('GET', 'wr:b:' .. job)
if not body or j.cx then
  expire(job, j)
  return {'gone'}
end
if number(j.ep) >= tonumber(ARGV[4]) then
  expire(job, j)
  return {'spent', j.reply, number(j.ep)}
end
local epoch = redis.call('HINCRBY', 'wr:j:' .. job, 'ep', 1)
redis.call('HSET', 'wr:j:' .. job, 'st', 'r', 'wk', ARGV[2])
redis.call('ZADD', 'wr:leases', int(now + tonumber(ARGV[3])), job)
return {'ok', epoch, number(j.cap), j.hold, body, j.reply, now, j.att or '', j.base}
