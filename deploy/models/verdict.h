/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * verdict - what became of a declared revision, as words that are kept: a line of JSON. Of the spec
 * that serves in its place only what differs is in it, and of its environment only values that
 * differ, so that few secrets are written down; the rest is taken from what is declared when it is
 * read. Inside deploy/models.
 */

#include "deploy/models/fleet.h"
#include "gateway/base/buffer.h"

enum { VERDICT_BYTES = 256 << 10 };

/* Append it, without its name, and no newline. False, and nothing of use is appended: it is longer
 * than <out> may be. */
bool verdict_write(struct buffer *out, const struct fleet_verdict *verdict,
                   const struct deployment_spec *declared);
/* False: it cannot be read, or is of another revision than <declared>. Else <verdict>'s spec is the
 * caller's to unref; its name is left alone. */
bool verdict_read(struct text line, const struct deployment_spec *declared,
                  struct fleet_verdict *verdict);
