-- Closes the window for a rebuild: admission answers 503 until rebuild_end; ends append their events without a hold.
-- Returns how many jobs are still open.
redis.call('SET', 'wr:epoch', 'rebuilding')
return redis.call('ZCARD', 'wr:leases')
