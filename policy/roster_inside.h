/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * roster, from inside: the view in force, and the store behind it. For roster*.c only.
 *
 * The view is all there is in memory. Who changes something looks at a view, writes to the store on
 * the condition that the store is still where that view was made from, and then has the change
 * applied: the next view. So of two replicas that change something at once, one finds the other's
 * change first and thinks again, whatever the two were about.
 *
 * Every change has a number, which is also the version of the record it leaves behind, and a tag
 * that nobody else has. The mark of a view is the number and the tag of its last change, and the
 * life of the store: a word that is made anew when a store begins empty or has lost changes.
 */

#include <pthread.h>

#include "policy/directory_view.h"
#include "policy/roster_read.h"

enum {
    ROSTER_KEYS_MAX = 1000000,
    ROSTER_TENANTS_MAX = 100000,
    ROSTER_ASK_US = 2000000, /* what an operation may take */
    ROSTER_POLL_US =
        1000000, /* how often the store is looked at when nobody says that it changed */
    ROSTER_REVOKED_DAYS = 30, /* how long one that was revoked is kept */
};

/* One record as it comes from the store or goes there. */
struct roster_change {
    enum record_of kind;
    struct text id;
    uint64_t version;
    struct text body; /* at == NULL = taken away */
};

enum roster_written {
    ROSTER_WRITTEN, /* and applied */
    ROSTER_STALE,   /* the store is not where the view was any more: look again */
    ROSTER_AWAY,    /* not done: the store cannot be reached, or its disk is full */
    ROSTER_UNKNOWN, /* it may have been done */
};

struct roster_local;  /* SQLite: roster_local.c */
struct roster_remote; /* Redis: roster_redis.c */

struct roster {
    struct roster_options options;
    pthread_mutex_t writing; /* one operation that changes something at a time */
    pthread_mutex_t lock;    /* the next one; never held while anybody waits for a store */
    struct directory *view;
    struct roster_local *local; /* the store, or with Redis what is kept of it for the next start */
    struct roster_remote *remote;         /* NULL = embedded */
    char expired_to[2 * ROSTER_NAME_MAX]; /* which key was looked at last; under <writing> */
};

/* ------------------------------------------------------------------------------- the view */

/* Make the view that has <changes>, put it in force, and tell the owner. What cannot be read is
 * left out and logged. A key that was revoked stays so, whatever comes: *kept counts these. */
void roster_apply(struct roster *roster, const struct roster_change *changes, size_t count,
                  const struct roster_mark *mark, size_t *kept);
/* Put <view>, which nobody has seen yet, in force in the place of all that was; the caller's
 * reference goes with it. */
void roster_replace(struct roster *roster, struct directory *view);
/* Read one record into a view that nobody has seen yet. False, and it is logged, when it cannot be
 * read. */
bool roster_load(struct directory *view, const struct roster_change *change);

/* Write one record and apply it. <based_on> is the view that the change was thought out on. */
enum roster_written roster_write(struct roster *roster, const struct directory *based_on,
                                 const struct roster_change *change);
/* Look at the store now; false when it cannot be reached in time. */
bool roster_look(struct roster *roster);

/* --------------------------------------------------------------------------------- SQLite */

/* Open the file and read all of it into the view. NULL and *fault when it cannot be used. */
struct roster_local *roster_local_open(struct roster *roster, struct fault *fault);
/* Look at the file every second, in a thread of its own: another process may write to it while this
 * one is replaced by it. */
void roster_local_start(struct roster_local *local);
void roster_local_close(struct roster_local *local);
enum roster_written roster_local_write(struct roster_local *local, const struct directory *based_on,
                                       const struct roster_change *change);
bool roster_local_look(struct roster_local *local);
/* With Redis: keep what came from there. Any one thread. */
void roster_local_keep(struct roster_local *local, const struct roster_change *changes,
                       size_t count, const struct roster_mark *mark);
/* The same of all that <view> has, in the place of what was. */
void roster_local_keep_all(struct roster_local *local, const struct directory *view);

/* ---------------------------------------------------------------------------------- Redis */

/* Begins in a thread of its own, and waits a moment for what the store has. */
struct roster_remote *roster_remote_open(struct roster *roster, struct fault *fault);
/* Waits for its thread. */
void roster_remote_close(struct roster_remote *remote);
enum roster_written roster_remote_write(struct roster_remote *remote,
                                        const struct directory *based_on,
                                        const struct roster_change *change);
bool roster_remote_look(struct roster_remote *remote);
bool roster_remote_is_up(const struct roster_remote *remote);

/* A word that nobody else has. */
void roster_make_word(char word[ROSTER_WORD_BYTES]);
