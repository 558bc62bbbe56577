/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * redis - commands to a Redis, as a client of one thread: pipelined, over TCP, a unix socket or
 * TLS.
 *
 * hiredis' reader over our own stream; one Redis, a master found through Sentinels, or a Cluster.
 * A command's answer comes to its callback, exactly once, in the end as a fault: no command waits
 * longer than its time-out, and none is sent twice by us (who knows whether it was done?) except
 * after MOVED, ASK, TRYAGAIN and NOSCRIPT, where the server says that it was not. READONLY,
 * LOADING and MASTERDOWN are given to the caller, and the server is looked for anew.
 *
 * All commands share a connection (to each node): MULTI, WATCH, SELECT, SUBSCRIBE and what blocks
 * are not for here. The user needs INFO and PING, with Sentinels ROLE, in a Cluster CLUSTER SLOTS;
 * CLIENT SETNAME is tried.
 *
 * Written against: RESP2 (redis.io/docs/reference/protocol-spec), the Cluster specification, the
 * Sentinel client guidelines. No command newer than Redis 6.2.
 */

#include <stdbool.h>
#include <stdint.h>

#include "gateway/base/fault.h"
#include "gateway/base/loop.h"
#include "gateway/base/text.h"
#include "gateway/wire/dns.h"
#include "gateway/wire/stream.h"

enum redis_mode { REDIS_AUTO, REDIS_SINGLE, REDIS_SENTINEL, REDIS_CLUSTER };

enum { REDIS_SENTINELS_MAX = 16 };

struct redis_options {
    /* redis:// rediss:// unix://PATH?db=N, with user:password@ and /db; checked by
     * redis_url_read(). With Sentinels its host says nothing. */
    const char *url;
    enum redis_mode mode; /* AUTO: cluster when the server says it is one, sentinel when a master
                             is named, else single */
    const char *sentinel_master;                /* NULL = none */
    const char *sentinels[REDIS_SENTINELS_MAX]; /* "host:port"; NULL ends */
    const char *sentinel_username, *sentinel_password;
    struct tls_options tls;
    const char *server_name; /* to verify instead of the host; NULL = the host */
    int64_t timeout_us;      /* of each command; connecting, for which none waits, may take 1 s */
};

/* Is it one? Else *fault in words without the password. */
bool redis_url_read(const char *url, struct fault *fault);

/* Which one it is, for people: "redis.example:6379/0", "unix:/run/redis.sock?db=1", "mymaster/0 by
 * the Sentinel a:26379". Never user or password; cut to the room. */
enum { REDIS_NAME_BYTES = 320 };
void redis_name(const struct redis_options *options, char into[REDIS_NAME_BYTES]);

/* An answer, borrowed for the time of the callback. */
enum redis_kind { REDIS_NIL, REDIS_STATUS, REDIS_TEXT, REDIS_NUMBER, REDIS_LIST, REDIS_ERROR };
struct redis_reply;
enum redis_kind redis_kind(const struct redis_reply *reply);
struct text redis_text(const struct redis_reply *reply); /* STATUS, TEXT, ERROR; else empty */
int64_t redis_number(const struct redis_reply *reply);   /* NUMBER, or a TEXT that is one; else 0 */
size_t redis_count(const struct redis_reply *reply);     /* of a LIST */
const struct redis_reply *redis_item(const struct redis_reply *reply, size_t i);

/* Why there is no answer. */
enum redis_fault {
    REDIS_ANSWERED, /* there is one; it may be an error of the server */
    REDIS_AWAY,     /* not done: never sent in full, or sent to where another server was named
                       that cannot be reached */
    REDIS_UNKNOWN,  /* sent, and timed out or broke: it may have been done or be done yet */
};

struct redis;

/* Copies the options. NULL and *fault when they are no good. Nothing waits for it: connects in the
 * background, again and again with back-off (50 ms to 2 s, jittered). */
struct redis *redis_new(struct loop *loop, struct dns *dns, const struct redis_options *options,
                        struct fault *fault);
/* Ends what is under way with REDIS_UNKNOWN or REDIS_AWAY; callbacks are called from within. */
void redis_free(struct redis *redis);

/* Connected, authenticated, not half-open. */
bool redis_is_up(const struct redis *redis);
/* Changes with every connection to another server process (run_id), also after a failover. */
uint64_t redis_life(const struct redis *redis);
/* The same for the server that has <key>: in a Cluster each node has a life of its own, and
 * redis_life() changes with any of them. 0 = unknown. */
uint64_t redis_life_of(const struct redis *redis, struct text key);
/* Called when it comes up, goes away, and when life changes. */
void redis_on_change(struct redis *redis, void (*on_change)(void *with), void *with);

typedef void redis_answer(void *with, enum redis_fault fault, const struct redis_reply *reply);

/*
 * Send a command. <key> decides on the node of a Cluster (its {tag}); empty = any. Arguments are
 * copied. False, and <answer> is never called, when it cannot be sent now: no connection, or too
 * much is under way. <answer> is never called from within; it may send, forget, and free.
 * Bounded: at most 16 MiB or 65,536 commands are under way. <timeout_us> 0 = the option's.
 */
bool redis_send(struct redis *redis, struct text key, const struct text *words, size_t count,
                int64_t timeout_us, redis_answer *answer, void *with);
/* The answers that would come to <with> come to nobody. */
void redis_forget(struct redis *redis, const void *with);

/* A Lua script: sent by its digest, and whole when the server does not know it. <key_count> keys
 * come first in <words>, all of one slot. The script must live until it is answered. */
struct redis_script {
    struct text source;
    char sha[41]; /* set by redis_script_init() */
};
void redis_script_init(struct redis_script *script, struct text source);
bool redis_eval(struct redis *redis, const struct redis_script *script, size_t key_count,
                const struct text *words, size_t count, int64_t timeout_us, redis_answer *answer,
                void *with);

/* Be told of what is published on <channel>, on a connection of its own, again after every
 * reconnect (then <message> is called once with an empty text: something may have been missed).
 * One channel per client. */
void redis_subscribe(struct redis *redis, struct text channel,
                     void (*message)(void *with, struct text text), void *with);

struct redis_figures {
    bool up;
    uint64_t commands, connects;
    uint64_t faults;    /* commands without an answer, connections that broke or were not made */
    int64_t latency_us; /* of the last answer */
    char server[64];    /* "7.0.15", of the server connected to last */
};
void redis_figures(const struct redis *redis, struct redis_figures *figures);
