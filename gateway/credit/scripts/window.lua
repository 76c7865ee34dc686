-- Shared by every script of the credit window (put in front of each by gateway.credit.scripts).
--
-- wr:j:{job}  st    p(laced) | r(unning)      we    window epoch the hold was taken under
--             ep    attempt epoch, 0 = never claimed
--             org key mon   whose, and the month of its limit (YYYYMM)
--             hold  micro-won held             cap   output tokens granted
--             reply channel of the front end   wk    worker that claimed it
--             base  usage event with nothing used          att   attempts so far
--             ck    usage event of the last checkpoint     ckm   its charge, micro-won
--             cx    1 = cancelled, free = cancelled and not charged
--             slot  field of the model's slots, where the model has a limit of its own
--             tk    tokens counted, in which second, under which wr:t:{scope}…
--             ik    wr:i:{record} of its Idempotency-Key
--             len   bytes of its sealed body, where that is long: counted in wr:long until the job ends
-- wr:o:{org}  v bal held slots seq m:{mon} s:{model}      wr:k:{key}  v spent held slots s:{model}
-- wr:t:{scope}  second -> tokens counted in it
-- Money is integers of micro-won below 9e15, so doubles stay exact. Scripts read a window and write it whole: they never run at
-- the same time, and every command less is a microsecond less for everybody.

local function now_ms()
  local t = redis.call('TIME')
  return tonumber(t[1]) * 1000 + math.floor(tonumber(t[2]) / 1000)
end

-- doubles of 1e14 and more print as 1e+14 in Lua: HINCRBY wants digits
local function int(n)
  return string.format('%.0f', n)
end

local function number(value)
  return tonumber(value or '0') or 0
end

