/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * cache - answers that were given before, and answers that are being given: equal calls share one.
 * A door of policy.
 *
 * An *entry* is the body of an answer, growing while its *writer* (the exchange that asks a target)
 * writes, and read by any number of *readers*, on any thread, from its beginning: those that came
 * while it grew (join) and those that came later (hit). It is counted: it lives while anybody holds
 * it, also when it was dropped from the cache. Bounded by bytes, least recently used go first; only
 * what ended well stays.
 *
 * The same machinery serves Idempotency-Key: an entry whose name is tenant + key, which stays for
 * 24 h, errors of the provider's own too, and may only be had with the same body.
 *
 * Beyond memory: answers to Idempotency-Keys stand in a small database beside the ledger, or, with
 * a Redis, there, where they hold for all replicas; so may the others. An exchange uses
 * cache_look(), cache_settle() and cache_give_up(), which see to all of that.
 */

#include <stdbool.h>
#include <stdint.h>

#include "gateway/base/fault.h"
#include "gateway/base/hash.h"
#include "gateway/base/list.h"
#include "gateway/base/loop.h"
#include "gateway/base/text.h"
#include "providers/call.h"

/* ------------------------------------------------------------------------------- names */

/*
 * The digest of scope (a tenant's name, or a shared scope), route, operation, and the body in
 * canonical form (canonical.h): members sorted, no white space, strings and numbers in one
 * spelling, members that make no difference left out (stream, stream_options, user, ...; the tables
 * stand in cache_name.c). False when there is no such form (no object, a name twice, beyond 1 MiB)
 * or the call does more than answer (files, batches, a response in the background): it is not
 * cached. Parts are told apart by their lengths: no two calls share a name by accident. A dialect
 * other than the operation's own belongs into <route>.
 */
bool cache_name(struct text scope, struct text route, enum operation operation, struct text body,
                struct digest *name);

/* What a name is made of. */
struct cache_call {
    struct text scope, route;
    enum operation operation;
    struct text body;
};
/* The same by one worker's memory: a call that came before, byte for byte, is not read again. What
 * it remembers goes with its next call after a purge. */
struct cache_remote;
bool cache_name_again(struct cache_remote *remote, const struct cache_call *call,
                      struct digest *name);

/* The name of an entry for Idempotency-Key; false when they are longer than 4 KiB together. The
 * body's digest beside it is of the bytes as they came (and of the path): who tries again sends the
 * same. */
bool cache_name_once(struct text tenant, struct text key, struct digest *name);

/* --------------------------------------------------------------------------- the entries */

struct cache;
struct cache_entry;
struct cache_chunk;

struct cache_options {
    size_t max_bytes; /* of all that is kept; with what grows and is read yet at most thrice */
    size_t max_entry_bytes; /* an answer beyond it is not kept, and nobody new joins it */
};
struct cache *cache_new(const struct cache_options *options);
/* When nobody reads or writes any more. */
void cache_free(struct cache *cache);
void cache_set_options(struct cache *cache, const struct cache_options *options);

/* What is known of an answer besides its bytes. Set by the writer before its first byte; texts are
 * cut at 255 bytes. */
struct cache_facts {
    unsigned status;
    bool stream;    /* the bytes are events (SSE); else one JSON body */
    char type[128]; /* content-type */
    char target[256], provider[256], upstream_model[256];
};
/* Set by the writer at the end. */
struct cache_end {
    struct usage usage;
    int64_t cost_nanos;
    char finish[32];
    bool is_said; /* usage and finish are what the answer says: who gets it need not read it for
                     them. Not kept elsewhere. */
};

enum cache_found {
    CACHE_MISS,       /* <entry> is new and the caller its writer; NULL when it may not store */
    CACHE_HIT,        /* whole; the caller reads */
    CACHE_JOIN,       /* still growing; the caller reads */
    CACHE_OTHER_BODY, /* idempotency: the key was used with another body; no entry */
    CACHE_NOT_KEPT,   /* idempotency: it was used, but the answer was too large to be kept */
    CACHE_ELSEWHERE,  /* idempotency: another replica, or another process, still makes this call:
                         try again later */
    CACHE_BUSY,       /* no room for another entry in the making: go on without, or, with an
                         Idempotency-Key, not at all */
};
struct cache_ask {
    struct digest name;
    struct digest body; /* idempotency: of the body; else zero */
    bool stream;        /* the caller wants events */
    bool idempotency;
    int64_t now_us;     /* monotonic */
    int64_t max_age_us; /* as old or older does not count; INT64_MAX = any, 0 = only what grows */
    bool may_join, may_store;
};
/*
 * Any thread. The caller gets a reference to <entry>.
 *
 * Stream and JSON are two forms of one answer. Whoever joins gets the form that it wants; of whole
 * ones the other form may be given when that one is missing (cache_entry_facts() says which).
 */
enum cache_found cache_find(struct cache *cache, const struct cache_ask *ask,
                            struct cache_entry **entry);

void cache_entry_unref(struct cache_entry *entry);

/* Writer: one thread, which ends with one of the last two, in any case, and then unrefs. */
void cache_write_facts(struct cache_entry *entry, const struct cache_facts *facts);
void cache_write(struct cache_entry *entry, struct text bytes);
/* All of the answer is that of <from>, which is whole: facts, bytes, and how old it is. Ends like
 * any other. */
void cache_write_copy(struct cache_entry *entry, const struct cache_entry *from);
/* It is whole and may be kept until now + ttl; ttl 0: only for those who read already. */
void cache_write_end(struct cache_entry *entry, const struct cache_end *end, int64_t ttl_us);
/* It will never be whole: <why> is static, a fault's name. Readers are told; one that has passed
 * nothing on may find again, and is the writer then. */
