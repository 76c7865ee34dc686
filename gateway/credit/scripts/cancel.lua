-- The client left, or the front end gave up.
-- ARGV  1 job  2 control message for the worker that holds it  3 1 = nothing is charged
-- Returns 'voided' (nobody had claimed it), 'expired' (its worker is gone: checkpoint charged), 'asked', or 'gone'
local job = ARGV[1]
local j = load(job)
if not j then return 'gone' end
if ARGV[3] == '1' then j.cx = 'free' end
if j.st == 'p' then return expire(job, j) end
local lease = redis.call('ZSCORE', 'wr:leases', job)
if not lease or tonumber(lease) <= now_ms() then return expire(job, j) end
redis.call('HSET', 'wr:j:' .. job, 'cx', j.cx or '1')
redis.call('PUBLISH', 'wr:ctl:' .. j.wk, ARGV[2])
return 'asked'
