/* SPDX-License-Identifier: Apache-2.0 */
#include "deploy/models/log_tail.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "gateway/base/memory.h"

enum { PIECE_BYTES = 16 * 1024, COPY_BYTES = 64 * 1024 };

int log_tail_writer(const char *path)
{
    return open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
}

uint64_t log_tail_size(int fd)
{
    struct stat file;
    return fstat(fd, &file) == 0 && file.st_size > 0 ? (uint64_t)file.st_size : 0;
}

bool log_tail_open(struct log_tail *tail, const char *path, size_t line_max, uint64_t from)
{
    *tail = (struct log_tail){.fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW)};
    if (tail->fd < 0)
        return false;
    tail->at = from;
    tail->path = memory_string(text_of(path));
    tail->line_max = line_max;
    return true;
}

static void give(struct log_tail *tail, void (*on_line)(void *, char *, size_t), void *with)
{
    if (tail->length > 0)
        on_line(with, tail->line, tail->length);
    tail->length = 0;
}

static void take(struct log_tail *tail, struct text piece, void (*on_line)(void *, char *, size_t),
                 void *with)
{
    if (!tail->line)
        tail->line = memory_new(tail->line_max);
    for (size_t i = 0; i < piece.len; i++) {
        char byte = piece.at[i];
        if (byte == '\n' || byte == '\r') { /* progress is written with CR alone */
            give(tail, on_line, with);
            continue;
        }
        tail->line[tail->length++] = byte;
        if (tail->length == tail->line_max)
            give(tail, on_line, with);
    }
}

bool log_tail_cut(int fd, const char *path, uint64_t size)
{
    char *aside = memory_format("%s.1", path), *bytes = memory_new(COPY_BYTES);
    int to = open(aside, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    uint64_t at = size > LOG_FILE_BYTES ? size - LOG_FILE_BYTES : 0;
    ssize_t got = 1;
    while (to >= 0 && got > 0 && at < size) {
        got = pread(fd, bytes, COPY_BYTES, (off_t)at);
        if (got > 0 && write(to, bytes, (size_t)got) != got)
            got = 0; /* a full disk: what counts is that the file is cut */
        at += got > 0 ? (uint64_t)got : 0;
    }
    if (to >= 0)
        close(to);
    memory_free(bytes);
    memory_free(aside);
    return ftruncate(fd, 0) == 0;
}

static void bound(struct log_tail *tail, void (*on_line)(void *, char *, size_t), void *with)
{
    uint64_t size = log_tail_size(tail->fd);
    if (size < tail->at)
        tail->at = 0; /* somebody else has emptied it */
    if (size > tail->at + LOG_BEHIND_BYTES) {
        char words[96];
        int length = snprintf(words, sizeof words, "[%llu bytes of its log were not read]",
                              (unsigned long long)(size - tail->at));
        on_line(with, words, (size_t)length);
        tail->at = size;
    }
    if (tail->at == size && size >= LOG_FILE_BYTES && log_tail_cut(tail->fd, tail->path, size))
        tail->at = 0;
}

bool log_tail_read(struct log_tail *tail, void (*on_line)(void *, char *, size_t), void *with)
{
    if (tail->fd < 0)
        return false;
    bound(tail, on_line, with);
    char *piece = memory_new(PIECE_BYTES);
    ssize_t got = PIECE_BYTES;
    for (size_t sum = 0; got == PIECE_BYTES && sum < LOG_LOOK_BYTES; sum += (size_t)got) {
        got = pread(tail->fd, piece, PIECE_BYTES, (off_t)tail->at);
        if (got <= 0)
            break;
        tail->at += (uint64_t)got;
        take(tail, (struct text){piece, (size_t)got}, on_line, with);
    }
    memory_free(piece);
    return got == PIECE_BYTES || tail->at >= LOG_FILE_BYTES;
}

void log_tail_flush(struct log_tail *tail, void (*on_line)(void *, char *, size_t), void *with)
{
    give(tail, on_line, with);
}

void log_tail_close(struct log_tail *tail)
{
    if (tail->fd >= 0)
        close(tail->fd);
    memory_free(tail->path);
    memory_free(tail->line);
    *tail = (struct log_tail){.fd = -1};
}
