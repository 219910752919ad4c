-- One decision over all policies that apply: charged wholly or not at all, in the time of this server.
-- KEYS  rl:born, then a cell for each policy
-- ARGV  1 to charge or 0 to look, the cost, when the first Redis of this installation was born; then for each policy
--       its interval and depth, since when they hold, when whom it counts was made, and 1 if it is a shadow
-- Gives the time, then for each policy what was owed before and how long until the cost fits.
-- Owed, intervals, depths and waits are nanoseconds, moments microseconds since 1970. Numbers are handed to Redis as
-- numbers: it writes 17 digits where tostring() writes 14.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local charging, cost, first = ARGV[1] == '1', tonumber(ARGV[2]), tonumber(ARGV[3])
local born = tonumber(redis.call('GET', KEYS[1]))
if not born then
    born = now
    redis.call('SET', KEYS[1], born)
end

-- The cell as it stands now, under the rule that holds now, and whether it has to be written even if nothing is charged.
local function stand(key, interval, depth, since, made)
    local cell = redis.call('HMGET', key, 'owed', 'at', 'interval')
    local owed, at, old = tonumber(cell[1]), tonumber(cell[2]), tonumber(cell[3])
    local moved = false
    if not owed then
        -- What was counted before this Redis was born is lost, so all of it counts as used up at that moment.
        owed, at, old = 0, now, interval
        if born > first and made < born then
            owed, at = depth, born
        end
    end
    if at > now then
        at, moved = now, true
    end
    if old ~= interval or owed > depth then
        -- The rule has changed. Units that were used stay used, from when the new one took
        -- effect, or from the last charge if that was later; nobody owes more than an empty bucket.
        local change = math.min(math.max(since, at), now)
        owed = math.max(owed - (change - at) * 1000, 0)
        owed = math.min(math.floor(owed * interval / old), depth)
        at, moved = change, true
    end
    return math.max(owed - (now - at) * 1000, 0), moved
end

local answer, cells, admitted = { now }, {}, charging
for i = 2, #KEYS do
    local a = 4 + (i - 2) * 5
    local interval, depth = tonumber(ARGV[a]), tonumber(ARGV[a + 1])
    local owed, moved = stand(KEYS[i], interval, depth, tonumber(ARGV[a + 2]), tonumber(ARGV[a + 3]))
    local price = cost * interval
    local wait = math.max(math.min(owed + price - depth, depth), 0)
    admitted = admitted and (wait == 0 or ARGV[a + 4] == '1')
    cells[i] = { owed = owed, moved = moved, price = wait == 0 and price or 0, interval = interval }
    answer[#answer + 1] = owed
    answer[#answer + 1] = wait
end

for i, cell in pairs(cells) do
    local price = admitted and cell.price or 0
    if charging and (price > 0 or cell.moved) then
        redis.call('HSET', KEYS[i], 'owed', cell.owed + price, 'at', now, 'interval', cell.interval)
        -- A minute longer than anything is owed: a slower rule that took effect meanwhile still finds what was used.
        redis.call('PEXPIRE', KEYS[i], math.ceil((cell.owed + price) / 1000000) + 60000)
    end
end
return answer
