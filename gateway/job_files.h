/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * job_files - files that tenants have uploaded and that jobs have made, below STATE/jobs/files,
 * each until its time, all of a tenant within its quota; and the signed links that open them.
 *
 * A file's name says all there is to know of it: EXPIRES-TENANT-RANDOM, with the second it expires
 * and a digest of the tenant's name; so nothing else has to be kept, and a start finds them again.
 * A link is BASE/v1/download/NAME?name=…&type=…&signature=…; the signature is HMAC-SHA-256 over
 * what it does, the file, and the words given with it. It opens this one file, and no key is
 * needed.
 *
 * Any thread; a lock is held for a look at a table, not for writing.
 */

#include <stdbool.h>
#include <stdint.h>

#include "gateway/base/buffer.h"
#include "gateway/base/hash.h"
#include "gateway/base/text.h"

struct job_files;

enum {
    JOB_FILE_BYTES = 72,       /* of a name, with its NUL */
    JOB_FILE_WORD_BYTES = 130, /* of the name that it is saved under, of its type */
};

/* What a link says. */
struct job_link {
    char file[JOB_FILE_BYTES];
    char name[JOB_FILE_WORD_BYTES]; /* letters, digits, . _ -; what the client called it */
    char type[JOB_FILE_WORD_BYTES]; /* media type, or empty */
};

struct job_files *job_files_open(const char *directory, const struct digest *key);
/* Links are signed by <key> from now on: that of all replicas. */
void job_files_set_key(struct job_files *files, const struct digest *key);
void job_files_free(struct job_files *files);

/* A name for a file of <tenant> that stays until <expires_us> (wall clock). False: the tenant has
 * <quota> bytes already. */
bool job_files_name(struct job_files *files, struct text tenant, int64_t expires_us, size_t quota,
                    char file[JOB_FILE_BYTES]);
/* Open a new one to write to; -1 when that cannot be. It is not there before it is kept. */
int job_files_create(struct job_files *files, const char *file);
/* It is whole, and <bytes> long. False: too much for the tenant's quota, the disk says no, or it is
 * there already. */
bool job_files_keep(struct job_files *files, const char *file, int fd, int64_t bytes, size_t quota);
/* It is given up before it was kept. */
void job_files_drop(struct job_files *files, const char *file, int fd);
/* Write one at once. False as above. */
bool job_files_put(struct job_files *files, const char *file, struct text bytes, size_t quota);
/* Another name for the file at <path>, which has <bytes>. False as above. */
bool job_files_adopt(struct job_files *files, const char *file, const char *path, int64_t bytes,
                     size_t quota);
/* Read one: its length, or -1 when there is none, or not any more. <fd> is the caller's. */
int64_t job_files_read(struct job_files *files, const char *file, int64_t wall_us, int *fd);
/* Erase what has expired. */
void job_files_sweep(struct job_files *files, int64_t wall_us);
/* Is it one of <tenant>'s? */
bool job_files_is_of(const char *file, struct text tenant);

/* Append <base>/v1/upload/… or /v1/download/…, signed. */
void job_files_put_link(struct job_files *files, struct buffer *out, struct text base, bool upload,
                        const struct job_link *link);
/* Read one back: the last segment of the path, and the query. False: not ours, or changed. */
bool job_files_read_link(struct job_files *files, bool upload, struct text segment,
                         struct text query, struct job_link *link);
/* The same for a whole download link, whatever host it names. */
bool job_files_read_url(struct job_files *files, struct text url, struct job_link *link);
