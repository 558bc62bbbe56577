/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * access - the one line that an exchange leaves in the log, written from its ledger row.
 *
 * JSON where the log is JSON, else a short text for people. Everything that came from outside is
 * escaped; a key is named, never shown. No printf and no allocation but the buffer's own.
 */

#include <stdbool.h>
#include <stdint.h>

#include "gateway/base/access_field.h"
#include "gateway/base/buffer.h"
#include "gateway/http/head.h"
#include "policy/ledger.h"

enum { ACCESS_LINE_BYTES = 65536 }; /* a limit for <out> that every line fits into */

/* What the ledger does not keep. Empty texts are left out. */
struct access_extra {
    struct text trace_id; /* 32 hexadecimal digits */
    struct text peer;     /* address of the client, without its port */
    struct text listener; /* its name */
    enum method method;
    struct text path;     /* as sent, without the query; cut at 256 bytes */
    struct text route;    /* the configured model, when it differs from the name asked for */
    struct text rule;     /* of routing, that was taken */
    struct text decision; /* JSON: who was considered when its first target was chosen */
    struct text cache;    /* hit, miss, join, bypass; empty = no cache in force */
    uint64_t bytes_in, bytes_out;
    /* enum access_field: the members that a line in JSON has, each once, in this order. None =
     * all. */
    const uint8_t *fields;
    size_t field_count;
};

/* Did its answer, of status 200, break off, and was that the target's doing? An error that the
 * target has said in its stream has no name in the row. */
static inline bool access_broke_off(const struct ledger_row *row)
{
    return row->status == 200 && row->outcome == LEDGER_PARTIAL &&
           (row->fault.len == 0 || text_starts(row->fault, TEXT("target_")));
}

/* Append one line with its newline, as JSON or as text; false when <out> has no room. */
bool access_write(struct buffer *out, bool json, const struct ledger_row *row,
                  const struct access_extra *extra);

/* Write the line and give it to the log, in the log's own format. */
void access_log(const struct ledger_row *row, const struct access_extra *extra);
