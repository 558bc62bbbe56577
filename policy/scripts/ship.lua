-- SPDX-License-Identifier: Apache-2.0
-- Lines of a journal that are to be safe before they are booked: kept until the sums have them.
--
-- KEYS  waiting: a SET of names; this journal's lines: a ZSET by sequence
-- ARGV  name of this journal, for how long it is kept (s; 0 = for ever), then sequence, line ...
-- Gives how many there are

local call = redis.call
call('SADD', KEYS[1], ARGV[1])
for i = 3, #ARGV, 2 do
    call('ZADD', KEYS[2], ARGV[i], ARGV[i] .. ' ' .. ARGV[i + 1])
end
if tonumber(ARGV[2]) > 0 then
    call('EXPIRE', KEYS[2], ARGV[2])
end
return call('ZCARD', KEYS[2])
