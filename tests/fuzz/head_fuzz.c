/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Heads of requests (or of answers, where the input begins with "HTTP/"): the same outcome however
 * they are cut; what is accepted can be written anew and is read the same; and llhttp accepts and
 * understands it too, where its sources are installed (Debian: node-llhttp). That is built with
 *
 *   CPPFLAGS  -DWITH_LLHTTP -I/usr/share/include
 *   sources   /usr/share/llhttp/llhttp.c /usr/share/llhttp/api.c /usr/share/llhttp/http.c
 *             (compiled with -I/usr/share/include/llhttp and without our warnings)
 *
 * and without it otherwise.
 */

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "gateway/http/head.h"

#ifdef WITH_LLHTTP
#include <llhttp/llhttp.h>
#endif

enum { MAX_BYTES = 4096, WRITTEN_BYTES = 4 * MAX_BYTES };

struct outcome {
    enum head_result result;
    enum fault_kind kind; /* of HEAD_BAD */
    size_t length;
};

/* Feed all of <from> in steps, each time in memory of just the size of what has arrived. */
static struct outcome feed(struct text from, bool is_request, size_t first, size_t step)
{
    struct head_find find = {0};
    struct outcome out = {HEAD_WAIT, FAULT_NONE, 0};
    struct fault why = {.kind = FAULT_NONE};
    for (size_t len = first;; len += step) {
        if (len > from.len)
            len = from.len;
        char *copy = malloc(len ? len : 1);
        memcpy(copy, from.at, len);
        out.result =
            head_find(&find, (struct text){copy, len}, is_request, MAX_BYTES, &out.length, &why);
        free(copy);
        assert(find.at <= len);
        if (out.result != HEAD_WAIT || len == from.len)
            break;
    }
    out.kind = why.kind;
    return out;
}

static bool same(struct outcome a, struct outcome b)
{
    return a.result == b.result && a.kind == b.kind && a.length == b.length;
}

static bool read_head(struct text bytes, bool is_request, struct head *head, struct fault *why)
{
    return is_request ? head_read_request(bytes, head, why) : head_read_response(bytes, head, why);
}

static bool lies_in(struct text part, struct text whole)
{
    return part.len == 0 || (part.at >= whole.at && part.at + part.len <= whole.at + whole.len);
}

static void check_field(const struct head_field *field, struct text bytes)
{
    assert(field->name.len > 0 && lies_in(field->name, bytes) && lies_in(field->value, bytes));
    assert(head_may_write(field->name) && head_may_write(field->value));
    assert(text_equal(text_trim(field->value), field->value));
    assert(text_find_byte(field->name, ' ') == SIZE_MAX);
    assert(text_find_byte(field->name, ':') == SIZE_MAX);
}

static void check_request(const struct head *head, struct text bytes)
{
    size_t mark = head->target.len > head->path.len; /* the '?' */
    assert(head->path.at[0] == '/' && lies_in(head->target, bytes));
    assert(!text_starts(bytes, TEXT("\r\n\r\n\r")) && bytes.at[0] != '\n');
    assert(head->target.len == head->path.len + head->query.len + mark);
    assert(head_count(head, TEXT("host")) == 1 || (head->minor == 0 && head->host.len == 0));
    for (size_t i = 0; i < head->target.len; i++)
        assert(head->target.at[i] > 0x20 && head->target.at[i] < 0x7F);
}

/* What must be true of every head that is accepted. */
static void check_facts(const struct head *head, struct text bytes, bool is_request)
{
    assert(head->minor <= 1 && head->field_count <= HEAD_FIELDS_MAX);
    assert(head_count(head, TEXT("content-length")) == (head->content_length >= 0));
    assert(head_count(head, TEXT("transfer-encoding")) == head->chunked);
    assert(!head->chunked || (head->content_length < 0 && head->minor == 1));
    for (size_t i = 0; i < head->field_count; i++)
        check_field(&head->fields[i], bytes);
    if (is_request)
        check_request(head, bytes);
    else
        assert(head->status >= 100 && head->status <= 599);
}

