-- Sets one organisation's window from the ledger, without holds.
-- ARGV  1 org  2 version  3 balance micro-won  4 outbox number applied  5 how many months; then month, spent micro-won each
--       then how many keys; then key, version, spent micro-won each
local org = 'wr:o:' .. ARGV[1]
redis.call('DEL', org)
redis.call('HSET', org, 'v', ARGV[2], 'bal', ARGV[3], 'seq', ARGV[4], 'held', 0, 'slots', 0)
local at = 6
for _ = 1, tonumber(ARGV[5]) do
  redis.call('HSET', org, 'm:' .. ARGV[at], ARGV[at + 1])
  at = at + 2
end
local keys = tonumber(ARGV[at])
at = at + 1
for _ = 1, keys do
  local key = 'wr:k:' .. ARGV[at]
  redis.call('DEL', key)
  redis.call('HSET', key, 'v', ARGV[at + 1], 'spent', ARGV[at + 2], 'held', 0, 'slots', 0)
  at = at + 3
end
return 'ok'
