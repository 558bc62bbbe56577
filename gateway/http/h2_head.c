/* SPDX-License-Identifier: Apache-2.0 */

/* The heads of requests that we serve, from HTTP/2 into HTTP/1.1, and of their answers back. */

#include "gateway/base/memory.h"
#include "gateway/http/h2_fields.h"
#include "gateway/http/h2_inside.h"

/* ------------------------------------------------------------------------- of a request */

static bool keep_pseudo(struct h2_draft *draft, struct text name, struct text value, bool keep)
{
    struct buffer *to = NULL;
    if (text_equal(name, TEXT(":method")))
        to = &draft->method;
    else if (text_equal(name, TEXT(":path")))
        to = &draft->path;
    else if (text_equal(name, TEXT(":authority")))
        to = &draft->authority;
    else
        return text_equal(name, TEXT(":scheme"));
    if (!h2_is_clean_word(value) || buffer_length(to))
        return false;
    draft->has_authority |= to == &draft->authority;
    if (keep || to != &draft->authority) /* a target that is too long is called just that */
        buffer_append_text(to, value);
    return true;
}

bool h2_keep_field(struct h2_stream *stream, struct text name, struct text value)
{
    enum { AROUND = 4 }; /* ": " and CR LF */
    struct h2_draft *draft = stream->draft;
    draft->bytes += name.len + value.len + AROUND;
    size_t max = stream->h2->settings.max_header_bytes;
    bool keep = draft->bytes <= max;
    if (draft->bytes >
        2 * max) /* a byte of HPACK may stand for 4 KB: what follows is not looked at */
        return false;
    if (name.len && name.at[0] == ':')
        return keep_pseudo(draft, name, value, keep);
    if (!h2_is_clean_name(name) || !h2_is_clean_value(value) || h2_is_of_connection(name))
        return false;
    if (!keep || text_equal(name, TEXT("te"))) /* "trailers"; they are accepted anyway */
        return true;
    if (text_equal(name, TEXT("cookie"))) { /* RFC 9113 8.2.3 */
        buffer_append_text(&draft->cookies,
                           buffer_length(&draft->cookies) ? TEXT("; ") : TEXT("cookie: "));
        buffer_append_text(&draft->cookies, value);
        return true;
    }
    if (text_equal(name, TEXT("host")) && !draft->has_host) {
        draft->has_host = true;
        buffer_append_text(&draft->host, value);
        return true;
    }
    draft->has_length |= text_equal(name, TEXT("content-length"));
    h2_put_line(&draft->fields, name, value);
    return true;
}

bool h2_keep_trailer(struct h2_stream *stream, struct text name, struct text value)
{
    enum { AROUND = 4 };
    stream->trailed += name.len + value.len + AROUND;
    if (stream->trailed > H2_TRAILER_BYTES)
        return false;
    if (!h2_is_clean_name(name) || !h2_is_clean_value(value) || h2_is_of_connection(name))
        return false;
    if (!stream->chunked || !stream->owned) /* where the length is known they have no place */
        return true;
    if (!buffer_length(&stream->tail))
        buffer_append_text(&stream->tail, TEXT("0\r\n"));
    h2_put_line(&stream->tail, name, value);
    return true;
}

/* Both must say the same; else there are two, which is for the reader to refuse. */
static void write_host(const struct h2_draft *draft, struct buffer *to)
{
    struct text authority = buffer_text(&draft->authority), host = buffer_text(&draft->host);
    if (draft->has_authority)
        h2_put_line(to, TEXT("host"), authority);
    if (draft->has_host && !(draft->has_authority && text_equal_nocase(authority, host)))
        h2_put_line(to, TEXT("host"), host);
}

/* One that is too large is refused for just that, whatever it says. */
static void write_too_large(struct buffer *to, size_t bytes)
{
    buffer_append_text(to, TEXT("x: "));
    char *room = buffer_room(to, bytes);
    memset(room, 'x', bytes);
    buffer_grow(to, bytes);
}

