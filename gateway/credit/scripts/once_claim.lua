-- Claims an Idempotency-Key for one call, or says what became of the first.
-- KEYS  1 wr:i:{record}  2 wr:iq:{org}, the organisation's records by the ms at which they are forgotten
-- ARGV  1 fingerprint of the request  2 token of this claim  3 lease ms  4 how long it is kept, s  5 most records
-- wr:i:{record}  fp tok until(ms) jobs micro st('' | kept | unkept) ans(sealed)
-- Returns {'mine'}, {'kept', sealed answer}, {'busy', ms}, {'mismatch'}, {'full', ms},
--         {'lost'} (the first call was charged, and its answer is gone) or {'unkept'} (it was too large to keep)
local now = now_ms()
local r = redis.call('HMGET', KEYS[1], 'fp', 'until', 'jobs', 'micro', 'st')
if r[1] then
  if r[1] ~= ARGV[1] then return {'mismatch'} end
  if r[5] == 'kept' then return {'kept', redis.call('HGET', KEYS[1], 'ans')} end
  if r[5] == 'unkept' then return {'unkept'} end
  for job in string.gmatch(r[3] or '', '%S+') do
    if redis.call('EXISTS', 'wr:j:' .. job) == 1 then return {'busy', 1000} end
  end
  -- between claim and job, or job and kept answer: a moment, unless its front end has died in it
  if number(r[2]) > now then return {'busy', math.min(1000, number(r[2]) - now)} end
  if number(r[4]) > 0 then return {'lost'} end
  redis.call('DEL', KEYS[1]) -- its front end died, and nothing was charged
else
  redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', int(now))
  if redis.call('ZCARD', KEYS[2]) >= tonumber(ARGV[5]) then
    return {'full', math.max(1, tonumber(redis.call('ZRANGE', KEYS[2], 0, 0, 'WITHSCORES')[2]) - now)}
  end
end
redis.call('HSET', KEYS[1], 'fp', ARGV[1], 'tok', ARGV[2], 'until', int(now + tonumber(ARGV[3])))
redis.call('EXPIRE', KEYS[1], ARGV[4])
redis.call('ZADD', KEYS[2], int(now + tonumber(ARGV[4]) * 1000), KEYS[1])
redis.call('EXPIRE', KEYS[2], ARGV[4])
return {'mine'}
