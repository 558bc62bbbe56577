/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/base/memory.h"
#include "gateway/base/scan.h"
#include "gateway/base/scan_kernel.h"

/* Where the tap stands on the top level. Deeper down only the depth counts. */
enum tap_state {
    TAP_START,   /* before the document's '{' */
    TAP_NAME,    /* a name may begin, or the document end */
    TAP_IN_NAME, /* within its quotes */
    TAP_COLON,   /* behind it */
    TAP_VALUE,   /* a value may begin */
    TAP_INSIDE,  /* in a value */
    TAP_BEHIND,  /* behind a value */
    TAP_OVER,    /* the document has ended, or is none */
};

enum { NO_NAME = 255 };

/* One piece that is being looked at. */
struct feed {
    struct tap *tap;
    const struct scan_kernel *kernel;
    const char *at, *end;
    const char *from; /* what is being kept begins here in this piece */
};

void tap_init(struct tap *tap, const struct text *wants, size_t count)
{
    *tap = (struct tap){.wants = wants, .count = count, .capturing = -1};
}

void tap_pass(struct tap *tap, size_t i, void (*pass)(void *owner, struct text piece), void *owner)
{
    tap->passed = i;
    tap->pass = pass;
    tap->owner = owner;
}

void tap_again(struct tap *tap)
{
    struct tap fresh = {.wants = tap->wants, .count = tap->count, .capturing = -1};
    memcpy(fresh.values, tap->values, sizeof(fresh.values));
    tap_pass(&fresh, tap->passed, tap->pass, tap->owner);
    *tap = fresh;
}

void tap_done(struct tap *tap)
{
    for (size_t i = 0; i < tap->count; i++)
        memory_free(tap->values[i]);
    tap_init(tap, tap->wants, tap->count);
    tap->state = TAP_OVER;
}

/* ---- keeping values ---- */

static void keep(struct feed *f, const char *to)
{
    struct tap *tap = f->tap;
    if (tap->capturing < 0)
        return;
    size_t i = (size_t)tap->capturing, len = (size_t)(to - f->from);
    if (tap->pass && i == tap->passed) {
        tap->pass(tap->owner, (struct text){f->from, len});
        return;
    }
    if (tap->too_long[i] || len > TAP_VALUE_BYTES - tap->kept[i]) {
        tap->too_long[i] = true;
        return;
    }
    if (!tap->values[i])
        tap->values[i] = memory_new(TAP_VALUE_BYTES);
    if (len > 0)
        memcpy(tap->values[i] + tap->kept[i], f->from, len);
    tap->kept[i] += len;
}

/* The value ends at f->at. */
static void end_value(struct feed *f)
{
    keep(f, f->at);
    f->tap->capturing = -1;
    f->tap->state = TAP_BEHIND;
}

/* The document has ended; a value that did not is forgotten. */
static void give_up(struct feed *f)
{
    struct tap *tap = f->tap;
    if (tap->capturing >= 0)
        tap->kept[tap->capturing] = 0;
    tap->capturing = -1;
    tap->state = TAP_OVER;
}

/* ---- names ---- */

/* The name is whole: is the value that follows wanted? */
static void choose(struct tap *tap)
{
    tap->state = TAP_COLON;
    for (size_t i = 0; i < tap->count; i++) {
        if (tap->wants[i].len != tap->name_len ||
            memcmp(tap->wants[i].at, tap->name, tap->name_len) != 0)
            continue;
        /* Of names that stand twice the last one counts, as with most readers of JSON. */
        tap->capturing = (int)i;
        tap->kept[i] = 0;
        tap->too_long[i] = false;
    }
}

/* A name that is too long, or has something in it that a wanted one has not, matches nothing. */
static void add_to_name(struct tap *tap, char c)
{
    if (tap->name_len < sizeof(tap->name))
        tap->name[tap->name_len++] = c;
    else
        tap->name_len = NO_NAME;
}

/* The character behind a backslash, or a digit of its number. */
static void add_escaped(struct tap *tap, char c)
{
    if (tap->digits_left == 0 && c == 'u') {
        tap->digits_left = 4;
        tap->code = 0;
        return;
    }
    if (tap->digits_left == 0) {
        tap->escape = false;
        if (c == '"' || c == '\\' || c == '/')
            add_to_name(tap, c);
        else
            tap->name_len = NO_NAME; /* a control character */
        return;
    }
    tap->code = (uint16_t)(tap->code << 4 | (scan_hex(c) & 15));
    if (--tap->digits_left > 0)
        return;
    tap->escape = false;
    if (tap->code < 0x80)
        add_to_name(tap, (char)tap->code);
    else
        tap->name_len = NO_NAME;
}

static void step_in_name(struct feed *f)
{
    struct tap *tap = f->tap;
    while (f->at < f->end && tap->state == TAP_IN_NAME) {
        char c = *f->at++;
        if (tap->escape)
            add_escaped(tap, c);
        else if (c == '\\')
            tap->escape = true;
        else if (c == '"')
            choose(tap);
        else
            add_to_name(tap, c);
    }
}