void h2_write_request(struct h2_stream *stream)
{
    struct h2_draft *draft = stream->draft;
    struct buffer *to = &stream->head;
    struct text method = buffer_text(&draft->method), path = buffer_text(&draft->path);
    size_t max = stream->h2->settings.max_header_bytes;
    stream->head_only = text_equal(method, TEXT("HEAD"));
    bool bare = stream->head_only || text_equal(method, TEXT("GET"));
    buffer_append_text(to, method);
    buffer_append_text(to, TEXT(" "));
    buffer_append_text(to, path.len ? path : buffer_text(&draft->authority)); /* CONNECT */
    buffer_append_text(to, TEXT(" HTTP/1.1\r\n"));
    if (draft->bytes > max) {
        write_too_large(to, max);
        return;
    }
    write_host(draft, to);
    buffer_append_text(to, buffer_text(&draft->fields));
    if (buffer_length(&draft->cookies)) {
        buffer_append_text(to, buffer_text(&draft->cookies));
        buffer_append_text(to, TEXT("\r\n"));
    }
    stream->chunked = !stream->ended && !draft->has_length;
    if (stream->chunked)
        buffer_append_text(to, TEXT("transfer-encoding: chunked\r\n"));
    else if (!draft->has_length && !bare)
        buffer_append_text(to, TEXT("content-length: 0\r\n"));
    buffer_append_text(to, TEXT("connection: close\r\n\r\n"));
}

/* ------------------------------------------------------------------------ of an answer */

static void begin_body(struct h2_stream *stream, unsigned status, const struct h2_framing *framing)
{
    enum body_kind kind = BODY_LENGTH;
    if (stream->head_only || status == 204 || status == 304 || framing->length == 0)
        kind = BODY_NONE;
    else if (framing->chunked)
        kind = BODY_CHUNKED;
    else if (framing->length == UINT64_MAX)
        kind = BODY_TO_CLOSE;
    body_init(&stream->answer.body, kind, framing->length);
    stream->answer.state = kind == BODY_NONE ? H2_OUT_WHOLE : H2_OUT_BODY;
}

static bool send_pairs(struct h2_stream *stream, unsigned status, const nghttp2_nv *pairs,
                       size_t count, const struct h2_framing *framing)
{
    nghttp2_session *session = stream->h2->session;
    if (status < 200)
        return nghttp2_submit_headers(session, NGHTTP2_FLAG_NONE, stream->id, NULL, pairs, count,
                                      NULL) == 0;
    begin_body(stream, status, framing);
    nghttp2_data_provider body = {.source.ptr = stream, .read_callback = h2_on_read};
    bool has_body = stream->answer.state == H2_OUT_BODY;
    return nghttp2_submit_response(session, stream->id, pairs, count, has_body ? &body : NULL) == 0;
}

bool h2_send_head(struct h2_stream *stream)
{
    enum { STATUS_AT = 9, STATUS_DIGITS = 3 }; /* behind "HTTP/1.1 " */
    struct text head = buffer_text(&stream->answer.words);
    struct text line = h2_next_line(&head);
    struct text digits = text_head(text_from(line, STATUS_AT), STATUS_DIGITS);
    struct h2_framing framing = {.length = UINT64_MAX};
    uint64_t status;
    if (digits.len != STATUS_DIGITS || !text_number(digits, 599, &status) || status < 100 ||
        status == 101)
        return false;
    nghttp2_nv *pairs = memory_new((h2_count_lines(head) + 1) * sizeof(*pairs));
    pairs[0] = h2_pair(TEXT(":status"), digits);
    size_t count = 1 + h2_read_fields(head, pairs + 1, &framing);
    bool sent = send_pairs(stream, (unsigned)status, pairs, count, &framing);
    memory_free(pairs);
    return sent;
}
