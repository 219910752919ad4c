-- Says that this replica lives, and asks how many do.
-- KEYS  rl:replicas, rl:born      ARGV  this replica, after how many milliseconds of silence one is gone
-- Gives the number of replicas, and when this Redis was born.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
redis.call('ZADD', KEYS[1], now, ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - ARGV[2] * 1000)
redis.call('PEXPIRE', KEYS[1], ARGV[2])
local born = tonumber(redis.call('GET', KEYS[2]))
if not born then
    born = now
    redis.call('SET', KEYS[2], born)
end
return { redis.call('ZCARD', KEYS[1]), born }