/* Write the head anew, as plainly as can be; returns its length. */
static size_t write_head(const struct head *head, bool is_request, char *out)
{
    size_t at;
    if (is_request)
        at = (size_t)snprintf(out, WRITTEN_BYTES, "%s %.*s HTTP/1.%u\r\n",
                              method_name(head->method), TEXT_ARGS(head->target), head->minor);
    else
        at = (size_t)snprintf(out, WRITTEN_BYTES, "HTTP/1.%u %u\r\n", head->minor, head->status);
    for (size_t i = 0; i < head->field_count; i++)
        at += (size_t)snprintf(out + at, WRITTEN_BYTES - at, "%.*s: %.*s\r\n",
                               TEXT_ARGS(head->fields[i].name), TEXT_ARGS(head->fields[i].value));
    at += (size_t)snprintf(out + at, WRITTEN_BYTES - at, "\r\n");
    assert(at < WRITTEN_BYTES);
    return at;
}

static void check_written(const struct head *head, bool is_request)
{
    static char out[WRITTEN_BYTES];
    struct text bytes = {out, write_head(head, is_request, out)};
    struct head again;
    struct fault why;
    assert(read_head(bytes, is_request, &again, &why));
    assert(again.method == head->method && again.status == head->status);
    assert(text_equal(again.path, head->path) && text_equal(again.query, head->query));
    assert(text_equal(again.host, head->host) && again.minor == head->minor);
    assert(again.content_length == head->content_length && again.chunked == head->chunked);
    assert(again.keep_alive == head->keep_alive && again.upgrade == head->upgrade);
    assert(again.expect_continue == head->expect_continue);
    assert(again.field_count == head->field_count);
    for (size_t i = 0; i < head->field_count; i++)
        assert(text_equal(again.fields[i].name, head->fields[i].name) &&
               text_equal(again.fields[i].value, head->fields[i].value));
}

#ifdef WITH_LLHTTP
static int on_headers_complete(llhttp_t *parser)
{
    *(bool *)parser->data = true;
    return HPE_PAUSED;
}

/* Whatever we accept, llhttp accepts and frames in the same way. */
static void check_llhttp(const struct head *head, struct text bytes, bool is_request)
{
    llhttp_settings_t settings;
    llhttp_t parser;
    bool complete = false;
    llhttp_settings_init(&settings);
    settings.on_headers_complete = on_headers_complete;
    llhttp_init(&parser, is_request ? HTTP_REQUEST : HTTP_RESPONSE, &settings);
    parser.data = &complete;
    llhttp_execute(&parser, bytes.at, bytes.len);
    if (!complete)
        fprintf(stderr, "llhttp: %s\n", llhttp_get_error_reason(&parser));
    assert(complete && parser.http_major == 1 && parser.http_minor == head->minor);
    assert(((parser.flags & F_CHUNKED) != 0) == head->chunked);
    assert(((parser.flags & F_CONTENT_LENGTH) != 0) == (head->content_length >= 0));
    assert(head->content_length < 0 || parser.content_length == (uint64_t)head->content_length);
    assert(is_request || parser.status_code == head->status);
}
#else
static void check_llhttp(const struct head *head, struct text bytes, bool is_request)
{
    (void)head, (void)bytes, (void)is_request;
}
#endif

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct text from = {(const char *)data, size};
    bool is_request = !text_starts(from, TEXT("HTTP/"));
    struct outcome whole = feed(from, is_request, size, size + 1);
    assert(same(whole, feed(from, is_request, 0, 1)));
    assert(same(whole, feed(from, is_request, size ? data[size - 1] : 0, 7)));
    if (whole.result != HEAD_DONE) {
        assert((whole.kind == FAULT_NONE) == (whole.result == HEAD_WAIT));
        return 0;
    }
    assert(whole.length <= size && whole.length <= MAX_BYTES);
    char *copy = malloc(whole.length);
    memcpy(copy, from.at, whole.length);
    struct text bytes = {copy, whole.length};
    struct head head;
    struct fault why;
    if (read_head(bytes, is_request, &head, &why)) {
        check_facts(&head, bytes, is_request);
        check_written(&head, is_request);
        check_llhttp(&head, bytes, is_request);
    } else {
        assert(why.kind != FAULT_NONE && why.text[0]);
    }
    free(copy);
    return 0;
}
