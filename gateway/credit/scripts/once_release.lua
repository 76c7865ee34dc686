-- The call failed: its key may be used again, unless it was charged.
-- KEYS  1 wr:i:{record}  2 wr:iq:{org}   ARGV  1 token
-- Returns 'released', 'charged', 'running' (a job of it has not ended; whoever asks next sees how it ends) or 'stale'
local r = redis.call('HMGET', KEYS[1], 'tok', 'jobs', 'micro')
if r[1] ~= ARGV[1] then return 'stale' end
redis.call('HSET', KEYS[1], 'until', '0')
for job in string.gmatch(r[2] or '', '%S+') do
  if redis.call('EXISTS', 'wr:j:' .. job) == 1 then return 'running' end
end
if number(r[3]) > 0 then return 'charged' end
redis.call('DEL', KEYS[1])
redis.call('ZREM', KEYS[2], KEYS[1])
return 'released'
