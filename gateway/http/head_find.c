/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/http/head.h"
#include "gateway/http/octets.h"

/* Where the walk stands; 0 must be the beginning. */
enum {
    AT_BEGINNING, /* empty lines may stand here in front of a request */
    AT_BEGINNING_CR,
    IN_FIRST_LINE,
    AT_FIRST_CR,
    AT_LINE,
    IN_LINE,
    AT_LINE_CR,
    AT_LAST_CR,
};

enum {
    EMPTY_LINES_BYTES = 4,                    /* at most two */
    FIRST_LINE_BYTES = HEAD_TARGET_MAX + 64,  /* a target, and room for all that is around it */
    LAST_WORD_BYTES = sizeof(" HTTP/1.1") - 1 /* what ends the first line of every request */
};

static enum head_result refuse(struct fault *why, bool is_request, enum fault_kind kind,
                               const char *words)
{
    fault_set(why, is_request ? kind : FAULT_TARGET_INVALID, "%s", words);
    return HEAD_BAD;
}

/* A line may not go on behind its CR, nor end without one. */
static const char *line_problem(char byte)
{
    if (byte == '\n')
        return "A line of the head ends in a bare line feed.";
    if (byte == '\r')
        return "A carriage return in the head is not followed by a line feed.";
    if (byte == '\0')
        return "There is a NUL byte in the head.";
    return "There is a control byte in the head.";
}

/* May a message begin so? Says it before the whole line is there: TLS and garbage never end. */
static const char *beginning_problem(struct text bytes, size_t at, bool is_request)
{
    static const struct text status = {"HTTP/1.", 7};
    if (is_request)
        return octet_is(bytes.at[at], OCTET_TOKEN)
                   ? NULL
                   : "This is no HTTP request: its first byte cannot begin a method.";
    struct text seen = text_head(bytes, status.len);
    return text_starts(status, seen) ? NULL : "This is no HTTP/1 answer.";
}

/* The first line of a request is whole, without its CR: does it name a version? HTTP/0.9 has none
 * and would wait for an answer while we wait for fields. */
static bool names_version(struct text line)
{
    return line.len > LAST_WORD_BYTES &&
           text_starts(text_from(line, line.len - LAST_WORD_BYTES), TEXT(" HTTP/"));
}

/* Take one byte where the state is between lines; NULL, or what is wrong. */
static const char *step(struct head_find *find, struct text bytes, bool is_request)
{
    char byte = bytes.at[find->at];
    const char *problem = NULL;
    switch (find->state) {
    case AT_BEGINNING:
        if (byte == '\r' && is_request && find->at < EMPTY_LINES_BYTES) {
            find->state = AT_BEGINNING_CR;
            break;
        }
        problem = beginning_problem(bytes, find->at, is_request);
        find->state = IN_FIRST_LINE;
        break;
    case AT_BEGINNING_CR:
    case AT_FIRST_CR:
    case AT_LINE_CR:
        problem = byte == '\n' ? NULL : line_problem('\r');
        find->state = find->state == AT_BEGINNING_CR ? AT_BEGINNING : AT_LINE;
        break;
    default: /* AT_LINE */
        find->state = byte == '\r' ? AT_LAST_CR : IN_LINE;
        if (byte == '\r')
            break;
        /* The line begins here: let the walk look at its first byte. */
        return NULL;
    }
    find->at++;
    return problem;
}

/* Walk through lines, as many as are there whole, to the end of the bytes or of the head. */
static const char *walk(struct head_find *find, struct text bytes, bool is_request)
{
    const char *at = bytes.at + find->at, *end = bytes.at + bytes.len;
    for (;;) {
        bool first = find->state == IN_FIRST_LINE;
        at = octet_find_control(at, end);
        find->at = (size_t)(at - bytes.at);
        if (at == end)
            return NULL;
        if (*at != '\r')
            return line_problem(*at);
        if (first && is_request && !names_version(text_head(bytes, find->at)))
            return "The request line does not end in an HTTP version.";
        find->at++;
        find->state = first ? AT_FIRST_CR : AT_LINE_CR;
        if (first || end - at < 3 || at[1] != '\n' || at[2] == '\r')
            return NULL;
        find->state = IN_LINE;
        at += 2;
    }
}

enum head_result head_find(struct head_find *find, struct text bytes, bool is_request,
                           size_t max_bytes, size_t *length, struct fault *why)
{
    bool all = bytes.len < max_bytes;
    bytes = text_head(bytes, max_bytes);
    if (!is_request && bytes.len > 0 && find->state <= IN_FIRST_LINE) {
        const char *problem = beginning_problem(bytes, 0, false);
        if (problem)
            return refuse(why, false, FAULT_BAD_HTTP, problem);
    }
    while (find->at < bytes.len) {
        bool is_first = find->state == IN_FIRST_LINE;
        const char *problem = NULL;
        if (find->state == AT_LAST_CR) {
            if (bytes.at[find->at] != '\n')
                return refuse(why, is_request, FAULT_BAD_HTTP, line_problem('\r'));
            *length = ++find->at;
            return HEAD_DONE;
        }
        if (is_first || find->state == IN_LINE)
            problem = walk(find, bytes, is_request);
        else
            problem = step(find, bytes, is_request);
        if (is_first && is_request && find->at > FIRST_LINE_BYTES)
            return refuse(why, true, FAULT_LONG_TARGET, "The request line is too long.");
        if (problem)
            return refuse(why, is_request, FAULT_BAD_HTTP, problem);
    }
    if (all)
        return HEAD_WAIT;
    if (find->state <= IN_FIRST_LINE)
        return refuse(why, is_request, FAULT_LONG_TARGET, "The request line is too long.");
    return refuse(why, is_request, FAULT_LARGE_HEAD, "The head of the message is too large.");
}
