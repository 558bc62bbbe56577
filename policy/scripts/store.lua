-- SPDX-License-Identifier: Apache-2.0
-- What all scripts begin with: the clock and the life of a root, and how one counter is kept. It is
-- put in front of each of them when the program is built. docs/LIMITS.md says what it is for.
--
-- A counter is a HASH. A node's name in it carries its generation ("<node>.<generation>", below `me`),
-- drawn anew whenever its process starts.
--
--   <slot>          sum of what is claimed in that slot: a number of a rolling window's slot, the begin
--                   of a calendar span, or 0
--   <slot>/<me>     one node's part of it
--   n               " me you ": the nodes that may have parts
--   o, b            rolling: the oldest slot that counts, and the sum from there on
--   o               calendar: " begin begin ": the spans that are kept
--   @<me>, x        parallel calls: when a node was last heard of, and when we last looked for the dead
--
-- All times are microseconds, all numbers integers. What Lua adds up is exact below 2^53; amounts
-- above are lowered by more than the error can be, so nothing is ever admitted by rounding.

local call = redis.call
local SLOTS = 64
local EXACT = 9007199254740992
local SPANS_KEPT = 3
local DAY = 86400000000
local APART = 250000 -- of two clocks that are one

local function digits(number)
    return string.format('%.0f', number + 0) -- no "-0"
end

local function server_time()
    local time = call('TIME')
    return time[1] * 1000000 + time[2]
end

-- The clock of a root never goes back, also when the server's does (set, or another server after a
-- failover): it is then ahead of it, and loses that again by going slower by a 32nd. Nor is it far behind
-- that of the nodes, <least>: of a root that nobody looked at when the server's went back, or of another
-- server of a Cluster.
local function root_time(key, last, ahead, least)
    last, ahead = tonumber(last) or 0, tonumber(ahead) or 0
    local now, was = server_time() + ahead, ahead
    if ahead > 0 and now > last then
        ahead = ahead - math.min(ahead, math.floor((now - last) / 32))
        now = now - (was - ahead)
    end
    if least - now > APART then
        ahead, now = ahead + least - now, least
    end
    if now < last then
        ahead, now = ahead + last - now, last
    end
    if ahead ~= was or now - last >= 1000 then
        call('HSET', key, 'now', digits(now), 'ahead', digits(ahead))
        if math.floor(now / DAY) ~= math.floor(last / DAY) then
            call('PEXPIRE', key, 90 * DAY / 1000)
        end
    end
    return now
end

