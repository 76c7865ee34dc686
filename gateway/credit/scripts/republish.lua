-- Puts a job's message on the queue again where nobody holds it under a live lease.
-- ARGV  1 job  2 queue  3 message
-- Returns 'sent', 'running' (a live lease), or 'gone'
local job = ARGV[1]
local st = redis.call('HGET', 'wr:j:' .. job, 'st')
if not st then return 'gone' end
if st == 'r' then
  local lease = redis.call('ZSCORE', 'wr:leases', job)
  if lease and tonumber(lease) > now_ms() then return 'running' end
end
redis.call('LPUSH', ARGV[2], ARGV[3])
return 'sent'
