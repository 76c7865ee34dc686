-- Asks for a larger hold while an answer grows (optimistic policy).
-- ARGV  1 job  2 epoch  3 additional output tokens wanted
-- Returns {'ok', new cap, new hold} with as many of them as the limits allow, {'refused'} with none, or {'lost'}
local job = ARGV[1]
local j = load(job)
if not j or j.ep ~= ARGV[2] or j.we ~= redis.call('GET', 'wr:epoch') then return {'lost'} end
local prepaid, month_limit, key_limit = string.match(j.lim, '(%S+) (%S+) (%S+)')
local org, key = 'wr:o:' .. j.org, 'wr:k:' .. j.key
local o = redis.call('HMGET', org, 'bal', 'held', 'm:' .. j.mon)
local k = redis.call('HMGET', key, 'spent', 'held')
local free = 9e15
if prepaid == '1' then free = number(o[1]) - number(o[2]) end
if tonumber(month_limit) >= 0 then free = math.min(free, tonumber(month_limit) - number(o[3]) - number(o[2])) end
if tonumber(key_limit) >= 0 then free = math.min(free, tonumber(key_limit) - number(k[1]) - number(k[2])) end
local unit, more = tonumber(j.unit), tonumber(ARGV[3])
if unit > 0 then more = math.min(more, math.floor(free / unit)) end
if more < 1 then return {'refused'} end
redis.call('HINCRBY', org, 'held', int(more * unit))
redis.call('HINCRBY', key, 'held', int(more * unit))
local hold = redis.call('HINCRBY', 'wr:j:' .. job, 'hold', int(more * unit))
local cap = redis.call('HINCRBY', 'wr:j:' .. job, 'cap', int(more))
return {'ok', cap, int(hold)}
