-- Makes a key's or an organisation's version known to the window at once; only ever forwards.
-- KEYS 1 wr:k:{key} or wr:o:{org}   ARGV 1 version  2 micro-won spent, for a key that the window does not know; '' for
-- an organisation, which only the outbox or a rebuild may create
local known = redis.call('HGET', KEYS[1], 'v')
if known and tonumber(known) >= tonumber(ARGV[1]) then return 'known' end
if not known and ARGV[2] == '' then return 'absent' end
redis.call('HSET', KEYS[1], 'v', ARGV[1])
if not known then redis.call('HSET', KEYS[1], 'spent', ARGV[2], 'held', 0, 'slots', 0) end
return 'set'
