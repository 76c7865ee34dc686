-- Admission: checks everything and takes everything, or takes nothing.
-- KEYS  1 wr:epoch  2 wr:o:{org}  3 wr:k:{key}  4 wr:leases  5 queue  6… wr:r:{scope}, one per rate limit
-- ARGV  1 window epoch   2 org  3 key  4 org version  5 key version   6 id digits a  7 id digits b
--       8 terms valid from ms  9 valid until ms  10 month  11 prepaid 1|0  12 month limit  13 key limit (micro-won, -1 none)
--       14 input micro-won  15 micro-won per output token  16 output cap wanted  17 least cap worth running
--       18 org slots  19 key slots (-1 none)  20 queue max  21 lease ms  22 grace ms
--       23 sealed job  24 its TTL s  25 reply channel  26 base event  27 message with {JOB}
--       28 rate limits: how many; then that many limits (requests per 60 s), as KEYS 6…
-- Returns {'ok', job, cap, now, hold, {remaining per rate limit}, {ms until one is free per rate limit}}
--      or {'rebuilding'} {'stale'} {'terms', now} {'rate', ms, index} {'slots'} {'queue'} {'credit', scope}
local now = now_ms()
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return {'rebuilding'} end
local o = redis.call('HMGET', KEYS[2], 'v', 'bal', 'held', 'slots', 'm:' .. ARGV[10])
if not o[1] then return {'rebuilding'} end
local k = redis.call('HMGET', KEYS[3], 'v', 'spent', 'held', 'slots')
if o[1] ~= ARGV[4] or k[1] ~= ARGV[5] then return {'stale'} end
if now < tonumber(ARGV[8]) or now >= tonumber(ARGV[9]) then return {'terms', now} end

local rates = tonumber(ARGV[28])
local remaining, resets = {}, {}
for i = 1, rates do
  local limit = tonumber(ARGV[28 + i])
  local oldest = redis.call('LINDEX', KEYS[5 + i], limit - 1)
  if limit < 1 or (oldest and tonumber(oldest) > now - 60000) then
    return {'rate', oldest and (tonumber(oldest) + 60000 - now) or 60000, i}
  end
end
if redis.call('LLEN', KEYS[5]) >= tonumber(ARGV[20]) then return {'queue'} end

-- Returns a refusal, or nil and the granted cap. Runs again after lapsed jobs were swept away.
local wanted, least, input, unit = tonumber(ARGV[16]), tonumber(ARGV[17]), tonumber(ARGV[14]), tonumber(ARGV[15])
local function check(bal, oheld, oslots, month, spent, kheld, kslots)
  local limit = tonumber(ARGV[18])
  if limit >= 0 and oslots >= limit then return {'slots', 'org'} end
  limit = tonumber(ARGV[19])
  if limit >= 0 and kslots >= limit then return {'slots', 'key'} end
  local free, scope = 9e15, 'none'
  if ARGV[11] == '1' then free, scope = bal - oheld, 'credit' end
  limit = tonumber(ARGV[12])
  if limit >= 0 and limit - month - oheld < free then free, scope = limit - month - oheld, 'month' end
  limit = tonumber(ARGV[13])
  if limit >= 0 and limit - spent - kheld < free then free, scope = limit - spent - kheld, 'key' end
  local cap = wanted
  if input + cap * unit > free then
    cap = unit > 0 and math.floor((free - input) / unit) or -1
    if cap < least then return {'credit', scope} end
  end
  return nil, cap
end
local function attempt()
  local a = redis.call('HMGET', KEYS[2], 'bal', 'held', 'slots', 'm:' .. ARGV[10])
  local b = redis.call('HMGET', KEYS[3], 'spent', 'held', 'slots')
  return check(number(a[1]), number(a[2]), number(a[3]), number(a[4]), number(b[1]), number(b[2]), number(b[3]))
end
local refusal, cap = check(number(o[2]), number(o[3]), number(o[4]), number(o[5]), number(k[2]), number(k[3]), number(k[4]))
if refusal and #sweep(now, tonumber(ARGV[22]), 50) > 0 then refusal, cap = attempt() end
if refusal then
  -- billing tells people when a limit refuses calls; read and forgotten every few seconds
  if refusal[1] == 'credit' and refusal[2] ~= 'none' then
    redis.call('HSET', 'wr:refused', refusal[2] .. ' ' .. (refusal[2] == 'key' and ARGV[3] or ARGV[2]), int(now))
  end
  return refusal
end

local stamp = string.format('%012x', now)
local job = stamp .. '7' .. ARGV[6] .. ARGV[7]
local hold = input + cap * unit
for i = 1, rates do
  local limit = tonumber(ARGV[28 + i])
  redis.call('LPUSH', KEYS[5 + i], int(now))
  redis.call('LTRIM', KEYS[5 + i], 0, limit - 1)
  redis.call('PEXPIRE', KEYS[5 + i], 60000)
  -- how many of the window's places are taken: the list is in falling order, so search by halves
  local low, high = 0, redis.call('LLEN', KEYS[5 + i])
  while low < high do
    local mid = math.floor((low + high) / 2)
    if tonumber(redis.call('LINDEX', KEYS[5 + i], mid)) > now - 60000 then low = mid + 1 else high = mid end
  end
  remaining[i] = limit - low
  resets[i] = tonumber(redis.call('LINDEX', KEYS[5 + i], low - 1)) + 60000 - now
end
redis.call('HINCRBY', KEYS[2], 'held', int(hold))
redis.call('HINCRBY', KEYS[2], 'slots', 1)
redis.call('HINCRBY', KEYS[3], 'held', int(hold))
redis.call('HINCRBY', KEYS[3], 'slots', 1)
redis.call('HSET', 'wr:j:' .. job, 'st', 'p', 'we', ARGV[1], 'ep', '0', 'org', ARGV[2], 'key', ARGV[3], 'mon', ARGV[10],
  'hold', int(hold), 'cap', int(cap), 'reply', ARGV[25], 'base', ARGV[26], 'unit', ARGV[15],
  'lim', ARGV[11] .. ' ' .. ARGV[12] .. ' ' .. ARGV[13])
redis.call('SET', 'wr:b:' .. job, ARGV[23], 'EX', ARGV[24])
redis.call('ZADD', KEYS[4], int(now + tonumber(ARGV[21])), job)
local message = string.gsub(ARGV[27], '{JOB}', job)
redis.call('LPUSH', KEYS[5], message)
return {'ok', job, cap, now, int(hold), remaining, resets}
