-- Leases units of all policies that apply to somebody, or of none; and hears of what was used and what was not.
-- KEYS  rl:born, then a cell for each policy
-- ARGV  in how many parts what is left is leased ahead, when the first Redis of this installation was born; then for
--       each policy its interval and depth, since when they hold, when whom it counts was made, 1 if it is a shadow,
--       units that are needed (without which nothing is leased of any), that are waited for, that are wanted ahead, that
--       were used already, that are handed back, when the Redis was born that leased these, and that were refused since
-- Gives the time and when this Redis was born, then for each policy what is owed, how long until what is needed fits, how
-- many units are leased, how many were used beyond the limit, and how many were refused while they lay about unused.
-- Owed, intervals, depths and waits are nanoseconds, moments microseconds since 1970. Numbers are handed to Redis as
-- numbers: it writes 17 digits where tostring() writes 14.
local PARAMETERS = 12
-- For how long units may lie about, in microseconds: what was refused before that did not miss them.
local LASTS = 300000
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local parts, first = tonumber(ARGV[1]), tonumber(ARGV[2])
local born = tonumber(redis.call('GET', KEYS[1]))
if not born then
    born = now
    redis.call('SET', KEYS[1], born)
end

-- The cell as it stands now, under the rule that holds now, and whether that has to be written.
local function stand(key, interval, depth, since, made)
    local cell = redis.call('HMGET', key, 'owed', 'at', 'interval', 'depth', 'missed', 'missed_at')
    local owed, at, old = tonumber(cell[1]), tonumber(cell[2]), tonumber(cell[3])
    local old_depth, missed = tonumber(cell[4]) or depth, tonumber(cell[5]) or 0
    if now - (tonumber(cell[6]) or 0) > LASTS then
        missed = 0
    end
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
    if old ~= interval or old_depth ~= depth then
        -- The rule has changed. Units that were used stay used, from when the new one took
        -- effect, or from the last charge if that was later; nobody owes more than an empty bucket.
        local change = math.min(math.max(since, at), now)
        owed = math.max(owed - (change - at) * 1000, 0)
        owed = math.min(math.floor(owed * interval / old), depth)
        at, moved = change, true
    end
    return math.max(owed - (now - at) * 1000, 0), moved, missed
end

local cells, admitted = {}, true
for i = 2, #KEYS do
    local a = 3 + (i - 2) * PARAMETERS
    local argument = function(place) return tonumber(ARGV[a + place]) end
    local interval, depth = argument(0), argument(1)
    local owed, moved, missed = stand(KEYS[i], interval, depth, argument(2), argument(3))
    local cell = { key = KEYS[i], interval = interval, depth = depth, need = argument(5), over = 0, under = 0 }
    local queued, want, debt, back = argument(6), argument(7), argument(8), argument(9)
    cell.queued, cell.want = queued, want
    if back > 0 and argument(10) == born then
        owed = math.max(owed - back * interval, 0)
        cell.under = math.min(back, missed)
    end
    if debt > 0 then
        local most = math.max(owed, depth)
        owed = owed + debt * interval
        -- However much was used beyond the limit, nobody waits for it longer than for an empty bucket.
        cell.over = math.max(math.ceil((owed - most) / interval), 0)
        owed = math.min(owed, 2 * depth)
    end
    cell.owed = owed
    cell.wait = math.max(owed + cell.need * interval - depth, 0)
    cell.missed = missed - cell.under + argument(11)
    cell.touched = moved and cell.need > 0 or debt > 0 or back > 0
    admitted = admitted and (cell.wait == 0 or ARGV[a + 4] == '1')
    cells[#cells + 1] = cell
end

local answer = { now, born }
for _, cell in ipairs(cells) do
    local leased = 0
    if admitted and cell.wait == 0 then
        local left = math.floor((cell.depth - cell.owed) / cell.interval)
        -- All that is left for who waits already, and a part for who may come.
        leased = math.max(math.min(left, cell.queued), math.min(math.floor(left / parts), cell.want), 0)
    end
    local owed = cell.owed + leased * cell.interval
    if leased > 0 or cell.touched or cell.wait > 0 then
        redis.call('HSET', cell.key, 'owed', owed, 'at', now, 'interval', cell.interval, 'depth', cell.depth)
        if cell.wait > 0 then
            redis.call('HSET', cell.key, 'missed', cell.missed + cell.need, 'missed_at', now)
        elseif cell.under > 0 then
            redis.call('HSET', cell.key, 'missed', cell.missed)
        end
        -- A minute longer than anything is owed: a slower rule that took effect meanwhile still finds what was used.
        redis.call('PEXPIRE', cell.key, math.ceil(owed / 1000000) + 60000)
    end
    for _, number in ipairs({ owed, cell.wait, leased, cell.over, cell.under }) do
        answer[#answer + 1] = number
    end
end
return answer
