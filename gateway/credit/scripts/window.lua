-- Shared by every script of the credit window (put in front of each by gateway.credit.scripts).
--
-- wr:j:{job}  st    p(laced) | r(unning)      we    window epoch the hold was taken under
--             ep    attempt epoch, 0 = never claimed
--             org key mon   whose, and the month of its limit (YYYYMM)
--             hold  micro-won held             cap   output tokens granted
--             reply channel of the front end   wk    worker that claimed it
--             base  usage event with nothing used          att   attempts so far
--             ck    usage event of the last checkpoint     ckm   its charge, micro-won
--             cx    1 = cancelled
-- wr:o:{org}  v bal held slots seq m:{mon}      wr:k:{key}  v spent held slots
-- Money is integers of micro-won below 9e15, so doubles stay exact; sums are kept with HINCRBY.

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

-- Ends a job: takes its charge from the window, gives back hold and slot, forgets it, appends its usage event.
-- `held` is false where the window no longer knows the hold (another epoch): settlement then corrects the window.
local function finish(job, j, outcome, micro, event)
  local held = j.we == redis.call('GET', 'wr:epoch')
  local org, key = 'wr:o:' .. j.org, 'wr:k:' .. j.key
  if held then
    redis.call('HINCRBY', org, 'held', int(-number(j.hold)))
    redis.call('HINCRBY', org, 'slots', -1)
    redis.call('HINCRBY', key, 'held', int(-number(j.hold)))
    redis.call('HINCRBY', key, 'slots', -1)
    if micro > 0 then
      redis.call('HINCRBY', org, 'bal', int(-micro))
      redis.call('HINCRBY', org, 'm:' .. j.mon, int(micro))
      redis.call('HINCRBY', key, 'spent', int(micro))
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
  if j.ck then
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

-- Lets a worker know that jobs wait. One message on its way is enough: whoever gets it takes many jobs, and calls again
-- if more are left. A worker that dies with it leaves a flag that lapses.
local function call_worker(queue, message, job)
  if redis.call('SET', 'wr:called', '1', 'NX', 'PX', 500) then
    redis.call('LPUSH', queue, (string.gsub(message, '{ID}', job)))
  end
end
