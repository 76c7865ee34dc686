-- A worker takes jobs: the ones it names, and as many of the waiting ones as it has places for, each organisation in
-- turn. A message is only a hint; this decides.
-- ARGV  1 worker  2 lease ms  3 most epochs  4 places for waiting jobs  5 queue  6 message with {ID}
--       then the jobs it names
-- Returns for each job taken or named:
--   {'ok', job, epoch, cap, hold, sealed job, reply channel, now, attempts so far, base event}
--   {'gone', job} | {'leased', job}
--   {'spent', job, reply, epoch}: claimed too often, it kills its workers; it is ended here
-- A waiting job that has ended meanwhile is left out.
local now = now_ms()
local worker, lease, most = ARGV[1], int(now + tonumber(ARGV[2])), tonumber(ARGV[3])

local function claim(job)
  local j = load(job)
  if not j then return {'gone', job} end
  if j.st == 'r' then
    local held = redis.call('ZSCORE', 'wr:leases', job)
    if held and tonumber(held) > now then return {'leased', job} end
  end
  local body = redis.call('GET', 'wr:b:' .. job)
  if not body or j.cx then
    expire(job, j)
    return {'gone', job}
  end
  local epoch = number(j.ep)
  if epoch >= most then
    expire(job, j)
    return {'spent', job, j.reply, epoch}
  end
  redis.call('HSET', 'wr:j:' .. job, 'ep', int(epoch + 1), 'st', 'r', 'wk', worker)
  redis.call('ZADD', 'wr:leases', lease, job)
  return {'ok', job, epoch + 1, number(j.cap), j.hold, body, j.reply, now, j.att or '', j.base}
end

local taken = {}
for i = 7, #ARGV do taken[#taken + 1] = claim(ARGV[i]) end

local places, left = tonumber(ARGV[4]), 0
if places > 0 then
  redis.call('DEL', 'wr:called')
  while places > 0 do
    local org = redis.call('LPOP', 'wr:ready')
    if not org then break end
    local job = redis.call('LPOP', 'wr:ready:' .. org)
    if job then
      left = left + 1
      if redis.call('LLEN', 'wr:ready:' .. org) > 0 then redis.call('RPUSH', 'wr:ready', org) end
      local answer = claim(job)
      if answer[1] == 'ok' or answer[1] == 'spent' then
        taken[#taken + 1] = answer
        places = places - 1
      end
    end
  end
  if left > 0 then redis.call('DECRBY', 'wr:waiting', left) end
  if redis.call('LLEN', 'wr:ready') > 0 then call_worker(ARGV[5], ARGV[6], worker) end
end
return taken