-- ---------------------------------------------------------------------------- one counter
-- c.key .mode .a .z (what they are: see open) and, once it is open, .slot (that counts now), .sum (of
-- that slot) and .part (this node's of it), .total, .names, .from (oldest slot that counts)

local function knows(c, me)
    return string.find(c.names, ' ' .. me .. ' ', 1, true) ~= nil
end

local function remember(c, me)
    if not knows(c, me) then
        c.names = (c.names == '' and ' ' or c.names) .. me .. ' '
        call('HSET', c.key, 'n', c.names)
    end
end

-- Take <amount> off the sum of a slot.
local function lower(c, slot, amount)
    call('HINCRBY', c.key, slot, digits(-amount))
    if slot == c.slot then
        c.sum = c.sum - amount
    end
    if c.mode ~= 'r' then
        c.total = c.sum
    elseif tonumber(slot) >= c.from then
        call('HINCRBY', c.key, 'b', digits(-amount))
        c.total = c.total - amount
    end
end

-- Take out all parts of the names for which <is_gone> says so.
local function remove_parts(c, is_gone)
    local all, left = call('HGETALL', c.key), ' '
    for i = 1, #all, 2 do
        local slot, name = string.match(all[i], '^(%d+)/(.+)$')
        if slot and is_gone(name) then
            lower(c, slot, tonumber(all[i + 1]))
            call('HDEL', c.key, all[i])
        end
    end
    for name in string.gmatch(c.names, '%S+') do
        if is_gone(name) then
            call('HDEL', c.key, '@' .. name)
        else
            left = left .. name .. ' '
        end
    end
    c.names = left
    call('HSET', c.key, 'n', left)
end

-- A node that died and came back has asserted what it knows: what it had before is void.
local function remove_past(c, node, me)
    if string.find(c.names, ' ' .. node .. '.', 1, true) and not knows(c, me) then
        local past = node .. '.'
        remove_parts(c, function(name)
            return string.sub(name, 1, #past) == past
        end)
    end
end

-- Names of nodes that are long gone do not pile up in a counter that is always in use.
local function prune_names(c)
    local _, count = string.gsub(c.names, '%S+', '')
    if count <= 16 then
        return
    end
    local seen, left = {}, ' '
    for _, field in ipairs(call('HKEYS', c.key)) do
        local name = string.match(field, '^%d+/(.+)$')
        if name and not seen[name] then
            seen[name] = true
            left = left .. name .. ' '
        end
    end
    c.names = left
    call('HSET', c.key, 'n', left)
end

local function drop_slots(c, slots)
    local fields = {}
    for _, slot in ipairs(slots) do
        fields[#fields + 1] = slot
        for name in string.gmatch(c.names, '%S+') do
            fields[#fields + 1] = slot .. '/' .. name
        end
    end
    for i = 1, #fields, 1000 do
        call('HDEL', c.key, unpack(fields, i, math.min(i + 999, #fields)))
    end
end

-- The window has moved on to <first>: what is before does not count any more.
local function move_window(c, first)
    if first - c.from > 2 * SLOTS + 2 then
        call('DEL', c.key)
        c.from, c.total, c.sum, c.part, c.names, c.new = first, 0, 0, 0, '', true
        return
    end
    local slots = {}
    for slot = c.from, first - 1 do
        slots[#slots + 1] = digits(slot)
    end
    for _, sum in ipairs(call('HMGET', c.key, unpack(slots))) do
        c.total = c.total - (tonumber(sum) or 0)
    end
    prune_names(c)
    drop_slots(c, slots)
    c.from = first
    call('HSET', c.key, 'o', digits(first), 'b', digits(c.total))
    call('PEXPIRE', c.key, math.ceil(c.a * SLOTS / 500))
end

-- a = length of a slot. A slot counts until its end is a window ago, and a little more: for what was
-- admitted at its very end and got on its way only then.
local function open_rolling(c, now, me)
    c.slot = digits(math.floor(now / c.a))
    local stored = call('HMGET', c.key, 'o', 'b', 'n', c.slot, c.slot .. '/' .. me)
    local grace = math.min(math.floor(c.a / 2), 20000)
    local first = math.floor((now - grace) / c.a) - SLOTS
    c.from, c.total, c.names = tonumber(stored[1]), tonumber(stored[2]) or 0, stored[3] or ''
    c.sum, c.part = tonumber(stored[4]) or 0, tonumber(stored[5]) or 0
    if not c.from then
        c.from, c.total, c.new = first, 0, true
    elseif c.from < first then
        move_window(c, first)
    elseif c.from > tonumber(c.slot) then
        -- The clock that it goes by was lost, and is behind: until it gets there, the oldest slot counts.
        c.slot = digits(c.from)
        stored = call('HMGET', c.key, c.slot, c.slot .. '/' .. me)
        c.sum, c.part = tonumber(stored[1]) or 0, tonumber(stored[2]) or 0
    end
end

-- a = begin of the span, z = its end
local function open_calendar(c, me)
    c.slot = digits(c.a)
    local stored = call('HMGET', c.key, c.slot, c.slot .. '/' .. me, 'n', 'o')
    c.sum, c.part = tonumber(stored[1]) or 0, tonumber(stored[2]) or 0
    c.total, c.names, c.spans = c.sum, stored[3] or '', stored[4] or ''
    c.new = not string.find(c.spans, ' ' .. c.slot .. ' ', 1, true)
end

-- a, z unused: one slot
local function open_single(c, me)
    local stored = call('HMGET', c.key, '0', '0/' .. me, 'n', '@' .. me, 'x')
    c.slot, c.sum, c.part = '0', tonumber(stored[1]) or 0, tonumber(stored[2]) or 0
    c.total, c.names = c.sum, stored[3] or ''
    c.heard, c.looked = tonumber(stored[4]) or 0, tonumber(stored[5]) or 0
end

local function open_new_span(c)
    local spans, oldest, count = {}, nil, 0
    for span in string.gmatch(c.spans, '%S+') do
        spans[#spans + 1] = span
        if not oldest or tonumber(span) < tonumber(oldest) then
            oldest = span
        end
    end
    c.spans = ' ' .. c.slot .. ' '
    for _, span in ipairs(spans) do
        if #spans < SPANS_KEPT or span ~= oldest then
            c.spans = c.spans .. span .. ' '
        end
    end
    if #spans >= SPANS_KEPT then
        drop_slots(c, {oldest})
    end
    call('HSET', c.key, 'o', c.spans)
    call('PEXPIREAT', c.key, digits(math.floor((c.z + 40 * DAY) / 1000)))
end

-- The node's parallel calls are there: noted once a second, and the key kept.
local function hear(c, me, now)
    if now - c.heard >= 1000000 or now < c.heard then
        c.heard = now
        call('HSET', c.key, '@' .. me, digits(now))
        call('PEXPIRE', c.key, 600000)
    end
end

local function begin(c)
    c.new = false
    if c.mode == 'r' then
        call('HSET', c.key, 'o', digits(c.from), 'b', '0')
        call('PEXPIRE', c.key, math.ceil(c.a * SLOTS / 500))
    else
        open_new_span(c)
    end
end

-- Count <delta> in <slot> of an open counter as <me>'s.
local function put(c, slot, delta, me, now)
    if c.new then
        begin(c)
    end
    remember(c, me)
    if c.mode == 'p' then
        hear(c, me, now)
    end
    if delta == 0 then
        return
    end
    c.total = c.total + delta
    local known = slot == c.slot
    if known then
        c.sum, c.part = c.sum + delta, c.part + delta
    end
    if known and math.max(c.sum, c.part, c.total) < EXACT then
        if c.mode == 'r' then
            call('HSET', c.key, slot, digits(c.sum), slot .. '/' .. me, digits(c.part), 'b', digits(c.total))
        else
            call('HSET', c.key, slot, digits(c.sum), slot .. '/' .. me, digits(c.part))
        end
        return
    end
    local by = digits(delta)
    call('HINCRBY', c.key, slot, by)
    call('HINCRBY', c.key, slot .. '/' .. me, by)
    if c.mode == 'r' then
        call('HINCRBY', c.key, 'b', by)
    else
        c.total = c.sum
    end
end

local function open(c, now, me)
    if c.mode == 'r' then
        open_rolling(c, now, me)
    elseif c.mode == 'c' then
        open_calendar(c, me)
    else
        open_single(c, me)
    end
end

