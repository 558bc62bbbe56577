-- SPDX-License-Identifier: Apache-2.0
-- Claim what a call lacks of all its counters, or of none.
--
-- KEYS  life, counters...
-- ARGV  node, generation, incarnation, clock (of the nodes, at least), nodes, dead after, then per
--       counter nine words:
--         mode   r rolling, c calendar, t total, p parallel calls; and maybe
--                s never refuses, a ahead: as much as there is, or m money: all are cut by the same;
--                and h: something of it was counted as the node's, as far as that knows
--         a, z   see open_... in store.lua
--         amount
--         slot   that the node takes for the current one
--         lack   what it needs beyond what it has in that slot
--         spare  how much less than that is of use, too
--         want   what it needs if the slot is another
--         more   how much ahead would be of use
-- Gives 1, now, then per counter: slot, granted, left
--       0, now, index of the counter (from 0) that refuses for longest, for how long (-1: for ever), left
--       2, now         the node must assert first
--       3, now, wait   nothing is granted to anybody for so long
--       6, now         a counter of which the node has something does not know it: it was thrown away
--       4, time        a calendar span is not the current one, by Redis' own clock, which says <time>

local node, generation, incarnation = ARGV[1], ARGV[2], ARGV[3]
local nodes, dead_after = math.max(1, tonumber(ARGV[5])), tonumber(ARGV[6])
local me = node .. '.' .. generation
local WORDS, HEAD = 9, 6
local NEAR = 1000000 -- how far a node's clock may be off at the edge of a calendar span
local PLENTY = 16

local life = call('HMGET', KEYS[1], 'inc/' .. node, 'young', 'now', 'ahead', 'as/' .. node)
local mark = generation .. '.' .. incarnation
if life[1] ~= mark and life[5] ~= mark then
    return {2, server_time()}
end
local now = root_time(KEYS[1], life[3], life[4], tonumber(ARGV[4]))
if now < (tonumber(life[2]) or 0) then
    return {3, now, tonumber(life[2]) - now}
end

-- A part of <whose> is given up: it has to assert should it come back. It does so already where it has begun since
-- that part was heard of, and says it yet.
local function disown(whose, born, heard)
    local marks = call('HMGET', KEYS[1], 'inc/' .. whose, 'as/' .. whose, 'at/' .. whose)
    local which, begun = string.match(marks[3] or '', '^(%S+) (%d+)$')
    local says_yet = marks[2] and which == marks[2] and heard < tonumber(begun)
    if marks[1] and string.match(marks[1], '^(.*)%.') == born then
        call('HDEL', KEYS[1], 'inc/' .. whose)
    end
    if marks[2] and string.match(marks[2], '^(.*)%.') == born and not says_yet then
        call('HDEL', KEYS[1], 'as/' .. whose)
    end
end

-- Give up the parts of nodes that have not been heard of.
local function bury_dead(c)
    local heard, dead, some = {}, {}, false
    for name in string.gmatch(c.names, '%S+') do
        heard[#heard + 1] = name
    end
    for _, name in ipairs(heard) do
        local at = tonumber(call('HGET', c.key, '@' .. name)) or 0
        if name ~= me and now - at > dead_after then
            dead[name], some = true, true
            local whose, born = string.match(name, '^(.*)%.(.*)$')
            disown(whose, born, at)
        end
    end
    if some then
        remove_parts(c, function(name)
            return dead[name]
        end)
    end
    call('HSET', c.key, 'x', digits(now))
end

local function read_counter(index)
    local at = HEAD + (index - 2) * WORDS
    local c = {key = KEYS[index], mode = string.sub(ARGV[at + 1], 1, 1),
        a = tonumber(ARGV[at + 2]), z = tonumber(ARGV[at + 3]), amount = tonumber(ARGV[at + 4]),
        need = tonumber(ARGV[at + 6]), spare = tonumber(ARGV[at + 7]), want = tonumber(ARGV[at + 8]),
        more = tonumber(ARGV[at + 9])}
    local flag = string.sub(ARGV[at + 1], 2, 2)
    c.had = string.sub(ARGV[at + 1], -1) == 'h'
    c.soft, c.ahead, c.money = flag == 's', flag == 'a', flag == 'm'
    if c.amount >= EXACT then
        c.amount = c.amount - 131072
    end
    open(c, now, me)
    remove_past(c, node, me)
    if c.mode == 'r' and ARGV[at + 5] ~= c.slot then
        c.need = c.want
    end
    if c.mode == 'p' and (c.total + c.need > c.amount
        or now - c.looked > dead_after / 2) then
        bury_dead(c)
    end
    c.left = c.amount - c.total
    return c
end

-- The slots leave one by one, the oldest first; mostly few have to be looked at.
local function wait_rolling(c, need)
    local left, newest = c.left, tonumber(c.slot)
    for first = c.from, newest, 8 do
        local slots = {}
        for slot = first, math.min(first + 7, newest) do
            slots[#slots + 1] = digits(slot)
        end
        for i, sum in ipairs(call('HMGET', c.key, unpack(slots))) do
            left = left + (tonumber(sum) or 0)
            if left >= need then
                return math.max(0, (first + i + SLOTS) * c.a - now)
            end
        end
    end
    return SLOTS * c.a
end

-- How long until <c> has room for what is needed at least; -1 = never, as it is.
local function wait_of(c, need)
    if need > c.amount or c.mode == 't' then
        return -1
    elseif c.mode == 'p' then
        return 1000000
    elseif c.mode == 'c' then
        return math.max(0, c.z - server_time())
    end
    return wait_rolling(c, need)
end

local real
local counters, cut = {}, 0
for index = 2, #KEYS do
    local c = read_counter(index)
    counters[index - 1] = c
    if c.had and not knows(c, me) then
        return {6, now}
    end
    if c.mode == 'c' then
        real = real or server_time()
        if real < c.a - NEAR or real >= c.z + NEAR then
            return {4, real}
        end
    end
    if c.money and not c.soft and not c.ahead then
        cut = math.max(cut, c.need - c.left)
    end
end

local worst, longest, least_left = nil, 0, 0
for index, c in ipairs(counters) do
    c.granted = c.need
    if c.ahead then
        c.granted = math.max(0, math.min(c.need, c.left))
    elseif not c.soft and c.need > 0 then
        local short = c.money and cut or math.max(0, c.need - c.left)
        local least = math.max(0, c.need - c.spare)
        c.granted = math.max(0, c.need - short)
        -- Who has enough is not refused by what others lack: those refuse themselves.
        if c.left < least then
            local wait = wait_of(c, least)
            if not worst or wait < 0 or (longest >= 0 and wait > longest) then
                worst, longest, least_left = index - 1, wait, c.left
            end
        end
    end
end
if worst then
    return {0, now, worst, longest, math.max(0, least_left)}
end

local answer = {1, now}
for _, c in ipairs(counters) do
    local rest = c.left - c.granted
    if c.more > 0 and rest >= PLENTY * nodes * math.max(c.need, c.want, 1) then
        c.granted = c.granted + math.min(c.more, math.floor(rest / (2 * nodes)))
    end
    if c.granted > 0 then
        put(c, c.slot, c.granted, me, now)
    end
    answer[#answer + 1] = tonumber(c.slot)
    answer[#answer + 1] = c.granted
    answer[#answer + 1] = c.left - c.granted
end
return answer
