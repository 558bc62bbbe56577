/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/http/head.h"

#include "gateway/http/octets.h"
#include "gateway/http/url.h"

/* What is being read, and what its fields have said so far. */
struct reader {
    const char *at, *end; /* the bytes end in an empty line: a scan for it needs no other bound */
    struct head *head;
    struct fault *why;
    bool is_request;
    bool says_close, says_keep_alive, says_upgrade, has_upgrade;
    unsigned hosts, lengths, transfers, expects, types;
    struct text transfer, expect;
};

static const struct text method_names[] = {
    [METHOD_GET] = {"GET", 3},       [METHOD_HEAD] = {"HEAD", 4},
    [METHOD_POST] = {"POST", 4},     [METHOD_PUT] = {"PUT", 3},
    [METHOD_DELETE] = {"DELETE", 6}, [METHOD_OPTIONS] = {"OPTIONS", 7},
    [METHOD_PATCH] = {"PATCH", 5},
};

const char *method_name(enum method method)
{
    return method_names[method].at;
}

/* An answer that breaks HTTP is its sender's fault, whatever it did. */
static bool refuse(struct reader *reader, enum fault_kind kind, const char *words)
{
    fault_set(reader->why, reader->is_request ? kind : FAULT_TARGET_INVALID, "%s", words);
    return false;
}

static bool refuse_http(struct reader *reader, const char *words)
{
    return refuse(reader, FAULT_BAD_HTTP, words);
}

/* Is <name>, a token, spelled <lower> in any case? Setting the bit that tells a letter's cases
 * apart makes two tokens of these names equal only when they are the same. */
static inline bool spells(struct text name, const char *lower)
{
    for (size_t i = 0; i < name.len; i++)
        if ((name.at[i] | 0x20) != lower[i])
            return false;
    return true;
}

/* ---- fields ---- */

static bool note_length(struct reader *reader, struct text value)
{
    uint64_t length;
    if (reader->lengths++)
        return refuse_http(reader, "Content-Length stands there twice.");
    if (!text_number(value, INT64_MAX, &length))
        return refuse_http(reader, "Content-Length is not a number of bytes.");
    reader->head->content_length = (int64_t)length;
    return true;
}

static bool note_host(struct reader *reader, struct text value)
{
    struct text host;
    uint16_t port;
    if (!reader->is_request)
        return true;
    if (reader->hosts++)
        return refuse_http(reader, "Host stands there twice.");
    if (!url_read_host(value, &host, &port))
        return refuse_http(reader, "Host is not a host name or address with an optional port.");
    reader->head->host = value;
    return true;
}

/* A bit for names of that length and first letter, in any case. */
static inline uint64_t bit_of(struct text name)
{
    unsigned first = name.len ? (unsigned char)name.at[0] | 0x20U : 0;
    return UINT64_C(1) << ((name.len * 11 + first) & 63);
}

/* Options that we do not know change nothing: what goes on is written anew in any case. */
static bool note_connection(struct reader *reader, struct text value)
{
    struct text option;
    while (text_next(&value, ',', &option)) {
        if (text_equal_nocase(option, TEXT("close")))
            reader->says_close = true;
        else if (text_equal_nocase(option, TEXT("keep-alive")))
            reader->says_keep_alive = true;
        else if (text_equal_nocase(option, TEXT("upgrade")))
            reader->says_upgrade = true;
        for (size_t i = 0; i < option.len && reader->is_request; i++)
            if (!octet_is(option.at[i], OCTET_TOKEN))
                return refuse_http(reader, "Connection is not a list of options.");
    }
    return true;
}

/* Look at a field that says how the message is to be read. Most names differ in their length from
 * all of these, and cost one jump. */
