/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/base/scan.h"

#include "gateway/base/scan_kernel.h"
#include "gateway/base/short_string.h"
#include "gateway/base/utf8.h"

enum {
    WANT_LEVELS = 2,      /* members of the top level and of the objects in it */
    KEY_RAW_MAX = 6 * 64, /* a key longer than this, escapes and all, is none that we want */
    BEGINNINGS = 64,
};

struct scanner {
    const char *begin, *end;
    const struct scan_kernel *kernel;
    const struct text *wants;
    size_t count;
    struct scan_value *values;
    struct scan_problem *problem;
    struct scan_outline *outline; /* or NULL */
    bool minds_case;              /* names that are wanted but for their case are refused */
    unsigned depth;               /* containers that are open */
    uint64_t objects[SCAN_DEPTH_MAX / 64]; /* one bit per open container: is it an object? */
    /* The wants whose names begin in one of the ways, counted from 1: chains that end in 0. */
    unsigned char first[BEGINNINGS], next[SCAN_WANTS_MAX + 1];
    uint32_t seen;   /* wants whose parent was seen */
    uint32_t within; /* wants whose parent is the member of the top level we are in */
    size_t parent_len;
    /* Where the value goes that is being read on each level, or NULL. */
    struct scan_value *into[WANT_LEVELS + 1];
};

/* ---- problems; all return NULL so that a reader can end in them ---- */

__attribute__((cold)) static const char *complain(struct scanner *s, const char *at,
                                                  const char *what)
{
    bool is_end = at >= s->end;
    *s->problem = (struct scan_problem){(size_t)(at - s->begin),
                                        is_end ? "the document ends too early" : what, NULL, false};
    return NULL;
}

/* Say what is wrong with the string whose inside begins at <at>. */
__attribute__((cold)) static const char *complain_string(struct scanner *s, const char *at)
{
    size_t len = 1;
    for (; at < s->end; at += len) {
        if (*at == '"')
            break;
        if ((unsigned char)*at < 0x20)
            return complain(s, at, "a control character stands in a string");
        len = *at == '\\' ? scan_escape_length(at, s->end) : utf8_length(at, (size_t)(s->end - at));
        if (len == 0)
            return complain(s, at,
                            *at == '\\' ? "an escape in a string is not valid"
                                        : "a string is not UTF-8");
    }
    complain(s, at, "");
    s->problem->what = "a string is not closed";
    return NULL;
}

/* match_key() says where. */
static bool complain_twice(struct scanner *s, size_t want)
{
    *s->problem =
        (struct scan_problem){0, "a name stands twice in one object", s->wants[want].at, false};
    return false;
}

/* ---- names ---- */

/* One of 64 ways in which a name begins: that of a member of the top level, in any case. */
static inline unsigned beginning_of(struct text name)
{
    unsigned first = name.len > 0 ? (unsigned char)name.at[0] | 0x20U : 0;
    unsigned second = name.len > 1 && name.at[1] != '.' ? (unsigned char)name.at[1] | 0x20U : 0;
    return (first + 5 * second) % BEGINNINGS;
}

/* Does the wanted name begin with the whole key? Neither is empty. Hardly ever, which a single
 * branch learns best. */
static inline bool begins_with(struct text want, struct text key)
{
    bool may_be = (want.len >= key.len) & (want.at[0] == key.at[0]);
    return may_be && text_same(want.at, key.at, key.len);
}

static bool complain_case(struct scanner *s, size_t want)
{
    *s->problem =
        (struct scan_problem){0, "a name is written in another case", s->wants[want].at, true};
    return false;
}

/* Is the key, which is not the wanted name's beginning, that in another case? */
static bool is_other_case(const struct scanner *s, struct text want, struct text key)
{
    return s->minds_case && key.len >= want.len && text_is_name(key, want);
}

/* A key that begins with what is no ASCII may be one that is wanted, to who reads the long s and
 * the Kelvin sign as s and k; and is in no chain. */
