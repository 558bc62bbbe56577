-- SPDX-License-Identifier: Apache-2.0
-- A node says that it lives, and hears who else does and since when the store remembers.
--
-- KEYS  nodes: a HASH of n/<node> -> "when swept generation"; since, run: of which server process that is; a clock as
--       that of a root: now, ahead; and leapt: when that moved on by more than beats are apart
-- ARGV  node, check (1: it has connected anew: is this the same server process?),
--       swept: the <since> for which it has asserted everything, generation,
--       leapt: the <since> in which it has seen the server's clock set forward; 0 = it has not
--       forgot: the <since> in which counters of its were thrown away; 0 = none were
-- Gives now, since, nodes heard of of late, how many of those have swept for <since>, 1 when another
--       process has just called itself by the same name, the server's own time; and, to who has
--       connected anew, how the server throws away keys when its memory is full, where it may

local HEARD, GONE, JUST, LEAP = 5000000, 3600000000, 1000000, 250000
local node, key = ARGV[1], KEYS[1]

local stored = call('HMGET', key, 'since', 'run', 'now', 'ahead', 'leapt')
local now = root_time(key, stored[3], stored[4], 0)
local since, run = tonumber(stored[1]), stored[2]
local leapt = tonumber(stored[5])
if stored[3] and now - tonumber(stored[3]) > LEAP then
    leapt = now
    call('HSET', key, 'leapt', digits(now))
end
-- What a clock that was set forward has moved out of the windows is as good as forgotten. A node that was
-- asleep sees a leap, too; but then others were heard of meanwhile.
local lost = since and tonumber(ARGV[5]) == since and leapt and now - leapt < HEARD
    or since and tonumber(ARGV[6]) == since
if not since or lost or ARGV[2] == '1' then
    local is = string.match(call('INFO', 'server'), 'run_id:(%w+)')
    if not since or lost or is ~= run then
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
local reply = {now, since, heard, swept, double and 1 or 0, server_time()}
if ARGV[2] == '1' then
    local memory = call('INFO', 'memory')
    local policy = string.match(memory, 'maxmemory_policy:([%w-]+)')
    if policy and policy ~= 'noeviction' and string.match(memory, 'maxmemory:0%D') == nil then
        reply[7] = policy
    end
end
return reply
