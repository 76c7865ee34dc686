-- KEYS  1 wr:epoch
-- Returns {window epoch or nil, the id that the server gave itself when it started}
return {redis.call('GET', KEYS[1]), string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')}