void cache_write_broken(struct cache_entry *entry, const char *why);
/* How many read it that came while it grew. */
unsigned cache_entry_readers(const struct cache_entry *entry);

/* For a writer whose client has left, embedded in its owner: <on_alone> is called on <loop> when
 * the last reader has left too. Ended like a reader, before the writer unrefs. */
struct cache_writer {
    struct cache_entry *entry;
    struct loop *loop;
    void (*on_alone)(struct cache_writer *writer);
    /* the cache's own */
    struct errand errand;
    void (*on_gone)(struct cache_writer *writer);
    bool posted, gone;
};
void cache_writer_init(struct cache_writer *writer, struct cache_entry *entry, struct loop *loop,
                       void (*on_alone)(struct cache_writer *writer));
void cache_writer_done(struct cache_writer *writer, void (*on_gone)(struct cache_writer *writer));

/* A reader, embedded in its owner, which begins with cache_read(). After each that said WAIT
 * <on_more> is called on <loop> once, when there is more (facts or bytes), or it ended. Errands of
 * one reader: at most one is on its way. */
struct cache_reader {
    struct cache_entry *entry;
    struct loop *loop;
    void (*on_more)(struct cache_reader *reader);
    size_t at; /* bytes read so far */
    /* the cache's own */
    struct link link;
    struct errand errand;
    void (*on_gone)(struct cache_reader *reader);
    const struct cache_chunk *chunk; /* which it is in, and where in it */
    size_t chunk_at;
    bool waits, posted, gone;
    bool listed; /* it came while the entry grew */
};
/* The reader takes over the caller's reference to <entry>. */
void cache_reader_init(struct cache_reader *reader, struct cache_entry *entry, struct loop *loop,
                       void (*on_more)(struct cache_reader *reader));
enum cache_read_result { CACHE_READ_MORE, CACHE_READ_WAIT, CACHE_READ_END, CACHE_READ_BROKEN };
/* MORE: *piece is valid until the reader is done (an entry's bytes never move). */
enum cache_read_result cache_read(struct cache_reader *reader, struct text *piece);
/* False while the writer has not set them. */
bool cache_entry_facts(const struct cache_entry *entry, struct cache_facts *facts);
/* Why it broke; static. After BROKEN. */
const char *cache_entry_why(const struct cache_entry *entry);
/* After END. */
void cache_entry_end(const struct cache_entry *entry, struct cache_end *end);
/* Bytes of a whole one; -1 = it is not. */
int64_t cache_entry_length(const struct cache_entry *entry);
/* Age of a whole one. */
int64_t cache_entry_age_us(const struct cache_entry *entry, int64_t now_us);
/*
 * Stop reading and give up the entry. When an errand of the reader is still on its way to <loop>,
 * its memory must stay until <on_gone> was called on that loop; else <on_gone> is called from
 * within.
 */
void cache_reader_done(struct cache_reader *reader, void (*on_gone)(struct cache_reader *reader));

struct cache_figures {
    uint64_t entries, bytes, hits, joins, misses, evicted;
};
struct cache_figures cache_figures(struct cache *cache);
/* Drop all entries of one scope, or all when it is empty; those of Idempotency-Key stay. */
void cache_purge(struct cache *cache, struct text scope);

/* ------------------------------------------------------------------------------- beyond memory */

struct redis;

/* Keep what is answered under an Idempotency-Key in the database <path>, at most <max_bytes> of it,
 * and find it there after a restart. False and *fault when it cannot be opened. Call once, before
 * any cache_remote_new(). */
bool cache_remember(struct cache *cache, const char *path, size_t max_bytes, struct fault *fault);
/* Other processes on this machine make calls with Idempotency-Keys, too, and keep what is answered
 * in the same database: <table> (underway.h) says which, and is taken. A call that one of them
 * makes is waited for. Without a Redis only. Once, as above. */
struct underway;
void cache_mind_others(struct cache *cache, struct underway *table);

/* One worker's way to what is kept beyond memory. */
struct cache_remote_options {
    struct redis *redis; /* the worker's; borrowed; NULL = none */
    const char *prefix;  /* of all names in it; borrowed */
    const char *node;    /* ours, the same after a restart; borrowed */
    bool exact;          /* not only answers to Idempotency-Keys are kept there */
};
struct cache_remote *cache_remote_new(struct cache *cache, struct loop *loop,
                                      const struct cache_remote_options *options);
/* All lookups have been done or forgotten. To be called before loop_clear() and redis_free(). */
void cache_remote_free(struct cache_remote *remote);

/* A cache_find() that also looks elsewhere; embedded in its owner. */
struct cache_lookup {
    struct cache_ask ask;
    int64_t wait_us; /* idempotency: wait so long for a replica or process that makes the call */
    void (*on_found)(struct cache_lookup *lookup);
    /* what came of it, as with cache_find() */
    enum cache_found found;
    struct cache_entry *entry;
    bool unsure; /* idempotency: a MISS, but what is kept elsewhere could not be asked in time */
    /* the cache's own */
    struct cache_search *search;
};
/* True: it is known at once. False: <on_found> is called on the loop; equal calls that come in the
 * meantime join, whatever it will be. Whoever gets a MISS with an entry is its writer. */
bool cache_look(struct cache_remote *remote, struct cache_lookup *lookup);
/* Do not call <on_found> any more. What was found before stays the caller's. */
void cache_look_forget(struct cache_lookup *lookup);

/* The writer's cache_write_end() and cache_write_broken() when the entry came from cache_look();
 * both on the worker's thread. <end> may be seen by other replicas, too. */
void cache_settle(struct cache_remote *remote, struct cache_entry *entry,
                  const struct cache_end *end, int64_t ttl_us);
void cache_give_up(struct cache_remote *remote, struct cache_entry *entry, const char *why);
