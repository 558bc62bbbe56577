/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * references - the files that a call's body names ("file_id", "file_ids", at any depth). One that
 * another tenant has uploaded is not there for this one. Inside gateway; on the exchange's loop.
 */

#include "gateway/exchange.h"

enum { REFERENCES_MAX = 100 };

/* How the names of members that name files begin: who scans the body sees whether one does. */
extern const struct text references_begin;

/* Note the names in x->files, from the arena. The body is valid JSON, and x->seeking->names_files
 * is what its scan has seen. False: there are more than REFERENCES_MAX; the fault says so. */
bool references_read(struct exchange *x);
/* Does <body>, which is valid JSON, name any file at all? */
bool references_any(struct text body);
