/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * node_records - what nodes tell each other through Redis, as parts of a Lua script: each node has
 * one record, which the others get when it is new, and which ends by itself. For hearsay_desk.c and
 * share_desk.c.
 *
 * The script begins with RECORDS_BEGIN and says which keys it is about:
 *
 *   local at, of = KEYS[1], KEYS[2]   sorted set: when each node has told, µs of Redis' clock;
 *                                     hash: what
 *
 * ARGV: node, its record or '' (which is not told), since when others' are wanted, how long records
 * are kept (µs). RECORDS_HEAR appends to <out>, for each other node, its name, how old its record
 * is, and that.
 */

#define RECORDS_BEGIN                                         \
    "local t = redis.call('TIME')\n"                          \
    "local now = tonumber(t[1]) * 1000000 + tonumber(t[2])\n" \
    "local kept = tonumber(ARGV[4])\n"

/* Those that are too old, or of a clock that went back since, go. */
#define RECORDS_TELL                                                                   \
    "if ARGV[2] ~= '' then\n"                                                          \
    "  redis.call('HSET', of, ARGV[1], ARGV[2])\n"                                     \
    "  redis.call('ZADD', at, string.format('%.0f', now), ARGV[1])\n"                  \
    "  for i = 1, 2 do\n"                                                              \
    "    local gone = redis.call('ZRANGEBYSCORE', at,\n"                               \
    "      i == 1 and '-inf' or string.format('(%.0f', now),\n"                        \
    "      i == 1 and string.format('(%.0f', now - kept) or '+inf', 'LIMIT', 0, 64)\n" \
    "    for _, other in ipairs(gone) do\n"                                            \
    "      redis.call('ZREM', at, other)\n"                                            \
    "      redis.call('HDEL', of, other)\n"                                            \
    "    end\n"                                                                        \
    "  end\n"                                                                          \
    "  redis.call('PEXPIRE', at, string.format('%.0f', kept / 1000))\n"                \
    "  redis.call('PEXPIRE', of, string.format('%.0f', kept / 1000))\n"                \
    "end\n"

#define RECORDS_HEAR                                                                          \
    "local since = math.max(tonumber(ARGV[3]), now - kept)\n"                                 \
    "local others = redis.call('ZRANGEBYSCORE', at, string.format('%.0f', since), '+inf',\n"  \
    "  'WITHSCORES', 'LIMIT', 0, 65)\n"                                                       \
    "for i = 1, #others, 2 do\n"                                                              \
    "  local record = others[i] ~= ARGV[1] and redis.call('HGET', of, others[i])\n"           \
    "  if record then\n"                                                                      \
    "    out[#out + 1] = others[i]\n"                                                         \
    "    out[#out + 1] = string.format('%.0f', math.max(now - tonumber(others[i + 1]), 0))\n" \
    "    out[#out + 1] = record\n"                                                            \
    "  end\n"                                                                                 \
    "end\n"
