-- Admission: checks everything and takes everything, or takes nothing.
-- KEYS  1 wr:epoch  2 wr:o:{org}  3 wr:k:{key}  4 wr:leases  5 queue  6… wr:r:{scope}, one per rate limit
--       then wr:t:{scope}, one per token limit
-- ARGV  1 window epoch   2 org  3 key  4 org version  5 key version   6 id digits a  7 id digits b
--       8 terms valid from ms  9 valid until ms  10 month  11 prepaid 1|0  12 month limit  13 key limit (micro-won, -1 none)
--       14 input micro-won  15 micro-won per output token  16 output cap wanted  17 least cap worth running
--       18 org slots  19 key slots (-1 none)  20 queue max  21 lease ms  22 grace ms
--       23 sealed job  24 its TTL s  25 reply channel  26 base event  27 message with {ID}
--       28 rate limits: how many; then that many limits (requests per 60 s), as KEYS 6…
--       then: token limits: how many; as many limits (tokens per 60 s); tokens that this call may use
--       then: field of the model's slots, or ''; its slots for the organisation; for the key (-1 none)
--       then: the call's wr:i:{record}, or ''; the token under which it was claimed
--       then: 1 = in the background (queue max is that of the background queue); longest wait ms
--       then: bytes that the long bodies of open jobs may have together
-- Returns {'ok', job, cap, now, hold, {remaining per rate limit}, {ms until one is free per rate limit}}
--         (of the rate limits, then of the token limits)
--      or {'rebuilding'} {'stale'} {'terms', now} {'rate', ms, index} {'tokens', ms, index} {'large', index}
--         {'slots', scope} {'queue', scope, ms until it is worth asking again} {'credit', scope} {'bodies', scope}
--         {'claim'} (the Idempotency-Key is another call's by now)
local now = now_ms()
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return {'rebuilding'} end
local function window()
  return redis.call('HMGET', KEYS[2], 'v', 'bal', 'held', 'slots', 'm:' .. ARGV[10]),
    redis.call('HMGET', KEYS[3], 'v', 'spent', 'held', 'slots')
end
local o, k = window()
if not o[1] then return {'rebuilding'} end
if o[1] ~= ARGV[4] or k[1] ~= ARGV[5] then return {'stale'} end
if now < tonumber(ARGV[8]) or now >= tonumber(ARGV[9]) then return {'terms', now} end

-- The list is in falling order, and what is older than the window leaves from its end: one for every one that comes,
-- and all at once, searched by halves, after a pause. Returns how many are left, and the oldest.
local function within(name)
  local oldest = redis.call('LINDEX', name, -1)
  for _ = 1, 4 do
    if not oldest or tonumber(oldest) > now - 60000 then return redis.call('LLEN', name), oldest end
    redis.call('RPOP', name)
    oldest = redis.call('LINDEX', name, -1)
  end
  local low, high = 0, redis.call('LLEN', name)
  while low < high do
    local mid = math.floor((low + high) / 2)
    if tonumber(redis.call('LINDEX', name, mid)) > now - 60000 then low = mid + 1 else high = mid end
  end
  if low == 0 then redis.call('DEL', name) else redis.call('LTRIM', name, 0, low - 1) end
  return low, redis.call('LINDEX', name, -1)
end

local rates = tonumber(ARGV[28])
local remaining, resets = {}, {}
for i = 1, rates do
  local limit, count, oldest = tonumber(ARGV[28 + i]), within(KEYS[5 + i])
  if count >= limit then
    local last = limit > 0 and redis.call('LINDEX', KEYS[5 + i], limit - 1)
    return {'rate', last and (tonumber(last) + 60000 - now) or 60000, i}
  end
  remaining[i] = limit - count - 1
  resets[i] = oldest and (tonumber(oldest) + 60000 - now) or 60000
end
local at = 29 + rates
local buckets, tokens = tonumber(ARGV[at]), tonumber(ARGV[at + tonumber(ARGV[at]) + 1])
local token_limits = at
at = at + buckets + 2
local slot, org_most, key_most, record, claimed = ARGV[at], tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2]), ARGV[at + 3], ARGV[at + 4]
local taken = {}
for i = 1, buckets do
  local limit = tonumber(ARGV[token_limits + i])
  if tokens > limit then return {'large', i} end
  local used, wait = token_use(KEYS[5 + rates + i], now, limit - tokens)
  if wait then return {'tokens', wait, i} end
  taken[i] = used
end
if record ~= '' and redis.call('HGET', record, 'tok') ~= claimed then return {'claim'} end
-- One organisation may fill half of the places: its flood leaves the others room. And nobody waits for longer than is
-- promised: what would is refused now. A burst may wait for so long; a queue that has not been empty for as long would
-- only make everybody wait, so it is kept short.
local ring, counter = 'wr:ready', 'wr:waiting'
if ARGV[at + 5] == '1' then ring, counter = 'wr:later', 'wr:deferred' end
local waiting, places, longest = ring .. ':' .. ARGV[2], tonumber(ARGV[20]), tonumber(ARGV[at + 6])
local queued, own = number(redis.call('GET', counter)), redis.call('LLEN', waiting)
if queued > 0 or places == 0 then
  local scope = queued >= places and 'all' or own >= math.ceil(places / 2) and 'org'
  local wait, standing = expected_wait(now, ring, waiting, queued, own, longest)
  if standing then longest = longest / 6 end
  if scope or wait > longest then
    -- where all are refused nobody else would call a worker whose message was lost
    if redis.call('LLEN', KEYS[5]) == 0 then call_worker(KEYS[5], ARGV[27], ARGV[6] .. ARGV[7], now) end
    return {'queue', scope or 'wait', int(math.max(0, wait - longest))}
  end
