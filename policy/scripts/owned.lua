-- SPDX-License-Identifier: Apache-2.0
-- Who owns what was made: said by the worker that noted it, at once, and by its ledger, which says again
-- what Redis has missed or forgotten.
--
-- KEYS  ledgers, since, objects...
-- ARGV  ledger ('' = a worker: there is no mark), epoch, before, after (see sums.lua),
--       anew      1: what others could not know is told now, so that who is not found may be to come
--       then for each object: number, when (us), till when it is kept (s; 0 = for ever),
--       what it is (record.h), or nothing: it is gone
-- Gives what sums.lua gives
--
-- An object is "<when> <what>"; <since> is when Redis has begun to know all, in microseconds.

local call = redis.call
local ledger, epoch, before, after = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4]
local time = call('TIME')
local now = tonumber(time[1])
local now_us = string.format('%.0f', now * 1000000 + tonumber(time[2]))

local mark = 0
if ledger ~= '' then
    local stored = call('HGET', KEYS[1], ledger .. '/objects')
    local had_epoch, had = string.match(stored or '0 0 ', '^(%d+) (%d+) ')
    if tonumber(had_epoch) > tonumber(epoch) then
        return {2, tonumber(had_epoch), tonumber(had)}
    end
    mark = had_epoch == epoch and tonumber(had) or 0
    if mark < before then
        return {3, mark}
    end
end
if ARGV[5] == '1' then
    call('SET', KEYS[2], now_us)
else
    call('SETNX', KEYS[2], now_us)
end

local GONE = 31 * 86400
for i = 6, #ARGV, 4 do
    local key = KEYS[3 + (i - 6) / 4]
    local when, till, what = tonumber(ARGV[i + 1]), tonumber(ARGV[i + 2]), ARGV[i + 3]
    if ledger == '' or tonumber(ARGV[i]) > mark then
        local had = tonumber(string.match(call('GETRANGE', key, 0, 20), '^(%d+)') or 0)
        if ledger == '' and when <= had then
            when = had + 1 -- a clock that is behind
        end
        if when >= had and (till == 0 or till > now) then
            call('SET', key, string.format('%.0f', when) .. ' ' .. what)
            if what == '' then
                call('EXPIRE', key, GONE)
            elseif till > 0 then
                call('EXPIREAT', key, string.format('%.0f', till))
            end
        end
    end
end

if ledger == '' then
    return {1, 0}
end
if tonumber(after) < mark then
    after = string.format('%.0f', mark)
end
call('HSET', KEYS[1], ledger .. '/objects', epoch .. ' ' .. after .. ' ' .. now)
return {1, tonumber(after)}