static bool match_wide(struct scanner *s, struct text key)
{
    bool wide =
        (unsigned char)key.at[0] >= 0x80 || (key.len > 1 && (unsigned char)key.at[1] >= 0x80);
    for (size_t i = 0; wide && i < s->count; i++)
        if (is_other_case(s, s->wants[i], key))
            return complain_case(s, i);
    return true;
}

/* A member of the top level begins: is it wanted, or are members of it? */
static bool match_top(struct scanner *s, struct text key)
{
    s->within = 0;
    if (key.len == 0 || s->count == 0)
        return true;
    for (size_t at = s->first[beginning_of(key)]; at > 0; at = s->next[at]) {
        size_t i = at - 1;
        struct text want = s->wants[i];
        if (!begins_with(want, key)) {
            if (is_other_case(s, want, key))
                return complain_case(s, i);
            continue;
        }
        bool is_whole = want.len == key.len;
        if ((!is_whole && want.at[key.len] != '.') || text_find_byte(key, '.') != SIZE_MAX)
            continue;
        if (is_whole ? s->values[i].kind != SCAN_ABSENT : s->seen >> i & 1)
            return complain_twice(s, i);
        if (is_whole)
            s->into[1] = &s->values[i];
        else
            s->within |= (uint32_t)1 << i;
    }
    s->seen |= s->within;
    s->parent_len = key.len;
    return match_wide(s, key);
}

/* A member of an object in the top level begins. */
static bool match_below(struct scanner *s, struct text key)
{
    for (uint32_t left = s->within; left; left &= left - 1) {
        size_t i = (size_t)__builtin_ctz(left);
        struct text want = text_from(s->wants[i], s->parent_len + 1);
        if (!text_same_name(want, key)) {
            if (is_other_case(s, want, key))
                return complain_case(s, i);
            continue;
        }
        if (s->values[i].kind != SCAN_ABSENT)
            return complain_twice(s, i);
        s->into[2] = &s->values[i];
    }
    return true;
}

/* A key on a level where names are wanted; problems are at <at>. */
static bool match_key(struct scanner *s, const char *at, struct text key)
{
    s->into[s->depth] = NULL;
    bool fine = s->depth == 1 ? match_top(s, key) : match_below(s, key);
    if (!fine)
        s->problem->at = (size_t)(at - s->begin);
    return fine;
}

/* The same for a key with escapes; <raw> with its quotes. */
static bool match_escaped_key(struct scanner *s, struct text raw)
{
    char plain[KEY_RAW_MAX];
    struct scan_value value = {SCAN_STRING, raw, true};
    size_t len = raw.len <= KEY_RAW_MAX ? scan_string(&value, plain) : SIZE_MAX;
    return match_key(s, raw.at, (struct text){plain, len == SIZE_MAX ? 0 : len});
}

/* ---- tokens: from <at>, return the place behind, or NULL with a problem ---- */

static inline char peek(const struct scanner *s, const char *at)
{
    return at < s->end ? *at : '\0';
}

static inline const char *skip_space(const struct scanner *s, const char *at)
{
    while (at < s->end && (unsigned char)*at <= ' ' &&
           (*at == ' ' || *at == '\n' || *at == '\r' || *at == '\t'))
        at++;
    return at;
}

static void note_long(struct scanner *s, const char *at, const char *close)
{
    struct scan_outline *outline = s->outline;
    if (outline->count < outline->room && close - s->begin <= (ptrdiff_t)UINT32_MAX)
        outline->longs[outline->count++] =
            (struct scan_long){(uint32_t)(at - s->begin), (uint32_t)(close - at)};
}

/* <at> points to the opening quote. */
static inline const char *read_string(struct scanner *s, const char *at, bool *has_escape)
{
    const char *simple = short_string_end(at + 1, s->end);
    if (simple)
        return simple + 1;
    const char *close = s->kernel->close_string(at + 1, s->end, has_escape);
    if (!close)
        return complain_string(s, at + 1);
    if (close - at >= SCAN_LONG_BYTES && s->outline)
        note_long(s, at, close);
    return close + 1;
}

