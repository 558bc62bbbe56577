/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * roster_read - a tenant or a key as JSON (docs/KEYS.md): what the API takes and gives, and what
 * the store keeps, which is what was taken with a few members of our own. For roster*.c only.
 */

#include "gateway/base/json.h"
#include "policy/directory_view.h"

enum { ROSTER_BODY_MAX = 256 * 1024, ROSTER_NAME_MAX = 128, ROSTER_LIMITS_MAX = 64 };

/* Read <body>. NULL, and words for the caller in <problem> (256 bytes), when it is not in order.
 * <file> gives what limits have where they do not say. The record is sealed and has one reference.
 * Of a key that was revoked it has id, name, owner, body and times only, in as little memory as
 * that takes: such keys are kept for a month.
 */
struct roster_record *roster_read(enum record_of kind, struct text body,
                                  const struct roster_file *file, char problem[256]);
/* The same with all that <body> says, also of a key that was revoked: to be shown. Not sealed. */
struct roster_record *roster_read_whole(enum record_of kind, struct text body,
                                        const struct roster_file *file, char problem[256]);

/* Only names that a client may give? Else the first that it may not stands in <problem>. With
 * <change>, those that only answers have may stand there, too. */
bool roster_read_allows(enum record_of kind, const struct json *body, bool change,
                        char problem[256]);
/* Is it one of those that only answers have, and what is stored does not? */
bool roster_read_is_answer(struct text name);

/* As an answer gives it, with all members; <secret> empty = without. */
void roster_write_record(struct buffer *out, const struct directory *view,
                         const struct roster_record *record, struct text secret);
void roster_write_file_tenant(struct buffer *out, const struct directory *view,
                              const struct tenant *tenant);
void roster_write_file_key(struct buffer *out, const struct directory *view, const struct key *key);
