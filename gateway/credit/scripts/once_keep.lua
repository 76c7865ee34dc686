-- Keeps the first answer.
-- KEYS  1 wr:i:{record}  2 wr:ib:{org}, bytes kept of the organisation
-- ARGV  1 token  2 sealed answer, '' = too large  3 most bytes of the organisation  4 TTL of that count, s
-- Returns 'kept', 'unkept' or 'stale'
if redis.call('HGET', KEYS[1], 'tok') ~= ARGV[1] then return 'stale' end
local size = #ARGV[2]
if size == 0 or number(redis.call('GET', KEYS[2])) + size > tonumber(ARGV[3]) then
  redis.call('HSET', KEYS[1], 'st', 'unkept')
  return 'unkept'
end
redis.call('INCRBY', KEYS[2], size)
redis.call('EXPIRE', KEYS[2], ARGV[4], 'NX')
redis.call('HSET', KEYS[1], 'st', 'kept', 'ans', ARGV[2])
redis.call('HDEL', KEYS[1], 'jobs')
return 'kept'
