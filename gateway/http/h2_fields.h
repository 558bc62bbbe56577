/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* h2_fields - the fields of a head between HTTP/2 and HTTP/1.1, for both sides of it (h2.c serves,
 * h2_client.c asks). libnghttp2 has looked at what came in; that nothing ends a line of HTTP/1.1
 * which was none in HTTP/2 is not left to another. */

#include <nghttp2/nghttp2.h>

#include "gateway/base/buffer.h"
#include "gateway/base/text.h"

bool h2_is_clean_name(struct text name);
bool h2_is_clean_value(struct text value);
/* A pseudo field's value: no space in it, and not empty. */
bool h2_is_clean_word(struct text word);
/* Is it one of HTTP/1.1's connections (RFC 9113 8.2.2), which HTTP/2 must not have? */
bool h2_is_of_connection(struct text name);

/* Append "name: value" CR LF. */
void h2_put_line(struct buffer *to, struct text name, struct text value);

/* Read a head of HTTP/1.1 that we have written: the next line is taken off <rest>; an empty one is
 * the end. */
struct text h2_next_line(struct text *rest);

/* What a head says of its body. */
struct h2_framing {
    bool chunked;
    uint64_t length; /* UINT64_MAX = it does not say */
};

/* The fields of <rest>, with names in small letters (so <rest> must be memory that may be written)
 * and without those of the connection, into <pairs>, which has room for as many as <rest> has
 * lines; returns how many there are. They borrow. */
size_t h2_read_fields(struct text rest, nghttp2_nv *pairs, struct h2_framing *framing);
size_t h2_count_lines(struct text head);
nghttp2_nv h2_pair(struct text name, struct text value);
