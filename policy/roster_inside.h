/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * roster, from inside: the records in memory and the store behind them. For roster*.c only.
 *
 * Everything is under one lock; who changes something writes it to the store first, then applies it
 * here and makes a new view. Readers of views never meet the lock.
 */

#include <pthread.h>

#include "gateway/base/database.h"
#include "gateway/base/table.h"
#include "policy/directory_view.h"
#include "policy/roster_read.h"

enum { ROSTER_KEYS_MAX = 1000000, ROSTER_TENANTS_MAX = 100000, ROSTER_ID_BYTES = 160 };

/* How a change of the store ended. */
enum roster_written {
    ROSTER_WRITTEN,
    ROSTER_STALE, /* somebody else has changed the record meanwhile: read it again */
    ROSTER_AWAY,  /* the store cannot be reached, or its disk is full */
};

struct roster_remote; /* Redis: roster_redis.c */

struct roster {
    struct roster_options options;
    pthread_mutex_t lock;
    struct roster_file file; /* with a reference to its owner */
    struct roster_record **records;
    size_t count, capacity;
    struct table ids; /* "t/NAME", "k/ID" -> its place in <records>, plus 1 */
    struct arena names;
    size_t tenants, keys;
    struct directory *view;
    uint64_t version;
    struct database *database; /* embedded */
    struct statement *put, *drop;
    struct roster_remote *remote; /* shared */
};

/* The record with this id, or NULL. */
struct roster_record *roster_find(const struct roster *roster, enum record_of kind, struct text id);
/* Put <record> (whose reference is taken) in the place of the one with its id. */
void roster_apply(struct roster *roster, struct roster_record *record);
void roster_remove(struct roster *roster, enum record_of kind, struct text id);
/* Make a view of what is there now, and tell the owner. Under the lock. */
void roster_renew(struct roster *roster);

/* Write a record to the store, or remove it (<record> NULL). <known> is the version that the change
 * is based on; 0 = it must be new. */
enum roster_written roster_write(struct roster *roster, enum record_of kind, struct text id,
                                 const struct roster_record *record, uint64_t known);

/* Keep a record (NULL: none any more) in this node's database, beside the shared store. */
void roster_keep_here(struct roster *roster, enum record_of kind, struct text id,
                      const struct roster_record *record);

/* ------------------------------------------------------------------------------- Redis */

struct roster_remote *roster_remote_new(struct roster *roster, struct fault *fault);
/* Waits for its thread. Not under the lock. */
void roster_remote_free(struct roster_remote *remote);
enum roster_written roster_remote_write(struct roster_remote *remote, enum record_of kind,
                                        struct text id, const struct roster_record *record,
                                        uint64_t known);
bool roster_remote_is_up(const struct roster_remote *remote);
