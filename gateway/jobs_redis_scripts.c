/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/jobs_redis.h"

/* clang-format off */

#define NOW                                                                                \
    "local P = ARGV[1]\n"                                                                  \
    "local t = redis.call('TIME')\n"                                                       \
    "local now = tonumber(t[1]) * 1000000 + tonumber(t[2])\n"                              \
    "local function num(x) return string.format('%.0f', x) end\n"

#define FACTS                                                                              \
    "local function facts(id)\n"                                                           \
    "  local f = redis.call('HMGET', P .. 'j:' .. id, 'tenant', 'key', 'model', 'kind', 'state',\n" \
    "    'created', 'due', 'started', 'ended', 'expires', 'cost', 'attempts', 'starts', 'status',\n" \
    "    'request', 'error', 'error_type', 'digest', 'cancel', 'hook')\n"                   \
    "  for i = 1, 20 do f[i] = f[i] or '' end\n"                                           \
    "  table.insert(f, 1, id)\n"                                                           \
    "  return f\n"                                                                         \
    "end\n"

/* <id> waits, not before <due>. */
#define WAIT                                                                               \
    "local function wait(id, c, tenant, due, expires)\n"                                   \
    "  redis.call('ZADD', P .. 'w:' .. c .. ':' .. tenant, num(due), id)\n"                \
    "  if not redis.call('ZSCORE', P .. 'ring:' .. c, tenant) then\n"                      \
    "    redis.call('ZADD', P .. 'ring:' .. c, redis.call('HINCRBY', KEYS[1], 'turn', 1), tenant)\n" \
    "  end\n"                                                                              \
    "  redis.call('ZADD', P .. 'exp', expires, id)\n"                                      \
    "  redis.call('HINCRBY', KEYS[1], 'waiting', 1)\n"                                     \
    "end\n"                                                                                \
    "local function wait_no_more(id, c, tenant)\n"                                         \
    "  local w = P .. 'w:' .. c .. ':' .. tenant\n"                                        \
    "  if redis.call('ZREM', w, id) == 1 then redis.call('HINCRBY', KEYS[1], 'waiting', -1) end\n" \
    "  if redis.call('EXISTS', w) == 0 then redis.call('ZREM', P .. 'ring:' .. c, tenant) end\n" \
    "  redis.call('ZREM', P .. 'exp', id)\n"                                               \
    "end\n"                                                                                \
    "local function class(kind) if kind == '5' then return '1' end return '0' end\n"

/* <id> does not run any more. */
#define LEAVE                                                                              \
    "local function leave(id, c, tenant)\n"                                                \
    "  if redis.call('ZREM', P .. 'run', id) == 1 then\n"                                  \
    "    if redis.call('HINCRBY', P .. 'running', c .. ':' .. tenant, -1) <= 0 then\n"      \
    "      redis.call('HDEL', P .. 'running', c .. ':' .. tenant)\n"                        \
    "    end\n"                                                                            \
    "  end\n"                                                                              \
    "end\n"

#define FINISH                                                                             \
    "local function finish(id, size)\n"                                                    \
    "  local j = P .. 'j:' .. id\n"                                                        \
    "  local had = tonumber(redis.call('HGET', j, 'bytes') or '0')\n"                       \
    "  redis.call('HDEL', j, 'payload')\n"                                                 \
    "  redis.call('HSET', j, 'bytes', size)\n"                                             \
    "  redis.call('HINCRBY', KEYS[1], 'bytes', size - had)\n"                              \
    "  redis.call('ZADD', P .. 'ended', num(now), id)\n"                                   \
    "  if (redis.call('HGET', j, 'hook') or '') ~= '' then\n"                              \
    "    redis.call('ZADD', P .. 'tell', num(now + 10000000), id)\n"                       \
    "  end\n"                                                                              \
    "  redis.call('PUBLISH', P .. 'news', id)\n"                                           \
    "end\n"

/* ARGV: prefix, id, tenant, kind, most that wait, most of the tenant's, most bytes, bytes, created,
 * expires, digest, then fields and values of the hash. */
