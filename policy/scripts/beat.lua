-- SPDX-License-Identifier: Apache-2.0
-- A node says that it lives, and hears who else does and since when the store remembers.
--
-- KEYS  nodes: a HASH of n/<node> -> "when swept generation"; since, run: of which server process that is; and a
--       clock as that of a root: now, ahead
-- ARGV  node, check (1: it has connected anew: is this the same server process?),
--       swept: the <since> for which it has asserted everything, generation
-- Gives now, since, nodes heard of of late, how many of those have swept for <since>, 1 when another
--       process has just called itself by the same name; and, to who has connected anew, how the
--       server throws away keys when its memory is full, where it may

local HEARD, GONE, JUST = 5000000, 3600000000, 1000000
local node, key = ARGV[1], KEYS[1]

local stored = call('HMGET', key, 'since', 'run', 'now', 'ahead')
local now = root_time(key, stored[3], stored[4])
local since, run = tonumber(stored[1]), stored[2]
if not since or ARGV[2] == '1' then
    local is = string.match(call('INFO', 'server'), 'run_id:(%w+)')
    if not since or is ~= run then
        since = math.max(now, (since or 0) + 1)
        call('HSET', key, 'since', digits(since), 'run', is)
        call('PEXPIRE', key, 90 * DAY / 1000)
    end
end

local before, _, whose = string.match(call('HGET', key, 'n/' .. node) or '', '^(%d+) (%d+) (%w+)$')
local double = before and whose ~= ARGV[4] and now - tonumber(before) < JUST
call('HSET', key, 'n/' .. node, digits(now) .. ' ' .. ARGV[3] .. ' ' .. ARGV[4])

local heard, swept = 0, 0
local all = call('HGETALL', key)
for i = 1, #all, 2 do
    local when, till = string.match(all[i + 1], '^(%d+) (%d+) %w+$')
    if when and now - tonumber(when) > GONE then
        call('HDEL', key, all[i])
    elseif when and now - tonumber(when) <= HEARD then
        heard = heard + 1
        if tonumber(till) == since then
            swept = swept + 1
        end
    end
end
local reply = {now, since, heard, swept, double and 1 or 0}
if ARGV[2] == '1' then
    local memory = call('INFO', 'memory')
    local policy = string.match(memory, 'maxmemory_policy:([%w-]+)')
    if policy and policy ~= 'noeviction' and string.match(memory, 'maxmemory:0%D') == nil then
        reply[6] = policy
    end
end
return reply