static bool note_field(struct reader *reader, const struct head_field *field)
{
    struct text name = field->name, value = field->value;
    switch (name.len) {
    case 4:
        return spells(name, "host") ? note_host(reader, value) : true;
    case 6:
        if (spells(name, "expect")) {
            reader->expects++;
            reader->expect = value;
        }
        return true;
    case 7:
        if (spells(name, "upgrade"))
            reader->has_upgrade = true;
        return true;
    case 10:
        return spells(name, "connection") ? note_connection(reader, value) : true;
    case 12:
        if (spells(name, "content-type") && reader->types++ && reader->is_request)
            return refuse_http(reader, "Content-Type stands there twice.");
        return true;
    case 14:
        return spells(name, "content-length") ? note_length(reader, value) : true;
    case 17:
        if (spells(name, "transfer-encoding")) {
            reader->transfers++;
            reader->transfer = value;
        }
        return true;
    default:
        return true;
    }
}

static bool read_field(struct reader *reader)
{
    struct head *head = reader->head;
    const char *name = reader->at, *at = name;
    while (octet_is(*at, OCTET_TOKEN))
        at++;
    if (at == name && (*at == ' ' || *at == '\t'))
        return refuse_http(reader, "A line of the head goes on in the next one.");
    if (at == name || *at != ':')
        return refuse_http(reader, "A line of the head is not a name, a colon and a value.");
    if (head->field_count == HEAD_FIELDS_MAX)
        return refuse(reader, FAULT_LARGE_HEAD, "The head has too many fields.");
    const char *value = at + 1;
    while (*value == ' ' || *value == '\t')
        value++;
    const char *stop = octet_find_control(value, reader->end);
    if (*stop != '\r' || stop[1] != '\n')
        return refuse_http(reader, "There is a control byte in the head.");
    struct head_field *field = &head->fields[head->field_count++];
    field->name = (struct text){name, (size_t)(at - name)};
    head->names |= bit_of(field->name);
    reader->at = stop + 2;
    while (stop > value && (stop[-1] == ' ' || stop[-1] == '\t'))
        stop--;
    field->value = (struct text){value, (size_t)(stop - value)};
    return note_field(reader, field);
}

static bool read_fields(struct reader *reader)
{
    while (*reader->at != '\r')
        if (!read_field(reader))
            return false;
    if (reader->end - reader->at != 2)
        return refuse_http(reader, "The head goes on behind its end.");
    return true;
}

/* ---- framing ---- */

/* Why a Transfer-Encoding is not ours to read: a well-formed list that ends in chunked, or names
 * only codings, is one that we do not implement (501); all else cannot be framed at all (400). */
static enum fault_kind transfer_problem(struct text transfer)
{
    struct text coding;
    while (text_next(&transfer, ',', &coding)) {
        if (coding.len == 0)
            return FAULT_BAD_HTTP;
        for (size_t i = 0; i < coding.len; i++)
            if (!octet_is(coding.at[i], OCTET_TOKEN))
                return FAULT_BAD_HTTP;
        if (transfer.at && text_equal_nocase(coding, TEXT("chunked")))
            return FAULT_BAD_HTTP;
    }
    return FAULT_BAD_TRANSFER;
}

static bool read_transfer(struct reader *reader)
{
    if (reader->transfers == 0)
        return true;
    if (reader->transfers > 1)
        return refuse_http(reader, "Transfer-Encoding stands there twice.");
    if (reader->lengths > 0)
        return refuse_http(reader, "Content-Length and Transfer-Encoding contradict each other.");
    if (reader->head->minor == 0)
        return refuse_http(reader, "HTTP/1.0 has no Transfer-Encoding.");
    if (!text_equal_nocase(reader->transfer, TEXT("chunked")))
        return refuse(reader, transfer_problem(reader->transfer),
                      "The only Transfer-Encoding that is understood is chunked.");
    reader->head->chunked = true;
    return true;
}

static void note_persistence(struct reader *reader)
{
    struct head *head = reader->head;
    head->keep_alive = !reader->says_close && (head->minor == 1 || reader->says_keep_alive);
    head->upgrade = reader->says_upgrade && reader->has_upgrade && head->minor == 1;
}

