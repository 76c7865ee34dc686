-- Expires holds whose worker is gone. ARGV 1 grace ms  2 most. Returns the jobs ended.
return sweep(now_ms(), tonumber(ARGV[1]), tonumber(ARGV[2]))
