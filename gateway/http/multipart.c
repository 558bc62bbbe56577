/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/http/multipart.h"

#include <assert.h>

#include "gateway/http/octets.h"

/*
 * What is refused, because the parsers behind us read it in different ways, and the model that we
 * check must be the model that they see: text in front of the first boundary or behind the last,
 * padding behind a boundary, lines that end in a bare LF, folded lines, a part without a name or
 * with two, name*=, a backslash in front of a quote, a wanted field that is a file or is encoded.
 */

enum {
    AT_START,
    BEHIND_BOUNDARY,
    BEHIND_BOUNDARY_CR,
    BEHIND_BOUNDARY_DASH,
    IN_HEADER,
    AT_HEADER_LF,
    AT_DATA_START,
    IN_DATA,
    IN_EPILOGUE,
    BROKEN,
};

/* ---- parameters: ; name=token ; name="quoted" ---- */

/* RFC 2046 5.1.1, without the space, which nobody uses and some trim. */
static bool is_boundary_byte(char byte)
{
    return octet_is(byte, OCTET_HOST) || (byte != '\0' && strchr("'()+,/:=?", byte) != NULL);
}

/* Take the value in front of the next ';' off <rest>; false when its quotes are not closed. */
static bool next_value(struct text *rest, struct text *value)
{
    if (rest->len == 0 || rest->at[0] != '"') {
        size_t end = text_find_byte(*rest, ';');
        *value = text_trim(text_head(*rest, end));
        *rest = text_from(*rest, end);
        return value->len > 0 && text_find_byte(*value, '"') == SIZE_MAX;
    }
    *rest = text_from(*rest, 1);
    size_t end = text_find_byte(*rest, '"');
    if (end == SIZE_MAX || (end > 0 && rest->at[end - 1] == '\\'))
        return false;
    *value = text_head(*rest, end);
    *rest = text_trim(text_from(*rest, end + 1));
    return rest->len == 0 || rest->at[0] == ';';
}

/* Take the next "; name=value" off <rest>; false when there is none, and *bad when it is broken. */
static bool next_parameter(struct text *rest, struct text *name, struct text *value, bool *bad)
{
    *rest = text_trim(*rest);
    if (rest->len == 0)
        return false;
    *bad = true;
    if (rest->at[0] != ';')
        return false;
    *rest = text_trim(text_from(*rest, 1));
    size_t equals = text_find_byte(*rest, '=');
    if (equals == SIZE_MAX || equals == 0)
        return false;
    *name = text_head(*rest, equals);
    for (size_t i = 0; i < name->len; i++)
        if (!octet_is(name->at[i], OCTET_TOKEN))
            return false;
    *rest = text_from(*rest, equals + 1);
    *bad = !next_value(rest, value);
    return !*bad;
}

bool multipart_init(struct multipart *multipart, struct text content_type, const struct text *wants,
                    size_t count)
{
    struct text rest, name, value, boundary = {NULL, 0};
    bool bad = false;
    size_t end = text_find_byte(content_type, ';');
    assert(count <= MULTIPART_FIELDS_MAX);
    if (!text_equal_nocase(text_trim(text_head(content_type, end)), TEXT("multipart/form-data")))
        return false;
    rest = text_from(content_type, end);
    while (next_parameter(&rest, &name, &value, &bad)) {
        if (!text_equal_nocase(name, TEXT("boundary")))
            continue;
        if (boundary.at)
            return false;
        boundary = value;
    }
    if (bad || boundary.len == 0 || boundary.len > MULTIPART_BOUNDARY_MAX)
        return false;
    for (size_t i = 0; i < boundary.len; i++)
        if (!is_boundary_byte(boundary.at[i]))
            return false;
    memset(multipart, 0, sizeof(*multipart));
    multipart->wants = wants;
    multipart->count = count;
    multipart->current = -1;
    memcpy(multipart->boundary, "\r\n--", 4);
    memcpy(multipart->boundary + 4, boundary.at, boundary.len);
    multipart->boundary_len = boundary.len + 4;
    multipart->matched = 2; /* the first boundary has no line in front of it */
    return true;
}

