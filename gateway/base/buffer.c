/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/base/buffer.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>

#include "gateway/base/memory.h"

enum { FIRST_CAPACITY = 512 };

void buffer_init(struct buffer *buffer, size_t limit)
{
    *buffer = (struct buffer){.limit = limit};
}

void buffer_done(struct buffer *buffer)
{
    memory_free(buffer->data);
    *buffer = (struct buffer){.limit = buffer->limit};
}

void buffer_clear(struct buffer *buffer)
{
    buffer->begin = buffer->end = 0;
    buffer->overrun = false;
}

char *buffer_room(struct buffer *buffer, size_t len)
{
    size_t held = buffer_length(buffer);
    size_t limit = buffer->limit < BUFFER_CAPACITY_MAX ? buffer->limit : BUFFER_CAPACITY_MAX;
    if (len > limit || held > limit - len) {
        buffer->overrun = true;
        return NULL;
    }
    if (buffer->capacity - buffer->end >= len)
        return buffer->data + buffer->end;
    if (buffer->begin > 0) {
        memmove(buffer->data, buffer->data + buffer->begin, held);
        buffer->begin = 0;
        buffer->end = (uint32_t)held;
    }
    if (buffer->capacity - held < len) {
        size_t capacity = buffer->capacity ? (size_t)buffer->capacity * 2 : FIRST_CAPACITY;
        if (capacity < held + len)
            capacity = held + len;
        if (capacity > limit)
            capacity = limit;
        buffer->data = memory_resize(buffer->data, capacity);
        buffer->capacity = (uint32_t)capacity;
    }
    return buffer->data + buffer->end;
}

void buffer_grow(struct buffer *buffer, size_t len)
{
    assert(buffer->capacity - buffer->end >= len);
    buffer->end += (uint32_t)len;
}

bool buffer_append_slowly(struct buffer *buffer, const void *at, size_t len)
{
    char *room = buffer_room(buffer, len);
    if (!room)
        return false;
    memcpy(room, at, len);
    buffer->end += (uint32_t)len;
    return true;
}

bool buffer_append_number(struct buffer *buffer, uint64_t number)
{
    if (buffer->capacity - buffer->end >= TEXT_NUMBER_BYTES) {
        const char *end = text_put_number(buffer->data + buffer->end, number);
        buffer->end = (uint32_t)(end - buffer->data);
        return true;
    }
    char digits[TEXT_NUMBER_BYTES];
    return buffer_append_text(buffer, text_write_number(number, digits));
}

bool buffer_format(struct buffer *buffer, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    __attribute__((uninitialized)) char small[512];
    int len = vsnprintf(small, sizeof(small), format, args);
    va_end(args);
    if (len < 0)
        return false;
    if ((size_t)len < sizeof(small))
        return buffer_append(buffer, small, (size_t)len);
    char *room = buffer_room(buffer, (size_t)len + 1);
    if (!room)
        return false;
    va_start(args, format);
    vsnprintf(room, (size_t)len + 1, format, args);
    va_end(args);
    buffer->end += (uint32_t)len;
    return true;
}

void buffer_drop(struct buffer *buffer, size_t len)
{
    assert(len <= buffer_length(buffer));
    buffer->begin += (uint32_t)len;
    if (buffer->begin == buffer->end)
        buffer->begin = buffer->end = 0;
}
