/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * multipart - watches a multipart/form-data body (RFC 7578) go by, cut anywhere, and keeps the
 * values of a few small fields. It copies nothing else and changes nothing. What parsers read in
 * different ways is refused (multipart.c has the list): the model that is checked here must be the
 * model that the provider sees.
 */

#include "gateway/base/fault.h"
#include "gateway/base/text.h"

enum { MULTIPART_FIELDS_MAX = 5, MULTIPART_VALUE_BYTES = 256, MULTIPART_BOUNDARY_MAX = 70 };

struct multipart {
    const struct text *wants; /* borrowed */
    size_t count;
    unsigned char state;
    char boundary[MULTIPART_BOUNDARY_MAX + 5]; /* CRLF "--" boundary */
    size_t boundary_len, matched;
    int current; /* the wanted field being read, or -1 */
    bool named;  /* the part being read has its Content-Disposition */
    char line[1024];
    size_t line_len;
    struct {
        bool found; /* and the value is whole */
        bool repeated, too_long;
        size_t len;
        /* where the value stands in the body, so that another can be put in its place */
        uint64_t begin, end;
        char value[MULTIPART_VALUE_BYTES];
    } fields[MULTIPART_FIELDS_MAX];
    uint64_t seen; /* bytes of the body so far */
    /* One more part may be looked at as it goes by, whatever its length: set these three after
     * multipart_init(). */
    struct text watched;                        /* its name, borrowed; empty = none */
    void (*see)(void *with, struct text piece); /* NULL = it is only counted */
    void *with;
    unsigned watched_parts; /* of that name, so far */
    bool watching;          /* the part being read is one */
    bool ended;             /* the closing boundary was seen */
};

/* Read the boundary from a Content-Type value; false when it is no multipart/form-data, or when its
 * boundary is missing or malformed. <wants> at most MULTIPART_FIELDS_MAX names. */
bool multipart_init(struct multipart *multipart, struct text content_type, const struct text *wants,
                    size_t count);
/* Feed the next bytes; false when the framing is broken (FAULT_BAD_REQUEST says how). At the end of
 * the body look at <ended>: without it the form was cut short. */
bool multipart_feed(struct multipart *multipart, struct text bytes, struct fault *why);