static const char submit[] = NOW FACTS WAIT
    "local id, tenant, j = ARGV[2], ARGV[3], P .. 'j:' .. ARGV[2]\n"
    "local c = class(ARGV[4])\n"
    "if redis.call('EXISTS', j) == 1 then\n"
    "  local f = facts(id)\n"
    "  if f[2] == tenant and f[19] == ARGV[11] then return {'THERE', f} end\n"
    "  return {'CONFLICT'}\n"
    "end\n"
    "local n = redis.call('HMGET', KEYS[1], 'waiting', 'bytes')\n"
    "if tonumber(n[1] or '0') >= tonumber(ARGV[5]) then return {'FULL'} end\n"
    "if tonumber(n[2] or '0') + tonumber(ARGV[8]) > tonumber(ARGV[7]) then return {'FULL'} end\n"
    "if redis.call('ZCARD', P .. 'w:' .. c .. ':' .. tenant) >= tonumber(ARGV[6]) then return {'MANY'} end\n"
    "redis.call('HSET', j, unpack(ARGV, 12))\n"
    "redis.call('HSET', j, 'bytes', ARGV[8])\n"
    "redis.call('HINCRBY', KEYS[1], 'bytes', ARGV[8])\n"
    "wait(id, c, tenant, now, ARGV[10])\n"
    "redis.call('ZADD', P .. 'all', ARGV[9], id .. ' ' .. tenant)\n"
    "redis.call('ZADD', P .. 't:' .. tenant, ARGV[9], id .. ' ' .. tenant)\n"
    "redis.call('PUBLISH', P .. 'news', '+')\n"
    "return {'OK'}\n";

/* ARGV: prefix, class, most running of a tenant, lease, node. NONE and when there may be one, or JOB,
 * its facts, its spec. */
static const char claim[] = NOW FACTS WAIT
    "local c, most, due = ARGV[2], tonumber(ARGV[3]), 0\n"
    "for _, tenant in ipairs(redis.call('ZRANGE', P .. 'ring:' .. c, 0, 255)) do\n"
    "  local rest = tonumber(redis.call('HGET', P .. 'rest', tenant) or '0')\n"
    "  local busy = tonumber(redis.call('HGET', P .. 'running', c .. ':' .. tenant) or '0') >= most\n"
    "  if rest <= now then redis.call('HDEL', P .. 'rest', tenant) end\n"
    "  if not busy and rest > now and (due == 0 or rest < due) then due = rest end\n"
    "  if not busy and rest <= now then\n"
    "    local w = P .. 'w:' .. c .. ':' .. tenant\n"
    "    local first = redis.call('ZRANGE', w, 0, 0, 'WITHSCORES')\n"
    "    if first[1] and tonumber(first[2]) > now then\n"
    "      if due == 0 or tonumber(first[2]) < due then due = tonumber(first[2]) end\n"
    "    elseif first[1] then\n"
    "      local id, j = first[1], P .. 'j:' .. first[1]\n"
    "      wait_no_more(id, c, tenant)\n"
    "      if redis.call('EXISTS', j) == 1 then\n"
    "        if redis.call('ZSCORE', P .. 'ring:' .. c, tenant) then\n"
    "          redis.call('ZADD', P .. 'ring:' .. c, redis.call('HINCRBY', KEYS[1], 'turn', 1), tenant)\n"
    "        end\n"
    "        redis.call('HINCRBY', P .. 'running', c .. ':' .. tenant, 1)\n"
    "        redis.call('ZADD', P .. 'run', num(now + tonumber(ARGV[4])), id)\n"
    "        redis.call('HINCRBY', j, 'starts', 1)\n"
    "        redis.call('HSET', j, 'state', '1', 'started', num(now), 'node', ARGV[5])\n"
    "        redis.call('PUBLISH', P .. 'news', id)\n"
    "        return {'JOB', facts(id), redis.call('HMGET', j, 'path', 'type', 'payload', 'hook', 'base')}\n"
    "      end\n"
    "    end\n"
    "  end\n"
    "end\n"
    "return {'NONE', num(due - now), num(due)}\n";

