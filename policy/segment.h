/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * segment - one file of a journal: pre-allocated, mapped, full of records (record.h).
 *
 * All its blocks are allocated before anybody writes to it, so that a full disk shows when a
 * segment is made, where it can be refused, and never as SIGBUS in the middle of a line. It appears
 * under its name only when it is whole.
 *
 * The head, little-endian, SEGMENT_HEAD_BYTES in all: magic "slujrnl\n", u32 format version, u32
 * bytes of the head, u32 worker, u32 number, u64 bytes of the file, i64 time made (wall clock, us),
 * 32 bytes name of the instance, zeros, u32 CRC-32C of everything before it.
 */

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { SEGMENT_HEAD_BYTES = 128, INSTANCE_BYTES = 32, SEGMENTS_KEPT_BAD = 64 };

/* Which journal: one worker of one process. */
struct journal_id {
    char instance[INSTANCE_BYTES]; /* name of its directory */
    unsigned worker;
};

struct segment {
    struct segment *_Atomic next; /* the one with the next number; set once */
    uint32_t number;
    char *map;
    size_t bytes;
    size_t given_back; /* the drained part whose pages we no longer hold */
    bool damaged;      /* a record was bad: keep the file */
};

/* Make number <number> of a journal in <directory>; <filled> for one that will be written soon: its
 * pages are made ready all at once, which takes a quarter of the time that it takes when each is
 * written first. NULL and errno when there is no room. */
struct segment *segment_new(int directory, const struct journal_id *id, uint32_t number,
                            size_t bytes, bool filled);
/*
 * Map an existing one to read. NULL with errno ENOENT when it is gone, EBADMSG when it is not one
 * or of a format newer than ours, or whatever the kernel says.
 */
struct segment *segment_open(int directory, const struct journal_id *id, uint32_t number);
/* Unmap it; the file stays. */
void segment_close(struct segment *segment);
/* Take the file away; a damaged one is kept beside <directory> as INSTANCE-WORKER-NUMBER.bad, but
 * not more than SEGMENTS_KEPT_BAD of them. */
void segment_remove(int directory, const struct journal_id *id, const struct segment *segment);

/* Give the pages before <offset> back to the kernel, some at a time; they can still be read. */
void segment_give_back(struct segment *segment, size_t offset);
/* Give all of them back: nobody will write here any more. Any thread. */
void segment_leave(const struct segment *segment);
/* Are the bytes from <offset> to <end> all zero? */
bool segment_is_empty(const struct segment *segment, size_t offset, size_t end);

/* What stands in a directory. */
struct segment_name {
    unsigned worker;
    uint32_t number;
};
/* The segments in <directory>, by worker and number; free the list with memory_free(). False when
 * it cannot be read. */
bool segment_list(int directory, struct segment_name **list, size_t *count);
