-- SPDX-License-Identifier: Apache-2.0
-- A ledger says what its sums are: absolute, so that twice is once. docs/LEDGER.md has the names.
--
-- Each sum has the number of its last change. The ledger's mark is the number up to which Redis has
-- been told everything; it goes up with what is told, in the same script, and so is lost with it.
--
-- KEYS  ledgers, index of the minutes, of the hours, of the days, buckets...
-- ARGV  ledger, epoch,
--       before    the mark that this goes on behind
--       after     the mark that it leads to
--       three times how long sums are kept, in seconds; 0 = for ever
--       how many buckets, and for each: its span (1 minute, 2 hour, 3 day), when it begins (s)
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
for i = 9 + 2 * buckets, #ARGV, 4 do
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

if tonumber(after) < mark then
    after = string.format('%.0f', mark)
end
call('HSET', KEYS[1], ledger .. '/sums', epoch .. ' ' .. after .. ' ' .. now)
return {1, tonumber(after)}