/* ARGV: prefix, lease, then id and fence of each. Those that are lost or to be cancelled. */
static const char renew[] = NOW
    "local out = {}\n"
    "for i = 3, #ARGV, 2 do\n"
    "  local f = redis.call('HMGET', P .. 'j:' .. ARGV[i], 'state', 'starts', 'cancel')\n"
    "  if f[1] ~= '1' or f[2] ~= ARGV[i + 1] then\n"
    "    out[#out + 1] = ARGV[i]\n"
    "    out[#out + 1] = 'LOST'\n"
    "  else\n"
    "    redis.call('ZADD', P .. 'run', num(now + tonumber(ARGV[2])), ARGV[i])\n"
    "    if f[3] == '1' then\n"
    "      out[#out + 1] = ARGV[i]\n"
    "      out[#out + 1] = 'CANCEL'\n"
    "    end\n"
    "  end\n"
    "end\n"
    "return out\n";

#define FENCE                                                                              \
    "local id, j = ARGV[2], P .. 'j:' .. ARGV[2]\n"                                        \
    "local f = redis.call('HMGET', j, 'state', 'starts', 'tenant', 'kind', 'expires')\n"    \
    "if f[1] ~= '1' or f[2] ~= ARGV[3] then return {'LOST'} end\n"                          \
    "local c, tenant = class(f[4]), f[3]\n"                                                \
    "leave(id, c, tenant)\n"

/* ARGV: prefix, id, fence, bytes of the result, how long it is kept, fields and values. */
static const char end[] = NOW WAIT LEAVE FINISH FENCE
    "redis.call('HSET', j, unpack(ARGV, 6))\n"
    "finish(id, tonumber(ARGV[4]))\n"
    "redis.call('PEXPIRE', j, ARGV[5])\n"
    "return {'OK'}\n";

/* ARGV: prefix, id, fence, wait, 1 = the tenant rests, attempts, error. */
static const char again[] = NOW WAIT LEAVE FENCE
    "local due = now + tonumber(ARGV[4])\n"
    "redis.call('HSET', j, 'state', '0', 'due', num(due), 'attempts', ARGV[6], 'error', ARGV[7])\n"
    "wait(id, c, tenant, due, f[5])\n"
    "if ARGV[5] == '1' then redis.call('HSET', P .. 'rest', tenant, num(due)) end\n"
    "redis.call('PUBLISH', P .. 'news', id)\n"
    "return {'OK'}\n";

/* ARGV: prefix, id, tenant or nothing, how long it is kept. */
static const char cancel[] = NOW FACTS WAIT FINISH
    "local id, j = ARGV[2], P .. 'j:' .. ARGV[2]\n"
    "local f = redis.call('HMGET', j, 'state', 'tenant', 'kind')\n"
    "if not f[1] or (ARGV[3] ~= '' and f[2] ~= ARGV[3]) then return {'UNKNOWN'} end\n"
    "if tonumber(f[1]) > 1 then return {'OVER', facts(id)} end\n"
    "if f[1] == '1' then\n"
    "  redis.call('HSET', j, 'cancel', '1')\n"
    "  redis.call('PUBLISH', P .. 'news', '!' .. id)\n"
    "  return {'RUNS', facts(id)}\n"
    "end\n"
    "wait_no_more(id, class(f[3]), f[2])\n"
    "redis.call('HSET', j, 'state', '4', 'ended', num(now), 'error', 'It was cancelled before it ran.',\n"
    "  'error_type', 'cancelled')\n"
    "finish(id, 0)\n"
    "redis.call('PEXPIRE', j, ARGV[4])\n"
    "return {'DONE', facts(id)}\n";

/* ARGV: prefix, id. */
static const char look[] = NOW FACTS
    "if redis.call('EXISTS', P .. 'j:' .. ARGV[2]) == 0 then return {'UNKNOWN'} end\n"
    "return {'OK', facts(ARGV[2]), redis.call('HGET', P .. 'j:' .. ARGV[2], 'result') or ''}\n";

