/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * tar - archives of regular files, for backups: written to a file, read from memory.
 *
 * POSIX.1-1988 "ustar" (pax, IEEE Std 1003.1, 4.18.2), sizes from 8 GiB on in GNU's base-256;
 * every tar reads them.
 */

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "gateway/base/text.h"

enum { TAR_NAME_MAX = 99 };

struct tar_write {
    FILE *out;
    int64_t made_s; /* the time that all entries get */
    bool failed;    /* errno says why */
};

/* Add a file; <name> has at most TAR_NAME_MAX bytes. */
void tar_put(struct tar_write *tar, const char *name, struct text bytes);
/* End the archive; false when something could not be written. */
bool tar_end(struct tar_write *tar);

struct tar_entry {
    struct text name, bytes; /* borrowed from the archive */
};

enum tar_result { TAR_ENTRY, TAR_END, TAR_BROKEN };

/* The next file of <rest>, which goes on behind it. Anything but a regular file is BROKEN, and so
 * is an archive that is cut off. */
enum tar_result tar_next(struct text *rest, struct tar_entry *entry);