static bool read_expect(struct reader *reader)
{
    struct head *head = reader->head;
    if (reader->expects == 0)
        return true;
    if (reader->expects > 1 || !text_equal_nocase(reader->expect, TEXT("100-continue")))
        return refuse(reader, FAULT_BAD_EXPECT,
                      "The only expectation that can be met is 100-continue.");
    /* RFC 9110 10.1.1: not to be answered in HTTP/1.0, nor when no body is to come. */
    head->expect_continue = head->minor == 1 && (head->chunked || head->content_length > 0);
    return true;
}

/* ---- first lines ---- */

static bool read_escapes(struct text target)
{
    size_t at;
    while ((at = text_find_byte(target, '%')) != SIZE_MAX) {
        if (target.len - at < 3 || !octet_is(target.at[at + 1], OCTET_HEX) ||
            !octet_is(target.at[at + 2], OCTET_HEX))
            return false;
        target = text_from(target, at + 3);
    }
    return true;
}

static bool read_method(struct reader *reader, struct text name)
{
    for (size_t i = 0; i < sizeof(method_names) / sizeof(method_names[0]); i++)
        if (text_equal(name, method_names[i])) {
            reader->head->method = (enum method)i;
            return true;
        }
    return refuse(reader, FAULT_BAD_METHOD, "This method is not known here.");
}

static bool read_target(struct reader *reader)
{
    const struct head *head = reader->head;
    if (head->target.len > HEAD_TARGET_MAX)
        return refuse(reader, FAULT_LONG_TARGET, "The request target is too long.");
    if (head->path.len == 0 || head->path.at[0] != '/')
        return refuse_http(reader, "The request target is not a path: only the origin form is "
                                   "served.");
    if (!read_escapes(head->target))
        return refuse_http(reader, "A % in the request target is not an escape.");
    return true;
}

/* "HTTP/" digit "." digit CRLF; the caller has seen that so many bytes are there. */
static bool is_version(const char *at)
{
    return memcmp(at, "HTTP/", 5) == 0 && octet_is(at[5], OCTET_DIGIT) && at[6] == '.' &&
           octet_is(at[7], OCTET_DIGIT);
}

enum { VERSION_BYTES = sizeof("HTTP/1.1") - 1 };

/* The shape first, then the version, the method and the target: RFC 9112 3. */
static bool read_request_line(struct reader *reader)
{
    struct head *head = reader->head;
    const char *method = reader->at, *at = method;
    while (octet_is(*at, OCTET_TOKEN))
        at++;
    struct text name = {method, (size_t)(at - method)};
    if (name.len == 0 || *at != ' ')
        return refuse_http(reader, "The request line does not begin with a method and a space.");
    const char *target = ++at;
    while (octet_is(*at, OCTET_PATH))
        at++;
    head->path = (struct text){target, (size_t)(at - target)};
    if (*at == '?') {
        const char *query = ++at;
        while (octet_is(*at, OCTET_QUERY))
            at++;
        head->query = (struct text){query, (size_t)(at - query)};
    }
    head->target = (struct text){target, (size_t)(at - target)};
    if (head->target.len == 0 || *at != ' ')
        return refuse_http(reader, "The request target has a byte that may not stand there.");
    at++;
    if (reader->end - at < VERSION_BYTES + 2 || !is_version(at) || at[VERSION_BYTES] != '\r' ||
        at[VERSION_BYTES + 1] != '\n')
        return refuse_http(reader, "The request line does not end in an HTTP version.");
    if (at[5] != '1' || at[7] > '1')
        return refuse(reader, FAULT_BAD_VERSION, "Only HTTP/1.1 and HTTP/1.0 are spoken here.");
    head->minor = (unsigned)(at[7] - '0');
    reader->at = at + VERSION_BYTES + 2;
    return read_method(reader, name) && read_target(reader);
}