/* ARGV: prefix, tenant or nothing, state or -1, only before (0 = all), how many. */
static const char list[] = NOW FACTS
    "local out, most = {}, tonumber(ARGV[5])\n"
    "local from = P .. (ARGV[2] == '' and 'all' or 't:' .. ARGV[2])\n"
    "local upto = ARGV[4] == '0' and '+inf' or '(' .. ARGV[4]\n"
    "for _, name in ipairs(redis.call('ZREVRANGEBYSCORE', from, upto, '-inf', 'LIMIT', 0, 2000)) do\n"
    "  if #out >= most then break end\n"
    "  local id = string.sub(name, 1, 36)\n"
    "  local state = redis.call('HGET', P .. 'j:' .. id, 'state')\n"
    "  if state and (ARGV[3] == '-1' or state == ARGV[3]) then out[#out + 1] = facts(id) end\n"
    "end\n"
    "return out\n";

/* ARGV: prefix, how long what has ended is kept, how often a job may be lost. How many wait, bytes;
 * then the facts of those that have ended thereby. One replica a second does it. */
static const char sweep[] = NOW FACTS WAIT LEAVE FINISH
    "local n = redis.call('HMGET', KEYS[1], 'waiting', 'bytes')\n"
    "local out, eldest = {n[1] or '0', n[2] or '0', '0'}, nil\n"
    "for c = 0, 1 do\n"
    "  for _, tenant in ipairs(redis.call('ZRANGE', P .. 'ring:' .. c, 0, 63)) do\n"
    "    local first = redis.call('ZRANGE', P .. 'w:' .. c .. ':' .. tenant, 0, 0)[1]\n"
    "    local created = first and tonumber(redis.call('HGET', P .. 'j:' .. first, 'created') or '')\n"
    "    if created and (not eldest or created < eldest) then eldest = created end\n"
    "  end\n"
    "end\n"
    "if eldest then out[3] = num(eldest) end\n"
    "if not redis.call('SET', P .. 'sweep', '1', 'NX', 'PX', 900) then return out end\n"
    "for _, id in ipairs(redis.call('ZRANGEBYSCORE', P .. 'run', '-inf', num(now), 'LIMIT', 0, 100)) do\n"
    "  local j = P .. 'j:' .. id\n"
    "  local f = redis.call('HMGET', j, 'tenant', 'kind', 'attempts', 'starts', 'expires', 'cancel')\n"
    "  if not f[1] then\n"
    "    redis.call('ZREM', P .. 'run', id)\n"
    "  else\n"
    "    local c = class(f[2])\n"
    "    leave(id, c, f[1])\n"
    "    local often = tonumber(f[4] or '0') >= tonumber(f[3] or '0') + tonumber(ARGV[3])\n"
    "    if f[6] == '1' or often then\n"
    "      redis.call('HSET', j, 'state', f[6] == '1' and '4' or '3', 'ended', num(now), 'error',\n"
    "        f[6] == '1' and 'It was cancelled.' or 'The process that ran it ended each time.',\n"
    "        'error_type', f[6] == '1' and 'cancelled' or 'internal_error')\n"
    "      finish(id, 0)\n"
    "      redis.call('PEXPIRE', j, num(tonumber(ARGV[2]) / 500))\n"
    "      out[#out + 1] = facts(id)\n"
    "    else\n"
    "      redis.call('HSET', j, 'state', '0')\n"
    "      wait(id, c, f[1], now, f[5])\n"
    "      redis.call('PUBLISH', P .. 'news', '+')\n"
    "    end\n"
    "  end\n"
    "end\n"
    "for _, id in ipairs(redis.call('ZRANGEBYSCORE', P .. 'exp', '-inf', num(now), 'LIMIT', 0, 100)) do\n"
    "  local j = P .. 'j:' .. id\n"
    "  local f = redis.call('HMGET', j, 'tenant', 'kind')\n"
    "  if f[1] then\n"
    "    wait_no_more(id, class(f[2]), f[1])\n"
    "    redis.call('HSET', j, 'state', '5', 'ended', num(now), 'error', 'It had waited too long.',\n"
    "      'error_type', 'expired')\n"
    "    finish(id, 0)\n"
    "    redis.call('PEXPIRE', j, num(tonumber(ARGV[2]) / 500))\n"
    "    out[#out + 1] = facts(id)\n"
    "  else\n"
    "    redis.call('ZREM', P .. 'exp', id)\n"
    "  end\n"
    "end\n"
    "local old = num(now - tonumber(ARGV[2]))\n"
    "for _, id in ipairs(redis.call('ZRANGEBYSCORE', P .. 'ended', '-inf', old, 'LIMIT', 0, 200)) do\n"
    "  local j = P .. 'j:' .. id\n"
    "  local f = redis.call('HMGET', j, 'tenant', 'bytes')\n"
    "  if f[1] then\n"
    "    redis.call('HINCRBY', KEYS[1], 'bytes', -tonumber(f[2] or '0'))\n"
    "    redis.call('ZREM', P .. 'all', id .. ' ' .. f[1])\n"
    "    redis.call('ZREM', P .. 't:' .. f[1], id .. ' ' .. f[1])\n"
    "    redis.call('DEL', j)\n"
    "  end\n"
    "  redis.call('ZREM', P .. 'ended', id)\n"
    "  redis.call('ZREM', P .. 'tell', id)\n"
    "end\n"
    "for _, name in ipairs(redis.call('ZRANGE', P .. 'all', 0, 19)) do\n"
    "  if redis.call('EXISTS', P .. 'j:' .. string.sub(name, 1, 36)) == 0 then\n"
    "    redis.call('ZREM', P .. 'all', name)\n"
    "    redis.call('ZREM', P .. 't:' .. string.sub(name, 38), name)\n"
    "  end\n"
    "end\n"
    "return out\n";

