-- The front end still works on the call.
-- KEYS  1 wr:i:{record}   ARGV  1 token  2 lease ms.   Returns 1, or 0 where the claim is another's
if redis.call('HGET', KEYS[1], 'tok') ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], 'until', int(now_ms() + tonumber(ARGV[2])))
return 1
