-- The end of a job: event, hold, slot and last frame in one step.
-- ARGV  1 job  2 epoch  3 outcome  4 micro-won  5 event  6 reply channel  7 frame or ''  8 kept answer or ''  9 its TTL s
--       10 org  11 key
-- Returns {'ok' | 'stale' | 'nohold' | 'disowned', listeners}
--   stale: another attempt holds the job; nothing was written.
--   disowned: cancelled and not charged, which its worker has not heard of; nothing was written, an end without a charge will be.
--   nohold: the window does not know the job (it expired, or Redis came back empty); the event is appended all the
--   same, and settlement books it if it is the first for this job.
local job = ARGV[1]
local j = load(job)
local answer = 'ok'
if j and j.ep ~= ARGV[2] then return {'stale', 0} end
if j and j.cx == 'free' and tonumber(ARGV[4]) > 0 then return {'disowned', 0} end
if j then
  j.att = nil -- the event itself lists every attempt
  finish(job, j, ARGV[3], tonumber(ARGV[4]), ARGV[5])
else
  answer = 'nohold'
  redis.call('XADD', 'wr:usage', '*', 'job', job, 'org', ARGV[10], 'key', ARGV[11], 'out', ARGV[3],
    'micro', ARGV[4], 'ep', ARGV[2], 'hold', '0', 'ev', ARGV[5], 'att', '')
end
if ARGV[8] ~= '' then redis.call('SET', 'wr:a:' .. job, ARGV[8], 'EX', ARGV[9]) end
local listeners = 0
if ARGV[7] ~= '' then listeners = redis.call('PUBLISH', ARGV[6], ARGV[7]) end
return {answer, listeners}