static bool read_status_line(struct reader *reader)
{
    struct head *head = reader->head;
    const char *at = reader->at, *stop = octet_find_control(at, reader->end);
    enum { STATUS_END = VERSION_BYTES + 4 };
    if (*stop != '\r' || stop[1] != '\n' || stop - at < STATUS_END || !is_version(at) ||
        at[5] != '1' || at[7] > '1' || at[VERSION_BYTES] != ' ')
        return refuse_http(reader, "The answer does not begin with an HTTP/1 status line.");
    struct text rest = {at + VERSION_BYTES + 1, (size_t)(stop - at - VERSION_BYTES - 1)};
    uint64_t status;
    if (!text_number(text_head(rest, 3), 599, &status) || status < 100 ||
        (rest.len > 3 && rest.at[3] != ' '))
        return refuse_http(reader, "The status of the answer is not a number from 100 to 599.");
    head->minor = (unsigned)(at[7] - '0');
    head->status = (unsigned)status;
    head->reason = text_from(rest, 4);
    reader->at = stop + 2;
    return true;
}

/* ---- doors ---- */

static bool begin(struct reader *reader, struct text bytes)
{
    struct head *head = reader->head;
    head->method = METHOD_GET;
    head->target = head->path = head->query = head->host = head->reason = (struct text){NULL, 0};
    head->expect_continue = head->keep_alive = head->chunked = head->upgrade = false;
    head->status = head->minor = 0;
    head->content_length = -1;
    head->names = 0;
    head->field_count = 0;
    if (!text_ends(bytes, TEXT("\r\n\r\n")))
        return refuse_http(reader, "The head does not end in an empty line.");
    reader->at = bytes.at;
    reader->end = bytes.at + bytes.len;
    return true;
}

bool head_read_request(struct text bytes, struct head *head, struct fault *why)
{
    struct reader reader = {.head = head, .why = why, .is_request = true};
    if (!begin(&reader, bytes))
        return false;
    for (int i = 0; i < 2 && reader.end - reader.at > 4 && memcmp(reader.at, "\r\n", 2) == 0; i++)
        reader.at += 2;
    if (!read_request_line(&reader) || !read_fields(&reader) || !read_transfer(&reader))
        return false;
    if (reader.hosts == 0 && head->minor == 1)
        return refuse_http(&reader, "Host is missing.");
    note_persistence(&reader);
    return read_expect(&reader);
}

bool head_read_response(struct text bytes, struct head *head, struct fault *why)
{
    struct reader reader = {.head = head, .why = why};
    if (!begin(&reader, bytes) || !read_status_line(&reader) || !read_fields(&reader) ||
        !read_transfer(&reader))
        return false;
    /* These have no body whatever they say; one that announces a body may well send it. */
    bool is_bare = head->status < 200 || head->status == 204;
    if (is_bare && (head->chunked || head->content_length > 0))
        return refuse_http(&reader, "An answer without a body announces one.");
    note_persistence(&reader);
    return true;
}

struct text head_value(const struct head *head, struct text name)
{
    if (!(head->names & bit_of(name))) /* most that are looked for are not there */
        return (struct text){NULL, 0};
    for (size_t i = 0; i < head->field_count; i++)
        if (text_equal_nocase(head->fields[i].name, name))
            return head->fields[i].value;
    return (struct text){NULL, 0};
}

size_t head_count(const struct head *head, struct text name)
{
    size_t count = 0;
    if (!(head->names & bit_of(name)))
        return 0;
    for (size_t i = 0; i < head->field_count; i++)
        count += text_equal_nocase(head->fields[i].name, name);
    return count;
}

bool head_may_write(struct text value)
{
    if (value.len == 0)
        return true;
    const char *end = value.at + value.len;
    return octet_find_control(value.at, end) == end;
}
