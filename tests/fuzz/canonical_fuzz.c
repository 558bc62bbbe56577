/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The same JSON written in another way must have the same canonical form, and JSON that says
 * something else must have another one.
 *
 * From each document the target makes others, with a walker and a printer of its own: members
 * backwards, characters escaped, numbers respelt, white space added; and then the same with one
 * leaf changed. What jansson takes must have a form. The first byte chooses the way of writing, the
 * second the leaf.
 */

#include <assert.h>
#include <limits.h>
#include <stdlib.h>

#include "gateway/base/json.h"
#include "gateway/base/member.h"
#include "gateway/base/scan.h"
#include "gateway/base/utf8.h"
#include "policy/canonical.h"

enum { DOCUMENT_MAX = 1 << 14, ITEMS_MAX = 4096, OUT_MAX = 64 * DOCUMENT_MAX };

struct printer {
    struct buffer *out;
    unsigned way;  /* bits: backwards, escapes, numbers, white space */
    unsigned leaf; /* the one to change, counted in the order of the document */
    unsigned leaves;
    bool changed;
};

enum { WAY_BACKWARDS = 1, WAY_ESCAPES = 2, WAY_NUMBERS = 4, WAY_SPACE = 8 };

static void put(struct printer *p, struct text text)
{
    assert(buffer_append_text(p->out, text));
}

static void put_space(struct printer *p)
{
    if (p->way & WAY_SPACE)
        put(p, TEXT(" \n\t\r"));
}

/* A character that is not written as an escape becomes one, or two. */
static void put_escaped(struct printer *p, const char *at, size_t len)
{
    const unsigned char *u = (const unsigned char *)at;
    static const unsigned char masks[] = {0, 0x7F, 0x1F, 0x0F, 0x07};
    unsigned code = u[0] & masks[len];
    for (size_t i = 1; i < len; i++)
        code = code << 6 | (u[i] & 0x3FU);
    if (code >= 0x10000)
        assert(buffer_format(p->out, "\\u%04X\\u%04x", 0xD800 + ((code - 0x10000) >> 10),
                             0xDC00 + ((code - 0x10000) & 0x3FF)));
    else
        assert(buffer_format(p->out, "\\u%04x", code));
}

/* The inside of a string. Escapes stay as they are. */
static void put_inside(struct printer *p, struct text inside)
{
    for (size_t i = 0, len; i < inside.len; i += len) {
        const char *at = inside.at + i;
        if (*at == '\\')
            len = at[1] == 'u' ? 6 : 2;
        else
            len = utf8_length(at, inside.len - i);
        if (*at == '\\' || !(p->way & WAY_ESCAPES))
            put(p, (struct text){at, len});
        else
            put_escaped(p, at, len);
    }
}

static void put_string(struct printer *p, struct text inside, bool change)
{
    put(p, TEXT("\""));
    put_inside(p, inside);
    if (change)
        put(p, TEXT("x"));
    put(p, TEXT("\""));
}

/* In front of the number's digits "1" makes another number of it. */
static void put_number(struct printer *p, struct text raw, bool change)
{
    bool negative = raw.at[0] == '-';
    put(p, text_head(raw, negative));
    raw = text_from(raw, negative);
    if (change)
        put(p, TEXT("1"));
    if (!(p->way & WAY_NUMBERS)) {
        put(p, raw);
        return;
    }
    size_t exponent = text_find_byte(raw, 'e');
    if (exponent == SIZE_MAX)
        exponent = text_find_byte(raw, 'E');
    struct text digits = text_head(raw, exponent);
    put(p, digits);
    put(p, text_find_byte(digits, '.') == SIZE_MAX ? TEXT(".00") : TEXT("0"));
    if (exponent == SIZE_MAX)
        put(p, TEXT("E-00"));
    else
        put(p, text_from(raw, exponent));
}

static void put_leaf(struct printer *p, struct text raw)
{
    bool change = p->leaf == p->leaves++;
    p->changed |= change;
    if (raw.at[0] == '"')
        put_string(p, (struct text){raw.at + 1, raw.len - 2}, change);
    else if (raw.at[0] == '-' || (raw.at[0] >= '0' && raw.at[0] <= '9'))
        put_number(p, raw, change);
    else if (change)
        put(p, raw.at[0] == 't' ? TEXT("false") : raw.at[0] == 'f' ? TEXT("null") : TEXT("true"));
    else
        put(p, raw);
}