static inline bool is_digit(char c)
{
    return (unsigned char)(c - '0') < 10;
}

/* One digit or more. */
static inline const char *read_digits(struct scanner *s, const char *at)
{
    if (!is_digit(peek(s, at)))
        return complain(s, at, "a number is not valid");
    do
        at++;
    while (at < s->end && is_digit(*at));
    return at;
}

static const char *read_number(struct scanner *s, const char *at)
{
    if (*at == '-')
        at++;
    at = peek(s, at) == '0' ? at + 1 : read_digits(s, at);
    if (at && peek(s, at) == '.')
        at = read_digits(s, at + 1);
    if (!at || (peek(s, at) | 0x20) != 'e')
        return at;
    at++;
    if (peek(s, at) == '+' || peek(s, at) == '-')
        at++;
    return read_digits(s, at);
}

static const char *read_literal(struct scanner *s, const char *at, struct text word)
{
    struct text rest = {at, (size_t)(s->end - at)};
    return text_starts(rest, word) ? at + word.len : complain(s, at, "a value is expected");
}

static const char *read_scalar(struct scanner *s, const char *at, enum scan_kind *kind,
                               bool *has_escape)
{
    switch (peek(s, at)) {
    case '"':
        *kind = SCAN_STRING;
        return read_string(s, at, has_escape);
    case 't':
        *kind = SCAN_TRUE;
        return read_literal(s, at, TEXT("true"));
    case 'f':
        *kind = SCAN_FALSE;
        return read_literal(s, at, TEXT("false"));
    case 'n':
        *kind = SCAN_NULL;
        return read_literal(s, at, TEXT("null"));
    default:
        *kind = SCAN_NUMBER;
        if (!is_digit(peek(s, at)) && peek(s, at) != '-')
            return complain(s, at, "a value is expected");
        return read_number(s, at);
    }
}

/* ---- structure: not recursive, the depth is the caller's to choose ---- */

static inline bool in_object(const struct scanner *s)
{
    unsigned level = s->depth - 1;
    return s->objects[level / 64] >> (level % 64) & 1;
}

static inline struct scan_value *wanted_here(const struct scanner *s)
{
    return s->depth <= WANT_LEVELS ? s->into[s->depth] : NULL;
}

static inline bool is_anywhere(const struct scanner *s, struct text key)
{
    struct text name = s->outline->anywhere;
    return key.len >= name.len && key.at[0] == name.at[0] && memcmp(key.at, name.at, name.len) == 0;
}

/* From the key of a member to its value. */
static inline const char *read_key(struct scanner *s, const char *at)
{
    if (peek(s, at) != '"')
        return complain(s, at, "a name in quotes is expected");
    bool has_escape = false;
    const char *key = at;
    at = read_string(s, at, &has_escape);
    if (!at)
        return NULL;
    bool is_looked_at = s->depth == 1 || (s->depth == 2 && s->within);
    struct text raw = {key, (size_t)(at - key)}, inside = {key + 1, raw.len - 2};
    if (s->outline && (has_escape || is_anywhere(s, inside)))
        s->outline->has_name = true;
    if (is_looked_at && !(has_escape ? match_escaped_key(s, raw) : match_key(s, key, inside)))
        return NULL;
    at = skip_space(s, at);
    if (peek(s, at) != ':')
        return complain(s, at, "':' is expected behind a name");
    return skip_space(s, at + 1);
}

/* To the next value: of the next member or item. */
static inline const char *read_next(struct scanner *s, const char *at)
{
    at = skip_space(s, at);
    return in_object(s) ? read_key(s, at) : at;
}

/* Behind a value: close what ends here, and go to the next value - or, with nothing open any
 * more, to what stands behind the document. */
