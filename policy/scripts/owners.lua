-- SPDX-License-Identifier: Apache-2.0
-- Whose are they? KEYS: since, objects... (owned.lua)
-- Gives for how long Redis has known all, in microseconds, and each object, or nothing

local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local since = tonumber(redis.call('GET', KEYS[1]))
if not since then
    redis.call('SET', KEYS[1], string.format('%.0f', now))
    since = now
end
local found = {now - since}
for i = 2, #KEYS do
    found[i] = redis.call('GET', KEYS[i])
end
return found
