-- Puts a job's message on the queue again where nobody holds it under a live lease.
-- ARGV  1 job  2 queue  3 message  4 '1' = only where a worker had claimed it
-- Returns 'waiting' (unclaimed, left alone), 'sent' (nobody had claimed it), 'again' (its worker's lease lapsed), 'running' (a live lease), or 'gone'
local job = ARGV[1]
local st = redis.call('HGET', 'wr:j:' .. job, 'st')
if not st then return 'gone' end
if st == 'r' then
  local lease = redis.call('ZSCORE', 'wr:leases', job)
  if lease and tonumber(lease) > now_ms() then return 'running' end
end
if st == 'p' and ARGV[4] == '1' then return 'waiting' end
redis.call('LPUSH', ARGV[2], ARGV[3])
return st == 'r' and 'again' or 'sent'
