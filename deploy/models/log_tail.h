/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * log_tail - follows the file that a server writes its words to, line by line, and keeps the file
 * from growing without bound.
 *
 * A file and no pipe, since a server must be able to go on writing when we die and to be read again
 * by who takes it over. It is appended to by the server (O_APPEND) and cut by us: when it has grown
 * beyond LOG_FILE_BYTES and was read, it is copied to <path>.1 and emptied. What is written between
 * these two is lost. When we are gone, log_keeper.h does that.
 */

#include "gateway/base/text.h"

enum {
    LOG_FILE_BYTES = 4 * 1024 * 1024,
    LOG_LOOK_BYTES = 64 * 1024,          /* read at most at a time */
    LOG_BEHIND_BYTES = 16 * 1024 * 1024, /* so far behind, and what was not read is given up */
};

struct log_tail {
    int fd;      /* -1 = not open */
    char *path;  /* owned */
    uint64_t at; /* read up to here */
    char *line;  /* the beginning of one that has not ended yet; of line_max bytes */
    size_t length, line_max;
};

/* A descriptor for the server to write to, close-on-exec; -1 with errno. Its folder must exist. */
int log_tail_writer(const char *path);
/* Begin to read at byte <from>. False with errno. */
bool log_tail_open(struct log_tail *tail, const char *path, size_t line_max, uint64_t from);
/* Copy its last LOG_FILE_BYTES to <path>.1 and empty it; <fd> can be read and written. False: it is
 * as it was. */
bool log_tail_cut(int fd, const char *path, uint64_t size);
/* How long it is; 0 when it cannot be said. */
uint64_t log_tail_size(int fd);
/* Read on; a line may be changed in place, and is longer than line_max never (then it is cut in
 * two). True: there is more. */
bool log_tail_read(struct log_tail *tail, void (*on_line)(void *, char *, size_t), void *with);
/* Give out what has no line's end yet. */
void log_tail_flush(struct log_tail *tail, void (*on_line)(void *, char *, size_t), void *with);
void log_tail_close(struct log_tail *tail);
