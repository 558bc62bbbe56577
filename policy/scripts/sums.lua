-- SPDX-License-Identifier: Apache-2.0
-- A ledger says what its sums are: absolute, so that twice is once. docs/LEDGER.md has the names.
--
-- Each sum has the number of its last change. The ledger's mark is the number up to which Redis has
-- been told everything; it goes up with what is told, in the same script, and so is lost with it.
--
-- KEYS  ledgers, index of the minutes, of the hours, of the days, buckets...,
--       and when there are journals: waiting, journals, lines that wait for each of them...
-- ARGV  ledger, epoch,
--       before    the mark that this goes on behind
--       after     the mark that it leads to
--       three times how long sums are kept, in seconds; 0 = for ever
--       how many buckets, and for each: its span (1 minute, 2 hour, 3 day), when it begins (s)
--       how many journals, and for each: its name, how far it is in the sums
--       then for each sum: which bucket (from 1), number, field, value
-- Gives 1, mark
--       2, epoch, mark   of another, later epoch: the database is older than what is known of it
--       3, mark          less is known than <before>: go on behind that

local call = redis.call
local ledger, epoch, before, after = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4]
local SECONDS = {60, 3600, 86400}
local now = tonumber(call('TIME')[1])

local stored = call('HGET', KEYS[1], ledger .. '/sums')
local had_epoch, had = string.match(stored or '0 0 ', '^(%d+) (%d+) ')
if tonumber(had_epoch) > tonumber(epoch) then
    return {2, tonumber(had_epoch), tonumber(had)}
end
local mark = had_epoch == epoch and tonumber(had) or 0
if mark < before then
    return {3, mark}
end

local keep = {tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])}
local buckets = tonumber(ARGV[8])
local journals_at = 9 + 2 * buckets
local journals = tonumber(ARGV[journals_at])
for i = journals_at + 1 + 2 * journals, #ARGV, 4 do
    if tonumber(ARGV[i + 1]) > mark then
        call('HSET', KEYS[4 + tonumber(ARGV[i])], ARGV[i + 2], ARGV[i + 3])
    end
end
for i = 1, buckets do
    local span, begin = tonumber(ARGV[7 + 2 * i]), ARGV[8 + 2 * i]
    call('ZADD', KEYS[1 + span], begin, begin)
    if keep[span] > 0 then
        local till = tonumber(begin) + SECONDS[span] + keep[span]
        call('EXPIREAT', KEYS[4 + i], string.format('%.0f', till))
    end
end
for span = 1, 3 do
    if keep[span] > 0 then
        call('ZREMRANGEBYSCORE', KEYS[1 + span], '-inf',
            string.format('%.0f', now - keep[span] - SECONDS[span]))
    end
end

-- Lines wait until they are in the sums; a mark that is old says for late ones that they are.
local DAY, MANY = 86400, 256
if journals > 0 then
    local waiting, marks = KEYS[5 + buckets], KEYS[6 + buckets]
    if call('HLEN', marks) > MANY then
        local all = call('HGETALL', marks)
        for i = 1, #all, 2 do
            if tonumber(string.match(all[i + 1], ' (%d+)$')) < now - DAY then
                call('HDEL', marks, all[i])
            end
        end
    end
    for i = 1, journals do
        local name, sequence = ARGV[journals_at - 1 + 2 * i], ARGV[journals_at + 2 * i]
        local lines = KEYS[6 + buckets + i]
        call('HSET', marks, name, sequence .. ' ' .. now)
        call('ZREMRANGEBYSCORE', lines, '-inf', sequence)
        if call('ZCARD', lines) == 0 then
            call('SREM', waiting, ledger .. '/' .. name)
        end
    end
    if keep[3] > 0 then
        call('EXPIRE', marks, string.format('%.0f', keep[3]))
    end
end

if tonumber(after) < mark then
    after = string.format('%.0f', mark)
end
call('HSET', KEYS[1], ledger .. '/sums', epoch .. ' ' .. after .. ' ' .. now)
return {1, tonumber(after)}