/* ---- the head of a part ---- */

/* form-data; name="model" */
static const char *read_disposition(struct multipart *multipart, struct text rest)
{
    struct text name, value, field = {NULL, 0};
    bool bad = false, is_file = false;
    size_t end = text_find_byte(rest, ';');
    if (multipart->named)
        return "A part of the form has two Content-Disposition lines.";
    if (!text_equal_nocase(text_trim(text_head(rest, end)), TEXT("form-data")))
        return "A part of the form is not form-data.";
    rest = text_from(rest, end);
    while (next_parameter(&rest, &name, &value, &bad)) {
        if (text_equal_nocase(name, TEXT("name*")))
            return "A part of the form has a name that is encoded.";
        if (text_starts_nocase(name, TEXT("filename")))
            is_file = true;
        if (!text_equal_nocase(name, TEXT("name")))
            continue;
        if (field.at)
            return "A part of the form has two names.";
        field = value;
    }
    if (bad || !field.at)
        return "A part of the form has no readable name.";
    multipart->named = true;
    multipart->watching = multipart->watched.len && text_equal(field, multipart->watched);
    multipart->watched_parts += multipart->watching;
    for (size_t i = 0; i < multipart->count; i++) {
        if (!text_equal(field, multipart->wants[i]))
            continue;
        if (is_file)
            return "A field of the form that is read here is sent as a file.";
        if (multipart->fields[i].found)
            multipart->fields[i].repeated = true;
        else
            multipart->current = (int)i;
    }
    return NULL;
}

static const char *read_header(struct multipart *multipart, struct text line)
{
    size_t colon = text_find_byte(line, ':');
    if (colon == SIZE_MAX || colon == 0)
        return "A line in the head of a part is not a name, a colon and a value.";
    struct text name = text_head(line, colon), value = text_trim(text_from(line, colon + 1));
    for (size_t i = 0; i < name.len; i++)
        if (!octet_is(name.at[i], OCTET_TOKEN))
            return "A line in the head of a part is not a name, a colon and a value.";
    if (text_equal_nocase(name, TEXT("content-disposition")))
        return read_disposition(multipart, value);
    if (text_equal_nocase(name, TEXT("content-transfer-encoding")) &&
        !text_equal_nocase(value, TEXT("binary")) && !text_equal_nocase(value, TEXT("8bit")) &&
        !text_equal_nocase(value, TEXT("7bit")))
        return "A part of the form is encoded.";
    return NULL;
}

static const char *end_header_line(struct multipart *multipart)
{
    const char *problem = NULL;
    if (multipart->line_len > 0) {
        problem = read_header(multipart, (struct text){multipart->line, multipart->line_len});
        multipart->line_len = 0;
        multipart->state = IN_HEADER;
        return problem;
    }
    if (!multipart->named)
        return "A part of the form has no name.";
    multipart->state = AT_DATA_START;
    multipart->matched = 2;
    if (multipart->current >= 0)
        multipart->fields[multipart->current].begin = multipart->seen;
    return NULL;
}

/* ---- bytes ---- */

static void keep(struct multipart *multipart, const char *at, size_t len)
{
    if (multipart->watching && multipart->see && len)
        multipart->see(multipart->with, (struct text){at, len});
    if (multipart->current < 0)
        return;
    size_t room = MULTIPART_VALUE_BYTES - multipart->fields[multipart->current].len;
    if (len > room) {
        multipart->fields[multipart->current].too_long = true;
        len = room;
    }
    memcpy(multipart->fields[multipart->current].value + multipart->fields[multipart->current].len,
           at, len);
    multipart->fields[multipart->current].len += len;
}

static void begin_part(struct multipart *multipart)
{
    multipart->state = IN_HEADER;
    multipart->line_len = 0;
    multipart->named = multipart->watching = false;
}

/* The whole boundary has gone by. */
static void end_part(struct multipart *multipart)
{
    if (multipart->current >= 0) {
        multipart->fields[multipart->current].found = true;
        multipart->fields[multipart->current].end = multipart->seen - multipart->boundary_len;
    }
    multipart->current = -1;
    multipart->state = BEHIND_BOUNDARY;
}

