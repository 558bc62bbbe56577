-- SPDX-License-Identifier: Apache-2.0
-- A node says what its claims are: absolute. Twice is once.
--
-- What a node claims of a root comes in one or several calls: the first begins, the last makes the
-- incarnation good. In between the node asks for and reports only what it has said already.
--
-- KEYS  life, counters...
-- ARGV  node, generation, incarnation, clock (of the nodes, at least),
--       first, last   0 or 1
--       lost          1: if the store does not know this root, it has forgotten
--       create        1: if the store does not know this root, it is new
--       young         for how long nothing is granted to anybody when something may have been forgotten
--       then per counter: mode, a, z (see store.lua), how many, and so many times: slot, claimed; the mode maybe
--       with h: something of it was counted as the node's, as far as that knows
-- Gives 1, now, wait (0, or how long nothing is granted), 1 when a counter was thrown away that had something of the node's
--       2, now         a later assertion has begun, or the first call of this one is not known
--       5, now         the store does not know this root: neither <lost> nor <create>

local node, generation, incarnation = ARGV[1], ARGV[2], ARGV[3]
local first, last = ARGV[5] == '1', ARGV[6] == '1'
local least, young = tonumber(ARGV[4]), tonumber(ARGV[9])
local me, mark = node .. '.' .. generation, generation .. '.' .. incarnation
local HEAD = 9
local life_key = KEYS[1]

local function set_life(run, may_have_lost, at)
    call('HSET', life_key, 'run', run, 'now', digits(at))
    if may_have_lost then
        call('HSET', life_key, 'young', digits(at + young))
    end
    call('PEXPIRE', life_key, 90 * DAY / 1000)
end

-- Another server process: its last writes may not have got there, so everybody must assert.
local function forget_nodes()
    for _, field in ipairs(call('HKEYS', life_key)) do
        if string.match(field, '^inc/') or string.match(field, '^a[st]/') then
            call('HDEL', life_key, field)
        end
    end
end

local run = string.match(call('INFO', 'server'), 'run_id:(%w+)')
local life = call('HMGET', life_key, 'run', 'now', 'ahead')
local now
if not life[1] then
    if ARGV[7] ~= '1' and ARGV[8] ~= '1' then
        return {5, server_time()}
    end
    now = root_time(life_key, nil, nil, least)
    set_life(run, ARGV[7] == '1', now)
else
    now = root_time(life_key, life[2], life[3], least)
    if life[1] ~= run then
        forget_nodes()
        set_life(run, true, now)
    end
end

local function is_later(stored)
    local whose, which = string.match(stored or '', '^(%w+)%.(%d+)$')
    return whose == generation and tonumber(which) > tonumber(incarnation)
end

local known = call('HMGET', life_key, 'inc/' .. node, 'as/' .. node, 'young')
if is_later(known[1]) or is_later(known[2]) or (not first and known[2] ~= mark) then
    return {2, now}
end

-- Make <claimed> of <slot> what it should be, where <was> stands.
local function replace(c, slot, was, claimed)
    if was ~= claimed then
        put(c, slot, claimed - was, me, now)
    end
    if claimed == 0 then
        call('HDEL', c.key, slot .. '/' .. me)
    end
end

local young_until = tonumber(known[3]) or 0
local thrown_away = 0

local function assert_counter(c, claims)
    open(c, now, me)
    -- Who is not heard of is taken out of parallel calls; and where all assert, all is told anyway.
    if c.had and c.mode ~= 'p' and not knows(c, me) and now >= young_until then
        thrown_away = 1
    end
    remove_past(c, node, me)
    local all, had = call('HGETALL', c.key), {}
    for i = 1, #all, 2 do
        local slot, name = string.match(all[i], '^(%d+)/(.+)$')
        if slot and name == me then
            had[slot] = tonumber(all[i + 1])
        end
    end
    for slot, was in pairs(had) do
        if not claims[slot] then
            replace(c, slot, was, 0)
        end
    end
    for slot, claimed in pairs(claims) do
        if c.mode ~= 'r' or tonumber(slot) >= c.from then
            replace(c, slot, had[slot] or 0, claimed)
        end
    end
    -- Also where nothing has changed: who gives it up later sees that it was said in this assertion.
    if c.mode == 'p' and knows(c, me) then
        c.heard = 0
        hear(c, me, now)
    end
end

local at = HEAD
for index = 2, #KEYS do
    local c = {key = KEYS[index], mode = string.sub(ARGV[at + 1], 1, 1),
        a = tonumber(ARGV[at + 2]), z = tonumber(ARGV[at + 3]), had = string.sub(ARGV[at + 1], 2) == 'h'}
    local claims, count = {}, tonumber(ARGV[at + 4])
    at = at + 4
    for _ = 1, count do
        claims[ARGV[at + 1]] = tonumber(ARGV[at + 2])
        at = at + 2
    end
    assert_counter(c, claims)
end

-- Others get nothing before all of it is here, when they might take what it has not said yet.
if not last and now < young_until then
    young_until = math.max(young_until, now + young)
    call('HSET', life_key, 'young', digits(young_until))
end

if last then
    call('HSET', life_key, 'inc/' .. node, mark)
    call('HDEL', life_key, 'as/' .. node, 'at/' .. node)
else
    if known[2] ~= mark then
        call('HSET', life_key, 'at/' .. node, mark .. ' ' .. digits(now))
    end
    call('HSET', life_key, 'as/' .. node, mark)
    call('HDEL', life_key, 'inc/' .. node)
end
return {1, now, math.max(0, young_until - now), thrown_away}