/* ---- values ---- */

static void step_in_string(struct feed *f)
{
    f->at = f->kernel->skip_string(f->at, f->end, &f->tap->escape);
    if (f->at == f->end)
        return;
    f->at++;
    f->tap->in_string = false;
    end_value(f);
}

static void step_nested(struct feed *f)
{
    struct tap *tap = f->tap;
    struct scan_nest nest = {tap->depth, tap->in_string, tap->escape};
    f->at = f->kernel->skip_nested(f->at, f->end, &nest);
    tap->depth = nest.depth;
    tap->in_string = nest.in_string;
    tap->escape = nest.escape;
    if (f->at == f->end)
        return;
    f->at++;
    if (nest.depth == 1)
        end_value(f);
    else
        give_up(f);
}

static inline bool is_space(char c)
{
    return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

/* A number or a word on the top level; <at> is on any byte of it, or behind. */
static void step_scalar(struct feed *f)
{
    char c = *f->at;
    if (c == ',' || c == '}' || is_space(c))
        end_value(f);
    else if (c == '"' || c == '{' || c == '[' || c == ']')
        give_up(f);
    else
        f->at++;
}

static void step_inside(struct feed *f)
{
    if (f->tap->depth > 1)
        step_nested(f);
    else if (f->tap->in_string)
        step_in_string(f);
    else
        step_scalar(f);
}

static void begin_value(struct feed *f)
{
    f->tap->state = TAP_INSIDE;
    f->from = f->at;
    f->tap->in_string = *f->at == '"';
    if (f->tap->in_string) {
        f->at++;
    } else if (*f->at == '{' || *f->at == '[') {
        f->at++;
        f->tap->depth++;
    }
}

/* ---- the top level ---- */

/* Take the one mark that may stand here, white space aside. */
static void step_mark(struct feed *f, char mark, enum tap_state next)
{
    char c = *f->at++;
    if (c == mark)
        f->tap->state = (unsigned char)next;
    else if (!is_space(c))
        give_up(f);
}

static void step(struct feed *f)
{
    struct tap *tap = f->tap;
    switch ((enum tap_state)tap->state) {
    case TAP_START:
        tap->depth = 1;
        step_mark(f, '{', TAP_NAME);
        break;
    case TAP_NAME:
        tap->name_len = 0;
        step_mark(f, '"', TAP_IN_NAME);
        break;
    case TAP_IN_NAME:
        step_in_name(f);
        break;
    case TAP_COLON:
        step_mark(f, ':', TAP_VALUE);
        break;
    case TAP_VALUE:
        if (is_space(*f->at))
            f->at++;
        else
            begin_value(f);
        break;
    case TAP_INSIDE:
        step_inside(f);
        break;
    case TAP_BEHIND:
        step_mark(f, ',', TAP_NAME); /* or '}', or what is wrong: the end */
        break;
    case TAP_OVER: /* nobody steps there */
        break;
    }
}

size_t tap_feed(struct tap *tap, struct text piece)
{
    if (piece.len == 0)
        return 0;
    struct feed f = {tap, scan_kernel_best(), piece.at, piece.at + piece.len, piece.at};
    while (f.at < f.end && tap->state != TAP_OVER)
        step(&f);
    if (tap->state == TAP_INSIDE)
        keep(&f, f.end);
    return (size_t)(f.at - piece.at);
}

bool tap_next_item(struct tap *tap, struct text *piece)
{
    if (tap->state == TAP_OVER)
        tap_again(tap);
    if (tap->state == TAP_START) { /* brackets, commas and blanks stand between them */
        size_t begin = text_find_byte(*piece, '{');
        *piece = text_from(*piece, begin == SIZE_MAX ? piece->len : begin);
    }
    *piece = text_from(*piece, tap_feed(tap, *piece));
    return tap->state == TAP_OVER;
}

static enum scan_kind kind_of(char first)
{
    switch (first) {
    case '{':
        return SCAN_OBJECT;
    case '[':
        return SCAN_ARRAY;
    case '"':
        return SCAN_STRING;
    case 't':
        return SCAN_TRUE;
    case 'f':
        return SCAN_FALSE;
    case 'n':
        return SCAN_NULL;
    default:
        return SCAN_NUMBER;
    }
}

struct scan_value tap_value(const struct tap *tap, size_t i)
{
    struct scan_value none = {SCAN_ABSENT, {NULL, 0}, false};
    struct text raw = {tap->values[i], tap->kept[i]};
    /* What ends in a quote or bracket of its own need not be JSON within. */
    if (raw.len == 0 || tap->too_long[i] || tap->capturing == (int)i || !scan_is_valid(raw))
        return none;
    bool escaped = raw.at[0] == '"' && text_find_byte(raw, '\\') != SIZE_MAX;
    return (struct scan_value){kind_of(raw.at[0]), raw, escaped};
}
