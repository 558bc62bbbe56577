/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * buffer - bytes that are appended at the end and taken from the front.
 *
 * States its maximum when it is made, and never grows beyond it. An empty buffer that was cleared
 * with buffer_done() holds no memory, so an idle connection costs nothing for its buffers.
 *
 * Whoever puts a document together from many pieces need not look at each append: what found no
 * room is remembered, and is asked for once, before the whole is used.
 */

#include <stdint.h>

#include "gateway/base/text.h"

enum { BUFFER_CAPACITY_MAX = 0x7fffffff }; /* bytes, whatever the limit */

/* There are several in each open stream: 32 bytes, not more. */
struct buffer {
    char *data;
    size_t limit;        /* bytes it may hold at most */
    uint32_t begin, end; /* the bytes held are data[begin..end) */
    uint32_t capacity;
    bool overrun; /* something has found no room since it was made, cleared or done: what is held
                     is not all of it */
};

void buffer_init(struct buffer *buffer, size_t limit);
/* Free the memory; the buffer stays usable with the same limit. */
void buffer_done(struct buffer *buffer);
/* Forget the bytes, keep the memory. */
void buffer_clear(struct buffer *buffer);

static inline size_t buffer_length(const struct buffer *buffer)
{
    return buffer->end - buffer->begin;
}

/* The bytes held; valid until the buffer is next changed. */
static inline struct text buffer_text(const struct buffer *buffer)
{
    /* Nothing may be added to NULL, not even nothing. */
    if (!buffer->data)
        return (struct text){"", 0};
    return (struct text){buffer->data + buffer->begin, buffer->end - buffer->begin};
}

/* Append where there is no room yet; for buffer_append() only. */
bool buffer_append_slowly(struct buffer *buffer, const void *at, size_t len);

/* Append; false (and nothing is appended) when the limit would be passed. Inline: heads are put
 * together from many small pieces. */
static inline bool buffer_append(struct buffer *buffer, const void *at, size_t len)
{
    /* What it holds is never above its limit, and so is no capacity. */
    if (len == 0)
        return true;
    if (buffer->capacity - buffer->end < len)
        return buffer_append_slowly(buffer, at, len);
    memcpy(buffer->data + buffer->end, at, len);
    buffer->end += (uint32_t)len;
    return true;
}

static inline bool buffer_append_text(struct buffer *buffer, struct text t)
{
    return buffer_append(buffer, t.at, t.len);
}

/* Append <number> in decimal; what goes with every answer is put together without printf. */
bool buffer_append_number(struct buffer *buffer, uint64_t number);

bool buffer_format(struct buffer *buffer, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Room for <len> bytes at the end, or NULL beyond the limit; then say what came with grow. */
char *buffer_room(struct buffer *buffer, size_t len);
void buffer_grow(struct buffer *buffer, size_t len);

/* Take <len> bytes off the front. */
void buffer_drop(struct buffer *buffer, size_t len);
