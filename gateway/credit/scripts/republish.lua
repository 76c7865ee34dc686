-- Puts a job's message on the queue again where nobody holds it under a live lease.
-- An unclaimed one still waits for its turn: it needs a worker, not a message of its own that would pass the others. It
-- is called through Celery: a worker that seemed awake may not be.
-- ARGV  1 job  2 queue  3 message that names it  4 '1' = only where a worker had claimed it  5 message with {ID}
-- Returns 'waiting' (unclaimed, left alone), 'sent' (nobody had claimed it), 'again' (its worker's lease lapsed), 'running' (a live lease), or 'gone'
local job = ARGV[1]
local st = redis.call('HGET', 'wr:j:' .. job, 'st')
if not st then return 'gone' end
if st == 'r' then
  local lease = redis.call('ZSCORE', 'wr:leases', job)
  if lease and tonumber(lease) > now_ms() then return 'running' end
end
if st == 'p' and ARGV[4] == '1' then return 'waiting' end
if st == 'r' then
  redis.call('LPUSH', ARGV[2], ARGV[3])
elseif redis.call('LLEN', ARGV[2]) == 0 then
  redis.call('DEL', 'wr:called') -- whoever got the message has taken what it could, or is gone
  call_worker(ARGV[2], ARGV[5], job)
end
return st == 'r' and 'again' or 'sent'
