-- Applies one change from PostgreSQL's outbox, in order, once.
-- ARGV  1 org  2 sequence number  3 micro-won to add to the balance  4 organisation version or ''
--       5 key or ''  6 key version or ''  7 micro-won to add to what the key spent  8 month or ''  9 micro-won to add to it
--       10 window epoch  11 news to publish or ''
-- Returns 'applied', 'known' (number seen before), 'gap' (an earlier number is missing) or 'rebuilding'
if redis.call('GET', 'wr:epoch') ~= ARGV[10] then return 'rebuilding' end
local org = 'wr:o:' .. ARGV[1]
local seen, seq = number(redis.call('HGET', org, 'seq')), tonumber(ARGV[2])
if seq <= seen then return 'known' end
if seq > seen + 1 then return 'gap' end
redis.call('HSET', org, 'seq', int(seq))
redis.call('HINCRBY', org, 'bal', ARGV[3])
redis.call('HINCRBY', org, 'held', 0)
redis.call('HINCRBY', org, 'slots', 0)
if ARGV[4] ~= '' and number(redis.call('HGET', org, 'v')) < tonumber(ARGV[4]) then redis.call('HSET', org, 'v', ARGV[4]) end
if ARGV[5] ~= '' then
  local key = 'wr:k:' .. ARGV[5]
  if ARGV[6] ~= '' and number(redis.call('HGET', key, 'v')) < tonumber(ARGV[6]) then redis.call('HSET', key, 'v', ARGV[6]) end
  redis.call('HINCRBY', key, 'spent', ARGV[7])
end
if ARGV[8] ~= '' then redis.call('HINCRBY', org, 'm:' .. ARGV[8], ARGV[9]) end
if ARGV[11] ~= '' then redis.call('PUBLISH', 'wr:news', ARGV[11]) end
return 'applied'
