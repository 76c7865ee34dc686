-- A worker that was called cannot take jobs, or will take none any more: another one is called.
-- ARGV  1 worker  2 queue  3 message with {ID}
redis.call('ZREM', 'wr:awake', ARGV[1])
if redis.call('EXISTS', 'wr:ready') == 1 or redis.call('EXISTS', 'wr:later') == 1 then
  redis.call('DEL', 'wr:called')
  call_worker(ARGV[2], ARGV[3], ARGV[1], now_ms())
end
return 1