struct item {
    struct text name, value;
};

static void put_value(struct printer *p, struct text raw);

static void put_item(struct printer *p, const struct item *item, bool is_object)
{
    put_space(p);
    if (is_object) {
        put_string(p, item->name, false);
        put_space(p);
        put(p, TEXT(":"));
        put_space(p);
    }
    put_value(p, item->value);
    put_space(p);
}

/* The members of an object backwards: their leaves are counted in this order, which is as good. */
static void put_container(struct printer *p, struct text raw)
{
    bool is_object = raw.at[0] == '{';
    struct item *items = malloc(ITEMS_MAX * sizeof(*items));
    size_t count = 0;
    struct text rest = raw;
    while (count < ITEMS_MAX && member_next(&rest, &items[count].name, &items[count].value))
        count++;
    put(p, is_object ? TEXT("{") : TEXT("["));
    for (size_t i = 0; i < count; i++) {
        if (i > 0)
            put(p, TEXT(","));
        put_item(p, &items[is_object && (p->way & WAY_BACKWARDS) ? count - 1 - i : i], is_object);
    }
    if (count == 0 && p->leaf == p->leaves++) {
        p->changed = true;
        put(p, is_object ? TEXT("\"x\":0") : TEXT("0"));
    }
    put(p, is_object ? TEXT("}") : TEXT("]"));
    free(items);
}

static void put_value(struct printer *p, struct text raw)
{
    if (raw.at[0] == '{' || raw.at[0] == '[')
        put_container(p, raw);
    else
        put_leaf(p, raw);
}

/* Write <document> in the given way, with one leaf changed; false when there is no such leaf. */
static bool write_again(struct text document, unsigned way, unsigned leaf, struct buffer *out)
{
    struct printer printer = {.out = out, .way = way, .leaf = leaf};
    buffer_init(out, OUT_MAX);
    put_space(&printer);
    put_value(&printer, document);
    put_space(&printer);
    return printer.changed;
}

static bool form_of(struct text json, struct buffer *out)
{
    buffer_init(out, 4 * json.len + 64);
    return canonical_write(json, NULL, 0, out);
}

static void compare(struct text document, const struct buffer *form, unsigned way, unsigned leaf)
{
    struct buffer again, other_form;
    bool changed = write_again(document, way, leaf, &again);
    bool has_form = form_of(buffer_text(&again), &other_form);
    /* A changed number may have grown out of bounds, or white space made it too long. */
    assert(has_form || changed || buffer_length(&again) > CANONICAL_BODY_MAX);
    if (has_form)
        assert(text_equal(buffer_text(form), buffer_text(&other_form)) != changed);
    buffer_done(&again);
    buffer_done(&other_form);
}

/* The one bound that so short a document can meet. */
static bool has_long_exponent(struct text document)
{
    for (size_t i = 0; i + 1 < document.len; i++) {
        size_t digits = 0, at = i + 1;
        if ((document.at[i] | 0x20) != 'e')
            continue;
        at += document.at[at] == '-' || document.at[at] == '+';
        while (at + digits < document.len && (unsigned char)(document.at[at + digits] - '0') < 10)
            digits++;
        if (digits > CANONICAL_EXPONENT_DIGITS)
            return true;
    }
    return false;
}

static void check(struct text document, unsigned way, unsigned leaf)
{
    struct buffer form;
    struct json_problem problem;
    struct json *tree = json_read(document, &problem);
    bool has_form = form_of(document, &form);
    if (tree && json_kind(tree) == SCAN_OBJECT && !has_long_exponent(document))
        assert(has_form || json_count(tree) > CANONICAL_OBJECT_MEMBERS);
    if (has_form) {
        compare(text_trim(document), &form, way, UINT_MAX);
        compare(text_trim(document), &form, way, leaf);
    }
    json_free(tree);
    buffer_done(&form);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2 || size > DOCUMENT_MAX)
        return 0;
    /* Of exactly its size, so that reading behind its end is seen. */
    char *own = malloc(size - 2 + 1);
    memcpy(own, data + 2, size - 2);
    char *exact = realloc(own, size - 2 ? size - 2 : 1);
    check((struct text){exact, size - 2}, data[0], data[1]);
    free(exact);
    return 0;
}
