-- SPDX-License-Identifier: Apache-2.0
-- A ledger hands on single calls, each once: their numbers and the mark go up in the same script.
--
-- KEYS  ledgers, stream
-- ARGV  ledger, epoch, before, after (see sums.lua),
--       most      how many calls the stream keeps, about
--       keep      for how long, in seconds; 0 = for ever
--       then for each call: number, line
-- Gives what sums.lua gives

local call = redis.call
local ledger, epoch, before, after = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4]
local now = tonumber(call('TIME')[1])

local stored = call('HGET', KEYS[1], ledger .. '/rows')
local had_epoch, had = string.match(stored or '0 0 ', '^(%d+) (%d+) ')
if tonumber(had_epoch) > tonumber(epoch) then
    return {2, tonumber(had_epoch), tonumber(had)}
end
local mark = had_epoch == epoch and tonumber(had) or 0
if mark < before then
    return {3, mark}
end

for i = 7, #ARGV, 2 do
    if tonumber(ARGV[i]) > mark then
        call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[5], '*',
            'from', ledger .. '/' .. epoch, 'line', ARGV[i + 1])
    end
end
if tonumber(ARGV[6]) > 0 then
    call('XTRIM', KEYS[2], 'MINID', '~', string.format('%.0f', (now - tonumber(ARGV[6])) * 1000))
end

if tonumber(after) < mark then
    after = string.format('%.0f', mark)
end
call('HSET', KEYS[1], ledger .. '/rows', epoch .. ' ' .. after .. ' ' .. now)
return {1, tonumber(after)}