static const char *leave_value(struct scanner *s, const char *at)
{
    while (s->depth > 0) {
        at = skip_space(s, at);
        char c = peek(s, at);
        if (c == ',')
            return read_next(s, at + 1);
        if (c != (in_object(s) ? '}' : ']'))
            return complain(s, at,
                            in_object(s) ? "',' or '}' is expected behind a member"
                                         : "',' or ']' is expected behind an item");
        at++;
        s->depth--;
        struct scan_value *value = wanted_here(s);
        if (value)
            value->raw.len = (size_t)(at - value->raw.at);
    }
    return skip_space(s, at);
}

/* <at> points to a '{' or '[': go to the first value in it. */
static const char *enter_container(struct scanner *s, const char *at)
{
    bool is_object = *at == '{';
    struct scan_value *value = wanted_here(s);
    if (value)
        *value = (struct scan_value){is_object ? SCAN_OBJECT : SCAN_ARRAY, {at, 0}, false};
    if (s->depth == SCAN_DEPTH_MAX)
        return complain(s, at, "values are nested too deeply");
    uint64_t bit = (uint64_t)1 << (s->depth % 64);
    uint64_t *word = &s->objects[s->depth / 64];
    *word = is_object ? *word | bit : *word & ~bit;
    s->depth++;
    if (s->depth <= WANT_LEVELS)
        s->into[s->depth] = NULL;
    at = skip_space(s, at + 1);
    if (peek(s, at) == (is_object ? '}' : ']'))
        return leave_value(s, at);
    return is_object ? read_key(s, at) : at;
}

static bool scan(struct scanner *s, const char *at)
{
    do {
        char c = peek(s, at);
        if (c == '{' || c == '[') {
            at = enter_container(s, at);
            continue;
        }
        enum scan_kind kind;
        bool has_escape = false;
        struct scan_value *wanted = wanted_here(s);
        const char *behind = read_scalar(s, at, &kind, &has_escape);
        if (behind && wanted) {
            /* Field by field: a copy of a struct just written would have to wait for its parts. */
            wanted->kind = kind;
            wanted->raw = (struct text){at, (size_t)(behind - at)};
            wanted->escaped = has_escape;
        }
        at = behind ? leave_value(s, behind) : NULL;
    } while (at && s->depth > 0);
    if (at && at < s->end)
        at = complain(s, at, "something stands behind the end of the document");
    return at != NULL;
}

static struct scanner begin_scan(struct text json, struct scan_problem *problem)
{
    struct scanner s = {.begin = json.at, .end = json.at + json.len, .problem = problem};
    if (json.len == 0)
        s.begin = s.end = "";
    s.kernel = scan_kernel_best();
    return s;
}

static bool scan_wanted(struct scanner *s, const struct text *wants, size_t count,
                        struct scan_value *values)
{
    s->wants = wants;
    s->count = count;
    s->values = values;
    for (size_t i = count; i > 0; i--) { /* so that a chain has them in their order */
        unsigned char *first = &s->first[beginning_of(wants[i - 1])];
        values[i - 1] = (struct scan_value){SCAN_ABSENT, {NULL, 0}, false};
        s->next[i] = *first;
        *first = (unsigned char)i;
    }
    const char *at = skip_space(s, s->begin);
    if (peek(s, at) != '{')
        return complain(s, at, "a JSON object is expected");
    return scan(s, at);
}

bool scan_json(struct text json, const struct text *wants, size_t count, struct scan_value *values,
               struct scan_problem *problem)
{
    struct scanner s = begin_scan(json, problem);
    return scan_wanted(&s, wants, count, values);
}

bool scan_request(struct text json, const struct text *wants, size_t count,
                  struct scan_value *values, struct scan_problem *problem,
                  struct scan_outline *outline)
{
    struct scanner s = begin_scan(json, problem);
    s.minds_case = true;
    s.outline = outline;
    if (outline) {
        outline->document = json;
        outline->has_name = false;
        outline->count = 0;
    }
    return scan_wanted(&s, wants, count, values);
}

bool scan_check(struct text json, struct scan_problem *problem)
{
    struct scanner s = begin_scan(json, problem);
    return scan(&s, skip_space(&s, s.begin));
}

bool scan_is_valid(struct text json)
{
    struct scan_problem problem;
    return scan_check(json, &problem);
}
