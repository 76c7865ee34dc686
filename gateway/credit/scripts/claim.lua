-- A worker takes jobs: the ones it names, and as many of the waiting ones as it has places for, each organisation in
-- turn, and those in the background where no other waits, or as every eighth. A message is only a hint; this decides.
-- ARGV  1 worker  2 lease ms  3 most epochs  4 places for waiting jobs  5 queue  6 message with {ID}
--       7 1 = it listens on its channel for the next call  8 how many of the places the background may have
--       then the jobs it names
-- Returns for each job taken or named:
--   {'ok', job, epoch, cap, hold, sealed job, reply channel, now, attempts so far, base event, 1 = of the background}
--   {'gone', job} | {'leased', job}
--   {'spent', job, reply, epoch}: claimed too often, it kills its workers; it is ended here
--   {'behind', ''}, at the end: jobs of the background wait, and this worker may have no more of them
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
  return {'ok', job, epoch + 1, number(j.cap), j.hold, body, j.reply, now, j.att or '', j.base, 0}
end

local taken = {}
for i = 9, #ARGV do taken[#taken + 1] = claim(ARGV[i]) end

-- The next job of a ring's next organisation, '' where there is none any more; nil where nobody waits.
local function next_of(ring)
  local org = redis.call('LPOP', ring)
  if not org then return nil end
  local list = ring .. ':' .. org
  local job = redis.call('LPOP', list)
  if not job then return '' end
  if redis.call('LLEN', list) > 0 then redis.call('RPUSH', ring, org) end
  return job
end

-- Jobs that workers took while more were left over, and how long that took, by and by forgotten: their pace. `since` is
-- when the queue was last empty: jobs that were all placed after the last take have found it so.
local function note_pace(jobs, oldest)
  local pace = redis.call('HMGET', 'wr:pace', 'jobs', 'ms', 'at', 'since')
  local at, since = number(pace[3]), number(pace[4])
  if oldest > at then since = oldest end
  local ms = math.max(0, now - math.max(at, oldest))
  local kept = math.exp(-ms / 10000)
  redis.call('HSET', 'wr:pace', 'jobs', number(pace[1]) * kept + jobs, 'ms', number(pace[2]) * kept + ms,
    'at', int(now), 'since', int(since))
  redis.call('PEXPIRE', 'wr:pace', 60000)
end

local SHARE = 8 -- of so many jobs one is from the background, while others wait too
local places, room = tonumber(ARGV[4]), tonumber(ARGV[8])
if places > 0 then
  redis.call('DEL', 'wr:called')
  if ARGV[7] == '1' then
    redis.call('ZADD', 'wr:awake', int(now), worker)
    redis.call('ZREMRANGEBYSCORE', 'wr:awake', '-inf', int(now - 60000))
  end
  local first, behind, oldest = 0, 0, now
  local later = redis.call('EXISTS', 'wr:later') == 1
  local turns = later and number(redis.call('GET', 'wr:turns')) or 0
  while places > 0 do
    local job, background
    if later and room > 0 and turns >= SHARE - 1 then
      job = next_of('wr:later')
      background, later = job ~= nil, job ~= nil
    end
    if not job then job = next_of('wr:ready') end
    if not job and later and room > 0 then
      job, background = next_of('wr:later'), true
      later = job ~= nil
    end
    if not job then break end
    if background then turns = 0 else turns = turns + 1 end
    if job ~= '' then
      if background then
        behind = behind + 1
      else
        first, oldest = first + 1, math.min(oldest, placed_ms(job))
      end
      local answer = claim(job)
      if answer[1] == 'ok' or answer[1] == 'spent' then
        taken[#taken + 1] = answer
        places = places - 1
        if background and answer[1] == 'ok' then room, answer[11] = room - 1, 1 end
      end
    end
  end
  if first > 0 then redis.call('DECRBY', 'wr:waiting', first) end
  if behind > 0 then redis.call('DECRBY', 'wr:deferred', behind) end
  if later then
    redis.call('SET', 'wr:turns', int(turns), 'EX', 600)
    later = redis.call('EXISTS', 'wr:later') == 1
  end
  local left = redis.call('LLEN', 'wr:ready')
  if left > 0 and first > 0 then note_pace(first, oldest) end
  if left > 0 or later and room > 0 then call_worker(ARGV[5], ARGV[6], worker, now, true) end
  if later and room <= 0 then taken[#taken + 1] = {'behind', ''} end
end
return taken