/*
 * Take what can be taken of a part's data; returns how many bytes. A boundary begins with a CR and
 * has no other, so a match that fails can begin anew only at the byte that broke it.
 */
static size_t take_data(struct multipart *multipart, struct text bytes)
{
    if (multipart->matched == 0) {
        size_t end = text_find_byte(bytes, '\r');
        size_t len = end == SIZE_MAX ? bytes.len : end;
        keep(multipart, bytes.at, len);
        multipart->matched = end != SIZE_MAX;
        multipart->seen += len + multipart->matched;
        return len + multipart->matched;
    }
    if (bytes.at[0] != multipart->boundary[multipart->matched]) {
        keep(multipart, multipart->boundary, multipart->matched);
        multipart->matched = 0;
        return 0;
    }
    multipart->seen++;
    if (++multipart->matched == multipart->boundary_len)
        end_part(multipart);
    return 1;
}

/* Right behind the empty line a boundary without its CRLF would be data to some and the end of an
 * empty part to others. */
static const char *take_data_start(struct multipart *multipart, char byte, size_t *taken)
{
    if (byte != multipart->boundary[multipart->matched]) {
        keep(multipart, multipart->boundary + 2, multipart->matched - 2);
        multipart->matched = 0;
        multipart->state = IN_DATA;
        return NULL;
    }
    multipart->seen++;
    *taken = 1;
    return ++multipart->matched == multipart->boundary_len
               ? "A part of the form has no line between its head and the next boundary."
               : NULL;
}

static const char *take_header_byte(struct multipart *multipart, char byte)
{
    if (byte == '\r') {
        multipart->state = AT_HEADER_LF;
        return NULL;
    }
    if (octet_is_control(byte))
        return "There is a control byte in the head of a part.";
    if (multipart->line_len == sizeof(multipart->line))
        return "A line in the head of a part is too long.";
    multipart->line[multipart->line_len++] = byte;
    return NULL;
}

static const char *take_byte(struct multipart *multipart, char byte)
{
    static const char odd[] =
        "A boundary of the form is followed by something else than its line end.";
    multipart->seen++;
    switch (multipart->state) {
    case AT_START:
        if (byte != multipart->boundary[multipart->matched])
            return "The form does not begin with its boundary.";
        if (++multipart->matched == multipart->boundary_len)
            multipart->state = BEHIND_BOUNDARY;
        return NULL;
    case BEHIND_BOUNDARY:
        multipart->state = byte == '\r' ? BEHIND_BOUNDARY_CR : BEHIND_BOUNDARY_DASH;
        return byte == '\r' || byte == '-' ? NULL : odd;
    case BEHIND_BOUNDARY_CR:
        begin_part(multipart);
        return byte == '\n' ? NULL : odd;
    case BEHIND_BOUNDARY_DASH:
        multipart->state = IN_EPILOGUE;
        multipart->ended = byte == '-';
        return byte == '-' ? NULL : odd;
    case IN_HEADER:
        return take_header_byte(multipart, byte);
    case AT_HEADER_LF:
        return byte == '\n' ? end_header_line(multipart)
                            : "A line in the head of a part does not end in CR LF.";
    case IN_EPILOGUE:
        return byte == '\r' || byte == '\n' ? NULL
                                            : "There is something behind the end of the form.";
    default:
        return "The form is broken already.";
    }
}

bool multipart_feed(struct multipart *multipart, struct text bytes, struct fault *why)
{
    while (bytes.len > 0) {
        const char *problem = NULL;
        size_t taken = 0;
        if (multipart->state == IN_DATA) {
            taken = take_data(multipart, bytes);
        } else if (multipart->state == AT_DATA_START) {
            problem = take_data_start(multipart, bytes.at[0], &taken);
        } else {
            problem = take_byte(multipart, bytes.at[0]);
            taken = 1;
        }
        if (problem) {
            multipart->state = BROKEN;
            return fault_set(why, FAULT_BAD_REQUEST, "%s", problem);
        }
        bytes = text_from(bytes, taken);
    }
    return true;
}