end

-- A job's body is here until its end, for the worker that takes over, and in the memory of the worker that runs it. Short
-- ones are bounded by how many jobs there are; long ones are counted. One organisation may have half of the room, and the
-- background no more than half of it; a single body has room always.
local LONG = 16384
local size, room = #ARGV[23], tonumber(ARGV[at + 7])
if ARGV[at + 5] == '1' then room = room / 2 end

-- Returns a refusal, or nil and the granted cap. Runs again after lapsed jobs were swept away.
local wanted, least, input, unit = tonumber(ARGV[16]), tonumber(ARGV[17]), tonumber(ARGV[14]), tonumber(ARGV[15])
local function check()
  local oheld, kheld, month = number(o[3]), number(k[3]), number(o[5])
  local limit = tonumber(ARGV[18])
  if limit >= 0 and number(o[4]) >= limit then return {'slots', 'org'} end
  limit = tonumber(ARGV[19])
  if limit >= 0 and number(k[4]) >= limit then return {'slots', 'key'} end
  if size >= LONG then
    local kept = redis.call('HMGET', 'wr:long', 'all', ARGV[2])
    if kept[1] and number(kept[1]) + size > room then return {'bodies', 'all'} end
    if kept[2] and number(kept[2]) + size > room / 2 then return {'bodies', 'org'} end
  end
  if slot ~= '' then
    if org_most >= 0 and number(redis.call('HGET', KEYS[2], slot)) >= org_most then return {'slots', 'org'} end
    if key_most >= 0 and number(redis.call('HGET', KEYS[3], slot)) >= key_most then return {'slots', 'key'} end
  end
  local free, scope = 9e15, 'none'
  if ARGV[11] == '1' then free, scope = number(o[2]) - oheld, 'credit' end
  limit = tonumber(ARGV[12])
  if limit >= 0 and limit - month - oheld < free then free, scope = limit - month - oheld, 'month' end
  limit = tonumber(ARGV[13])
  local rest = limit - number(k[2]) - kheld
  if limit >= 0 and rest < free then free, scope = rest, 'key' end
  local cap = wanted
  if input + cap * unit > free then
    cap = unit > 0 and math.floor((free - input) / unit) or -1
    if cap < least then return {'credit', scope} end
  end
  return nil, cap
end
local refusal, cap = check()
if refusal and #sweep(now, tonumber(ARGV[22]), 50) > 0 then
  o, k = window()
  refusal, cap = check()
end
if refusal then
  -- billing tells people when a limit refuses calls; forgotten a minute later
  if refusal[1] == 'credit' and refusal[2] ~= 'none' then
    redis.call('HSET', 'wr:refused', refusal[2] .. ' ' .. (refusal[2] == 'key' and ARGV[3] or ARGV[2]), int(now))
  end
  return refusal
end

local stamp = string.format('%012x', now)
local job = stamp .. '7' .. ARGV[6] .. ARGV[7]
local hold = input + cap * unit
for i = 1, rates do
  redis.call('LPUSH', KEYS[5 + i], int(now))
  redis.call('PEXPIRE', KEYS[5 + i], 60000)
end
redis.call('HSET', KEYS[2], 'held', int(number(o[3]) + hold), 'slots', int(number(o[4]) + 1))
redis.call('HSET', KEYS[3], 'held', int(number(k[3]) + hold), 'slots', int(number(k[4]) + 1))
redis.call('HSET', 'wr:j:' .. job, 'st', 'p', 'we', ARGV[1], 'ep', '0', 'org', ARGV[2], 'key', ARGV[3], 'mon', ARGV[10],
  'hold', int(hold), 'cap', int(cap), 'reply', ARGV[25], 'base', ARGV[26], 'unit', ARGV[15],
  'lim', ARGV[11] .. ' ' .. ARGV[12] .. ' ' .. ARGV[13])
if slot ~= '' then
  redis.call('HINCRBY', KEYS[2], slot, 1)
  redis.call('HINCRBY', KEYS[3], slot, 1)
  redis.call('HSET', 'wr:j:' .. job, 'slot', slot)
end
if buckets > 0 then
  local second = int(math.floor(now / 1000))
  for i = 1, buckets do
    local name = KEYS[5 + rates + i]
    redis.call('HINCRBY', name, second, int(tokens))
    redis.call('PEXPIRE', name, 62000)
    remaining[rates + i] = tonumber(ARGV[token_limits + i]) - taken[i] - tokens
    resets[rates + i] = 61000 - now % 1000
  end
  redis.call('HSET', 'wr:j:' .. job, 'tk', int(tokens) .. ' ' .. second .. ' ' ..
    table.concat({unpack(KEYS, 6 + rates, 5 + rates + buckets)}, ' '))
end
if record ~= '' then
  redis.call('HSET', 'wr:j:' .. job, 'ik', record)
  redis.call('HSET', record, 'jobs', (redis.call('HGET', record, 'jobs') or '') .. job .. ' ')
end
if size >= LONG then
  redis.call('HINCRBY', 'wr:long', 'all', size)
  redis.call('HINCRBY', 'wr:long', ARGV[2], size)
  redis.call('HSET', 'wr:j:' .. job, 'len', size)
end
redis.call('SET', 'wr:b:' .. job, ARGV[23], 'EX', ARGV[24])
redis.call('ZADD', KEYS[4], int(now + tonumber(ARGV[21])), job)
if redis.call('RPUSH', waiting, job) == 1 then redis.call('RPUSH', ring, ARGV[2]) end
redis.call('INCR', counter)
call_worker(KEYS[5], ARGV[27], job, now)
return {'ok', job, cap, now, int(hold), remaining, resets}
