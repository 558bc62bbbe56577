/* SPDX-License-Identifier: Apache-2.0 */
#include "policy/roster_remote.h"

/* KEYS: version, tenants, keys, log; see roster_remote.h. Numbers stay below 2^53. */

struct redis_script remote_scripts[REMOTE_SCRIPTS];

/* ARGV: number, tag, life of the view. SAME; MORE and what changed; EMPTY; LOST: the store was
 * further once; FAR, OTHER: read everything. */
static const char look[] =
    "local s = redis.call('HMGET', KEYS[1], 'number', 'tag', 'life')\n"
    "if not s[3] then return {'EMPTY'} end\n"
    "if s[3] ~= ARGV[3] then return {'OTHER'} end\n"
    "local behind = tonumber(s[1]) - tonumber(ARGV[1])\n"
    "if behind == 0 and s[2] == ARGV[2] then return {'SAME'} end\n"
    "if behind <= 0 then return {'LOST'} end\n"
    "if behind > 500 then return {'FAR'} end\n"
    "local log = redis.call('LRANGE', KEYS[4], 0, behind)\n"
    "local ours = log[behind + 1]\n"
    "local number, tag = string.match(ours or '', '^(%d+) (%S+) ')\n"
    "if number ~= ARGV[1] then return {'FAR'} end\n"
    "if tag ~= ARGV[2] then return {'LOST'} end\n"
    "local out, seen = {'MORE', s[1], s[2], s[3]}, {}\n"
    "for i = 1, behind do\n"
    "  local kind, id = string.match(log[i], '^%d+ %S+ (%S+) (.*)$')\n"
    "  if kind ~= '-' and not seen[kind .. id] then\n"
    "    seen[kind .. id] = true\n"
    "    out[#out + 1] = kind\n"
    "    out[#out + 1] = id\n"
    "    out[#out + 1] = redis.call('HGET', kind == 'k' and KEYS[3] or KEYS[2], id) or ''\n"
    "  end\n"
    "end\n"
    "return out\n";

/* ARGV: number, tag, life of the view; the new tag; kind, id, JSON or nothing; the channel.
 * The new number, or STALE. */
static const char write[] =
    "local s = redis.call('HMGET', KEYS[1], 'number', 'tag', 'life')\n"
    "if s[1] ~= ARGV[1] or s[2] ~= ARGV[2] or s[3] ~= ARGV[3] then return {'STALE'} end\n"
    "local n = string.format('%.0f', tonumber(s[1]) + 1)\n"
    "local hash = ARGV[5] == 'k' and KEYS[3] or KEYS[2]\n"
    "if ARGV[7] == '' then redis.call('HDEL', hash, ARGV[6])\n"
    "else redis.call('HSET', hash, ARGV[6], n .. '\\n' .. ARGV[7]) end\n"
    "redis.call('HSET', KEYS[1], 'number', n, 'tag', ARGV[4])\n"
    "redis.call('LPUSH', KEYS[4], n .. ' ' .. ARGV[4] .. ' ' .. ARGV[5] .. ' ' .. ARGV[6])\n"
    "redis.call('LTRIM', KEYS[4], 0, 9999)\n"
    "redis.call('PUBLISH', ARGV[8], n)\n"
    "return {'DONE', n}\n";

/* ARGV: number, tag, life of the view; the new life and tag; the channel. What was lost may go
 * further back than to the number the store has now: others may have written since. */
static const char begin[] =
    "local s = redis.call('HMGET', KEYS[1], 'number', 'tag', 'life')\n"
    "local base, lost = tonumber(ARGV[1]), 0\n"
    "if s[3] then\n"
    "  if s[3] ~= ARGV[3] then return {'OTHER'} end\n"
    "  lost = math.max(0, math.min(base, tonumber(s[1])) - 1000)\n"
    "  base = math.max(base, tonumber(s[1]))\n"
    "end\n"
    "base = string.format('%.0f', base)\n"
    "redis.call('HSET', KEYS[1], 'number', base, 'tag', ARGV[5], 'life', ARGV[4], 'from', ARGV[3],"
    " 'lost', string.format('%.0f', lost))\n"
    "redis.call('DEL', KEYS[4])\n"
    "redis.call('LPUSH', KEYS[4], base .. ' ' .. ARGV[5] .. ' - -')\n"
    "redis.call('PUBLISH', ARGV[6], base)\n"
    "return {'DONE'}\n";

/* ARGV: the life; a tag; the channel; then kind, id, version, force, JSON of each. What the store
 * has in a newer version stays, unless <force>. */
static const char merge[] =
    "local s = redis.call('HMGET', KEYS[1], 'number', 'life')\n"
    "if s[2] ~= ARGV[1] then return {'OTHER'} end\n"
    "local n = tonumber(s[1])\n"
    "for i = 4, #ARGV, 5 do\n"
    "  local hash = ARGV[i] == 'k' and KEYS[3] or KEYS[2]\n"
    "  local it = redis.call('HGET', hash, ARGV[i + 1])\n"
    "  local there = it and tonumber(string.match(it, '^(%d+)\\n')) or -1\n"
    "  local version = tonumber(ARGV[i + 2])\n"
    "  if ARGV[i + 3] == '1' then version = math.max(version, there + 1) end\n"
    "  if version > there then\n"
    "    n = math.max(n + 1, version)\n"
    "    redis.call('HSET', hash, ARGV[i + 1],"
    " string.format('%.0f', version) .. '\\n' .. ARGV[i + 4])\n"
    "    redis.call('LPUSH', KEYS[4], string.format('%.0f', n) .. ' ' .. ARGV[2] .. ' ' .. ARGV[i] "
    ".."
    " ' ' .. ARGV[i + 1])\n"
    "  end\n"
    "end\n"
    "n = string.format('%.0f', n)\n"
    "redis.call('HSET', KEYS[1], 'number', n, 'tag', ARGV[2])\n"
    "redis.call('LTRIM', KEYS[4], 0, 9999)\n"
    "redis.call('PUBLISH', ARGV[3], n)\n"
    "return {'DONE'}\n";

static void init(void)
{
    redis_script_init(&remote_scripts[SCRIPT_LOOK], TEXT(look));
    redis_script_init(&remote_scripts[SCRIPT_WRITE], TEXT(write));
    redis_script_init(&remote_scripts[SCRIPT_BEGIN], TEXT(begin));
    redis_script_init(&remote_scripts[SCRIPT_MERGE], TEXT(merge));
}

void remote_scripts_init(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, init);
}
