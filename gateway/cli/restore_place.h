/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * restore_place - where a backup goes: put together beside what is there, checked, and then moved
 * into its place, with what was there moved aside. Inside gateway, for `restore`; it tells people
 * what is wrong.
 */

#include <stdbool.h>
#include <sys/types.h>

#include "gateway/base/text.h"

struct cli;

/* The parts that a state directory has, as they are put in place: the database last. */
enum restore_part {
    PART_DECISIONS,
    PART_LINK_KEY,
    PART_JOBS,
    PART_DEPLOYMENTS,
    PART_LEDGER,
    PART_DATABASE,
    RESTORE_PARTS
};

struct restore_place {
    char *state;
    struct {
        char *path, *fresh; /* where it goes, where it is put together */
        bool is_there;      /* the backup has it */
    } parts[RESTORE_PARTS];
    int lock;
    uid_t owner;
    gid_t group;
};

/* Of the configuration, or of --into. */
bool restore_find(struct restore_place *place, const struct cli *cli);
/* Nobody may run there, now or while we are at it. */
bool restore_lock(struct restore_place *place);
/* <force>: what is there may be moved aside. */
bool restore_is_free(const struct restore_place *place, bool force);
/* Put in what is in <bytes>, a backup that is whole, called <name>. <others>: it tells of all that
 * is beside the ledger, too; where it has nothing of these, there shall be nothing. */
bool restore_put(struct restore_place *place, const char *name, struct text bytes, bool others);
void restore_done(struct restore_place *place);