-- What a scope has used in the last 60 seconds. Where that is more than `most`: also how many ms until it is not.
-- Whole seconds count until they are surely over, so no 60 seconds ever hold more than the limit.
local function token_use(name, now, most)
  local flat = redis.call('HGETALL', name)
  local first = math.floor(now / 1000) - 60
  local used, seconds, past = 0, {}, {}
  for i = 1, #flat, 2 do
    local second, count = tonumber(flat[i]), tonumber(flat[i + 1])
    if second < first then
      past[#past + 1] = flat[i]
    else
      used = used + count
      seconds[#seconds + 1] = {second, count}
    end
  end
  if #past > 0 then redis.call('HDEL', name, unpack(past)) end
  if used <= most then return used end
  table.sort(seconds, function(a, b) return a[1] < b[1] end)
  local left = used
  for _, each in ipairs(seconds) do
    left = left - each[2]
    if left <= most then return used, math.max(1, (each[1] + 61) * 1000 - now) end
  end
  return used, 61000
end

-- Counts what a call really used instead of what it might have: what is given back goes to the second of its
-- admission, what it used beyond (its hold was extended) to this one.
local function count_tokens(kept, event)
  local understood, e = pcall(cmsgpack.unpack, event)
  if not understood or type(e) ~= 'table' or not e.job then return end
  local used = e.tokens and number(e.tokens.prompt) + number(e.tokens.completion) or 0
  local words = {}
  for word in string.gmatch(kept, '%S+') do words[#words + 1] = word end
  local more = used - tonumber(words[1])
  for i = 3, #words do
    if more > 0 then
      redis.call('HINCRBY', words[i], int(math.floor(now_ms() / 1000)), int(more))
      redis.call('PEXPIRE', words[i], 62000)
    elseif redis.call('HEXISTS', words[i], words[2]) == 1 then
      redis.call('HINCRBY', words[i], words[2], int(more))
    end
  end
end

-- Ends a job: takes its charge from the window, gives back hold and slot, forgets it, appends its usage event.
-- `held` is false where the window no longer knows the hold (another epoch): settlement then corrects the window.
local function finish(job, j, outcome, micro, event)
  local held = j.we == redis.call('GET', 'wr:epoch')
  local org, key = 'wr:o:' .. j.org, 'wr:k:' .. j.key
  if held then
    local month, hold = 'm:' .. (j.mon or ''), number(j.hold)
    local o = redis.call('HMGET', org, 'held', 'slots', 'bal', month)
    local k = redis.call('HMGET', key, 'held', 'slots', 'spent')
    local left = {'held', int(number(o[1]) - hold), 'slots', int(number(o[2]) - 1)}
    if micro > 0 then
      left[5], left[6], left[7], left[8] = 'bal', int(number(o[3]) - micro), month, int(number(o[4]) + micro)
    end
    redis.call('HSET', org, unpack(left))
    redis.call('HSET', key, 'held', int(number(k[1]) - hold), 'slots', int(number(k[2]) - 1),
      'spent', int(number(k[3]) + micro))
    if j.slot then
      redis.call('HINCRBY', org, j.slot, -1)
      redis.call('HINCRBY', key, j.slot, -1)
    end
  end
  if j.tk then count_tokens(j.tk, event) end
  -- with the same Idempotency-Key nobody is charged again
  if j.ik and micro > 0 and redis.call('EXISTS', j.ik) == 1 then redis.call('HINCRBY', j.ik, 'micro', int(micro)) end
  if j.len then
    for _, whose in ipairs({'all', j.org}) do
      if redis.call('HINCRBY', 'wr:long', whose, '-' .. j.len) <= 0 then redis.call('HDEL', 'wr:long', whose) end
    end
  end
  redis.call('ZREM', 'wr:leases', job)
  redis.call('DEL', 'wr:j:' .. job, 'wr:b:' .. job)
  redis.call('XADD', 'wr:usage', '*', 'job', job, 'org', j.org, 'key', j.key, 'out', outcome,
    'micro', int(micro), 'ep', j.ep or '0', 'hold', held and '1' or '0', 'ev', event, 'att', j.att or '')
end

local function load(job)
  local flat = redis.call('HGETALL', 'wr:j:' .. job)
  if #flat == 0 then return nil end
  local j = {}
  for i = 1, #flat, 2 do j[flat[i]] = flat[i + 1] end
  return j
end

-- A job whose holder is gone: the checkpoint is charged, or with nothing seen it is voided.
local function expire(job, j)
  if j.ck and j.cx ~= 'free' then
    finish(job, j, 'expired', number(j.ckm), j.ck)
    return 'expired'
  end
  finish(job, j, 'voided', 0, j.base)
  return 'voided'
end

-- Expires up to `most` jobs whose lease lapsed at least `grace` milliseconds ago (an unclaimed job needs no grace:
-- its lease is the whole time it may wait).
local function sweep(now, grace, most)
  local lapsed = redis.call('ZRANGEBYSCORE', 'wr:leases', '-inf', int(now), 'WITHSCORES', 'LIMIT', 0, most)
  local ended = {}
  for i = 1, #lapsed, 2 do
    local job, lease = lapsed[i], tonumber(lapsed[i + 1])
    local j = load(job)
    if not j then
      redis.call('ZREM', 'wr:leases', job)
    elseif j.st == 'p' or lease + grace <= now then
      ended[#ended + 1] = job
      expire(job, j)
    end
  end
  return ended
end

-- Lets a worker know that jobs wait. One call on its way is enough: whoever hears it takes many jobs, and calls again
-- if more are left. A worker that dies with it leaves a flag that lapses. Workers that took jobs a moment ago are awake:
-- one of them is told on its own channel, the one whose last take is longest ago first. Where nobody is, or `now` is nil,
-- a message goes to Celery's queue; so does every eighth call, and one for jobs that a take left over (`left`), because
-- workers that sleep would never get one otherwise; but no more of them than could wake all in a moment: each costs
-- a worker as much as several calls do.
local AWAKE_MS, ASLEEP_TOO, WAKE_MS, WAKE_SOONER_MS = 1000, 8, 250, 50
local function call_worker(queue, message, job, now, left)
  if not redis.call('SET', 'wr:called', '1', 'NX', 'PX', 500) then return end
  local sleepers = not now
  if now and (left or redis.call('INCR', 'wr:calls:told') % ASLEEP_TOO == 0) then
    sleepers = redis.call('SET', 'wr:woken', '1', 'NX', 'PX', left and WAKE_SOONER_MS or WAKE_MS)
  end
  if not sleepers then
    for _, worker in ipairs(redis.call('ZRANGEBYSCORE', 'wr:awake', int(now - AWAKE_MS), '+inf', 'LIMIT', 0, 8)) do
      if redis.call('PUBLISH', 'wr:ctl:' .. worker, cmsgpack.pack({'take', ''})) > 0 then return end
      redis.call('ZREM', 'wr:awake', worker)
    end
  end
  redis.call('LPUSH', queue, (string.gsub(message, '{ID}', job)))
end

-- When a job was placed: its id begins with that time.
local function placed_ms(job)
  return tonumber(string.sub(job, 1, 12), 16)
end

-- How long a job that joins a queue would wait, in milliseconds, and whether the queue has stood for longer than
-- `longest`. The queue's oldest job is a proof: whoever comes now will hardly be sooner. Where workers take jobs as fast
-- as they can (wr:pace, kept while jobs are left over), so is their pace: before it come as many jobs of each other
-- organisation as of its own. The background's pace is what the others leave, so only its age counts.
local function expected_wait(now, ring, list, queued, own, longest)
  local wait = 0
  local head = own > 0 and redis.call('LINDEX', list, 0)
  if head then wait = now - placed_ms(head) end
  if ring ~= 'wr:ready' then return wait, false end
  local first = redis.call('LINDEX', ring, 0)
  local oldest = first and redis.call('LINDEX', ring .. ':' .. first, 0)
  if not oldest then return wait, false end
  local pace = redis.call('HMGET', 'wr:pace', 'jobs', 'ms', 'at', 'since')
  local jobs, at = number(pace[1]), number(pace[3])
  -- since the last take, or since there is a queue at all
  local ms = number(pace[2]) + math.max(0, math.min(now - at, now - placed_ms(oldest)))
  local standing = placed_ms(oldest) <= at and now - number(pace[4]) > longest
  if jobs == 0 or ms < 100 then return wait, standing end
  local ahead = math.min(queued, (own + 1) * redis.call('LLEN', ring))
  return math.max(wait, ahead * ms / jobs), standing
end
