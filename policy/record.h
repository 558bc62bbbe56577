/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * record - one line of a journal, as bytes. Pure: bytes in, facts out.
 *
 *   u32 length      of the record without padding; written last. 0 = nothing here yet,
 *                   RECORD_END_MARK = the journal goes on in the next segment
 *   u32 checksum    CRC-32C of the length and of everything behind this word
 *   u64 sequence    1, 2, 3 … per journal
 *   body            u8 kind, u8 version, then fields as laid down for that version
 *
 * Integers are little-endian; a record begins at a multiple of 8. docs/LEDGER.md has the fields.
 * Numbers in a body are varints (7 bits a byte, low ones first), since most are small or 0: a
 * shorter line touches fewer pages, which is most of what it costs. Bodies are also what the
 * request tables of the database hold.
 */

#include "policy/ledger.h"

enum record_kind {
    RECORD_OPEN = 1,
    RECORD_SETTLE,
    RECORD_OWN,
    RECORD_DISOWN,
    RECORD_HOLD,    /* a part of a batch that runs, with what it may cost: fields as of a call */
    RECORD_RELEASE, /* and what it did: the same fields */
};

enum {
    RECORD_ALIGN = 8,
    RECORD_HEAD_BYTES = 16,
    RECORD_TEXT_MAX = 255,
    RECORD_MAX_BYTES = 3840,                /* no record is longer, padding included */
    RECORD_GROUP_MAX = 1 + BATCH_PARTS_MAX, /* so many become visible at once */
};
#define RECORD_END_MARK UINT32_MAX

/* A record that was read; texts borrow from its bytes. */
struct record {
    enum record_kind kind;
    uint64_t sequence;
    uint64_t opened;       /* settle: sequence of the line that opened the call, 0 = none */
    struct ledger_row row; /* open, settle, hold, release */
    struct object object;  /* own, disown */
    struct text body;
    size_t bytes; /* from here to the next record */
};

/*
 * Write a record at <at>, 8-byte aligned and all zero so far. Returns its length; it becomes
 * visible by record_publish(). Needs at most record_room_*() bytes.
 */
size_t record_write_call(char *at, enum record_kind kind, uint64_t sequence, uint64_t opened,
                         const struct ledger_row *row);
size_t record_write_object(char *at, enum record_kind kind, uint64_t sequence,
                           const struct object *object);
size_t record_room_call(const struct ledger_row *row);
size_t record_room_object(const struct object *object);

/* Let readers see it: everything before is visible to whoever sees the length. */
void record_publish(char *at, uint32_t length_or_mark);

static inline size_t record_padded(size_t bytes)
{
    return (bytes + RECORD_ALIGN - 1) & ~(size_t)(RECORD_ALIGN - 1);
}

enum record_found {
    RECORD_HERE,
    RECORD_NONE, /* nothing written here yet */
    RECORD_TURN, /* the journal goes on in the next segment */
    RECORD_BAD,  /* torn or damaged */
};

/* Read the record at <at>, of whose bytes <room> are there. Beyond the end of a segment (room 0) is
 * RECORD_TURN. May run beside the thread that writes. */
enum record_found record_read(const char *at, size_t room, struct record *record);

/* The same; but of an opening line only sequence, kind, body and bytes are filled in. */
enum record_found record_skim(const char *at, size_t room, struct record *record);

/* Read a body alone, as it stands in the database; sequence and bytes are left out. */
bool record_read_body(struct text body, struct record *record);

/* Write the body of a settling line for <row> to <out> (RECORD_MAX_BYTES); returns its length. */
size_t record_write_body(char *out, const struct ledger_row *row);
/* The same of a line that notes <object>. */
size_t record_write_own_body(char *out, const struct object *object);