/* ARGV: prefix, how many are taken, then those that this replica is telling. The facts and the result
 * of those that nobody tells any more. */
static const char tell[] = NOW FACTS
    "local lease = num(now + 10000000)\n"
    "for i = 3, #ARGV do redis.call('ZADD', P .. 'tell', 'XX', lease, ARGV[i]) end\n"
    "local out = {}\n"
    "for _, id in ipairs(redis.call('ZRANGEBYSCORE', P .. 'tell', '-inf', num(now), 'LIMIT', 0, ARGV[2])) do\n"
    "  if redis.call('EXISTS', P .. 'j:' .. id) == 1 then\n"
    "    redis.call('ZADD', P .. 'tell', lease, id)\n"
    "    out[#out + 1] = facts(id)\n"
    "    out[#out + 1] = redis.call('HGET', P .. 'j:' .. id, 'result') or ''\n"
    "  else redis.call('ZREM', P .. 'tell', id) end\n"
    "end\n"
    "return out\n";

/* ARGV: prefix, id. */
static const char told[] = NOW
    "return {num(now), redis.call('ZREM', P .. 'tell', ARGV[2])}\n";

/* clang-format on */

void jobs_scripts_init(struct redis_script scripts[SCRIPTS])
{
    static const struct {
        enum jobs_script script;
        const char *source;
        size_t length;
    } sources[] = {
        {SCRIPT_SUBMIT, submit, sizeof(submit) - 1}, {SCRIPT_CLAIM, claim, sizeof(claim) - 1},
        {SCRIPT_RENEW, renew, sizeof(renew) - 1},    {SCRIPT_END, end, sizeof(end) - 1},
        {SCRIPT_AGAIN, again, sizeof(again) - 1},    {SCRIPT_CANCEL, cancel, sizeof(cancel) - 1},
        {SCRIPT_LOOK, look, sizeof(look) - 1},       {SCRIPT_LIST, list, sizeof(list) - 1},
        {SCRIPT_SWEEP, sweep, sizeof(sweep) - 1},    {SCRIPT_TELL, tell, sizeof(tell) - 1},
        {SCRIPT_TOLD, told, sizeof(told) - 1},
    };
    for (size_t i = 0; i < sizeof(sources) / sizeof(sources[0]); i++)
        redis_script_init(&scripts[sources[i].script],
                          (struct text){sources[i].source, sources[i].length});
}
