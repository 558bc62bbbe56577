-- SPDX-License-Identifier: Apache-2.0
-- A node says what has changed of its claims: differences.
--
-- KEYS  life, and for each change its counter
-- ARGV  node, generation, incarnation, clock (of the nodes, at least), then per change five words: mode,
--       a, z (see store.lua), slot, difference (of parallel calls also 0: still there)
-- Gives 1, now   or   2, now: the node must assert, also because something that it gives back was thrown away

local node, generation, incarnation = ARGV[1], ARGV[2], ARGV[3]
local me = node .. '.' .. generation
local WORDS, HEAD = 5, 4

local life = call('HMGET', KEYS[1], 'inc/' .. node, 'now', 'ahead', 'as/' .. node)
local mark = generation .. '.' .. incarnation
if life[1] ~= mark and life[4] ~= mark then
    return {2, server_time()}
end
local now = root_time(KEYS[1], life[2], life[3], tonumber(ARGV[4]))

for index = 2, #KEYS do
    local at = HEAD + (index - 2) * WORDS
    local c = {key = KEYS[index], mode = string.sub(ARGV[at + 1], 1, 1),
        a = tonumber(ARGV[at + 2]), z = tonumber(ARGV[at + 3])}
    local slot, delta = ARGV[at + 4], tonumber(ARGV[at + 5])
    open(c, now, me)
    remove_past(c, node, me)
    local counts = true
    if c.mode == 'r' then
        counts = tonumber(slot) >= c.from
    elseif c.mode == 'c' and c.new and c.spans ~= '' then
        -- A span that is not kept any more must not push out one that is.
        for span in string.gmatch(c.spans, '%S+') do
            counts = counts and tonumber(slot) > tonumber(span)
        end
    end
    if counts and delta <= 0 and not knows(c, me) then
        return {2, now}
    end
    if counts then
        put(c, slot, delta, me, now)
    end
end
return {1, now}
