/* SPDX-License-Identifier: Apache-2.0 */

/* Every form is fed whole, in two pieces cut at every byte, and byte by byte: same outcome. */

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "gateway/http/multipart.h"

/* cmocka wants the headers above. */
#include <cmocka.h>

#define BYTES(literal) (literal), sizeof(literal) - 1
#define TYPE           "multipart/form-data; boundary=b"
#define NAMED(name)    "--b\r\nContent-Disposition: form-data; name=\"" name "\"\r\n\r\n"
#define FILE_PART                                                                  \
    "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.wav\"\r\n" \
    "Content-Type: audio/wav\r\n\r\nRIFF\r\n--\r\n-b\0\r\r\n"
#define END            "--b--\r\n"
#define MODEL(head)    "--b\r\n" head "\r\n\r\nw\r\n" END
#define DISPOSITION(d) MODEL("Content-Disposition: " d)

static const struct text wants[] = {{"model", 5}, {"stream", 6}};

static const char refused[] = "(refused)";
#define REFUSED refused

struct test_case {
    const char *at;
    size_t len;
    const char *model, *stream; /* NULL = absent; model REFUSED = the form is */
    bool ended;
};

/* clang-format off */
static const struct test_case forms[] = {
    {BYTES(NAMED("model") "whisper-1\r\n" END), "whisper-1", NULL, true},
    {BYTES(NAMED("model") "w\r\n--b--"), "w", NULL, true},
    {BYTES(NAMED("model") "w\r\n" END "\r\n"), "w", NULL, true},
    {BYTES(FILE_PART NAMED("model") "w\r\n" END), "w", NULL, true},
    {BYTES(NAMED("model") "w\r\n" FILE_PART NAMED("stream") "true\r\n" END), "w", "true", true},
    {BYTES(NAMED("stream") "\r\n" NAMED("model") "w\r\n" END), "w", "", true},
    {BYTES(NAMED("x") "model\r\n" END), NULL, NULL, true},
    {BYTES(NAMED("Model") "w\r\n" END), NULL, NULL, true},
    {BYTES(NAMED("model") "a\r\nb\r\n" END), "a\r\nb", NULL, true},
    {BYTES(NAMED("model") "a\rb\nc\r\r\r\n" END), "a\rb\nc\r\r", NULL, true},
    {BYTES(NAMED("model") "-\r\n" END), "-", NULL, true},
    {BYTES(NAMED("model") "--\r\n" END), "--", NULL, true},
    {BYTES(NAMED("model") "--a\r\n-\r\n--\r\n--c\r\n" END), "--a\r\n-\r\n--\r\n--c", NULL, true},
    {BYTES(NAMED("model") "\r\r\n" END), "\r", NULL, true},
    {BYTES(END), NULL, NULL, true},
    {BYTES(DISPOSITION("form-data; name=model")), "w", NULL, true},
    {BYTES(DISPOSITION("FORM-DATA ; NAME = model")), REFUSED, NULL, false},
    {BYTES(DISPOSITION("form-data ;NAME=\"model\" ")), "w", NULL, true},
    {BYTES(MODEL("content-disposition:form-data;name=model")), "w", NULL, true},
    {BYTES(MODEL("X: y\r\nContent-Disposition: form-data; name=model\r\nContent-Type: text/plain")), "w", NULL, true},
    {BYTES(MODEL("Content-Transfer-Encoding: binary\r\nContent-Disposition: form-data; name=model")), "w", NULL, true},
    {BYTES(DISPOSITION("form-data; name=\"x\"; filename=\"a;name=\"")), NULL, NULL, true},
    {BYTES(DISPOSITION("form-data; filename=\"C:\\dir\\a\"; name=x")), NULL, NULL, true},
    {BYTES(DISPOSITION("form-data; name=x; filename*=UTF-8''%e2%82%ac")), NULL, NULL, true},
    /* cut short: nothing is wrong yet */
    {BYTES(NAMED("model") "w"), NULL, NULL, false},
    {BYTES(NAMED("model") "w\r\n--b"), "w", NULL, false},
    {BYTES("--"), NULL, NULL, false},
    {BYTES(""), NULL, NULL, false},
    /* refused */
    {BYTES("preamble\r\n" NAMED("model") "w\r\n" END), REFUSED, NULL, false},
    {BYTES("\r\n" NAMED("model") "w\r\n" END), REFUSED, NULL, false},
    {BYTES("--c\r\n"), REFUSED, NULL, false},
    {BYTES(NAMED("model") "w\r\n" END "epilogue"), REFUSED, NULL, true},
    {BYTES(NAMED("x") "y\r\n" END NAMED("model") "w\r\n" END), REFUSED, NULL, true},
    {BYTES(NAMED("x") "y\r\n--b \r\n"), REFUSED, NULL, false},
    {BYTES(NAMED("x") "y\r\n--bb\r\n"), REFUSED, NULL, false},
    {BYTES(NAMED("x") "y\r\n--b-\r\n"), REFUSED, NULL, false},
    {BYTES(NAMED("x") "y\r\n--b\n"), REFUSED, NULL, false},
    {BYTES(NAMED("x") "y\r\n--b\r\r\n"), REFUSED, NULL, false},
    {BYTES(NAMED("model") END), REFUSED, NULL, false},
    {BYTES("--b\r\n\r\nw\r\n" END), REFUSED, NULL, false},
    {BYTES(MODEL("Content-Type: text/plain")), REFUSED, NULL, false},
    {BYTES("--b\r\nContent-Disposition: form-data; name=model\r\nw\r\n" END), REFUSED, NULL, false},
    {BYTES("--b\r\nContent-Disposition: form-data; name=model\n\r\nw\r\n" END), REFUSED, NULL, false},
    {BYTES(MODEL("Content-Disposition: form-data;\r\n name=model")), REFUSED, NULL, false},
    {BYTES(MODEL("Content-Disposition : form-data; name=model")), REFUSED, NULL, false},
    {BYTES(MODEL(": x")), REFUSED, NULL, false},
    {BYTES(MODEL("X\0: y")), REFUSED, NULL, false},
    {BYTES(MODEL("Content-Disposition: form-data; name=x\r\nContent-Disposition: form-data; name=model")), REFUSED, NULL, false},
    {BYTES(MODEL("Content-Transfer-Encoding: base64\r\nContent-Disposition: form-data; name=model")), REFUSED, NULL, false},
    {BYTES(DISPOSITION("attachment; name=model")), REFUSED, NULL, false},
    {BYTES(DISPOSITION("form-data")), REFUSED, NULL, false},
    {BYTES(DISPOSITION("form-data; filename=x")), REFUSED, NULL, false},
    {BYTES(DISPOSITION("form-data; name=")), REFUSED, NULL, false},
    {BYTES(DISPOSITION("form-data; name")), REFUSED, NULL, false},
    {BYTES(DISPOSITION("form-data; =model")), REFUSED, NULL, false},
    {BYTES(DISPOSITION("form-data; name=\"model")), REFUSED, NULL, false},
    {BYTES(DISPOSITION("form-data; name=mo\"del\"")), REFUSED, NULL, false},
    {BYTES(DISPOSITION("form-data; name=\"model\"x")), REFUSED, NULL, false},
    {BYTES(DISPOSITION("form-data; name=x; name=model")), REFUSED, NULL, false},
    {BYTES(DISPOSITION("form-data; name=model; NAME=x")), REFUSED, NULL, false},
    {BYTES(DISPOSITION("form-data; name*=UTF-8''model")), REFUSED, NULL, false},
    {BYTES(DISPOSITION("form-data; name=x; filename=\"a\\\"; name=model; y=\"")), REFUSED, NULL, false},
    {BYTES(DISPOSITION("form-data; name=model; filename=x")), REFUSED, NULL, false},
    {BYTES(DISPOSITION("form-data; name=model; filename*=UTF-8''x")), REFUSED, NULL, false},
};
/* clang-format on */

static bool feed(struct multipart *multipart, struct text in, size_t first, size_t step)
{
    size_t at = 0, piece = first;
    assert_true(multipart_init(multipart, TEXT(TYPE), wants, 2));
    do {
        struct fault why;
        if (piece > in.len - at)
            piece = in.len - at;
        char *copy = malloc(piece ? piece : 1);
        memcpy(copy, in.at + at, piece);
        bool fine = multipart_feed(multipart, (struct text){copy, piece}, &why);
        free(copy);
        if (!fine) {
            assert_int_equal(why.kind, FAULT_BAD_REQUEST);
            return false;
        }
        at += piece;
        piece = step;
    } while (at < in.len);
    assert_int_equal(multipart->seen, in.len);
    return true;
}

static bool has_value(const struct multipart *multipart, size_t i, struct text in, const char *want)
{
    if (multipart->fields[i].found != (want != NULL))
        return false;
    if (!want || !*want)
        return true;
    struct text value = {multipart->fields[i].value, multipart->fields[i].len};
    size_t begin = (size_t)multipart->fields[i].begin, end = (size_t)multipart->fields[i].end;
    return text_equal(value, text_of(want)) && end - begin == value.len &&
           text_equal(text_head(text_from(in, begin), value.len), value);
}

static void check(const struct test_case *item, size_t first, size_t step)
{
    struct multipart multipart;
    struct text in = {item->at, item->len};
    bool is_bad = item->model == refused;
    bool fine = feed(&multipart, in, first, step);
    if (fine == is_bad || multipart.ended != item->ended ||
        (fine && (!has_value(&multipart, 0, in, item->model) ||
                  !has_value(&multipart, 1, in, item->stream))))
        fail_msg("%s, %zu then %zu", item->at, first, step);
}

static void forms_are_judged_at_every_cut(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
        for (size_t cut = 0; cut <= forms[i].len; cut++)
            check(&forms[i], cut, forms[i].len ? forms[i].len : 1);
        check(&forms[i], 0, 1);
    }
}

static void a_repeated_field_is_told(void **state)
{
    struct multipart multipart;
    (void)state;
    assert_true(feed(&multipart, TEXT(NAMED("model") "a\r\n" NAMED("model") "b\r\n" END), 7, 7));
    assert_true(multipart.fields[0].repeated);
    assert_int_equal(multipart.fields[0].value[0], 'a');
    assert_int_equal(multipart.fields[0].len, 1);
    assert_false(multipart.fields[1].repeated);
}

static void a_long_value_is_told(void **state)
{
    for (size_t len = MULTIPART_VALUE_BYTES - 1; len < MULTIPART_VALUE_BYTES + 2; len++) {
        struct multipart multipart;
        char z[1024];
        int size = snprintf(z, sizeof(z), "%s%0*d\r\n%s", NAMED("model"), (int)len, 7, END);
        assert_true(feed(&multipart, (struct text){z, (size_t)size}, 50, 10));
        assert_int_equal(multipart.fields[0].too_long, len > MULTIPART_VALUE_BYTES);
        assert_int_equal(multipart.fields[0].end - multipart.fields[0].begin, len);
        assert_true(multipart.ended);
    }
    (void)state;
}

static void a_long_header_is_refused(void **state)
{
    struct multipart multipart;
    char z[2048];
    (void)state;
    int size = snprintf(z, sizeof(z), "--b\r\nX: %01200d\r\n", 7);
    assert_false(feed(&multipart, (struct text){z, (size_t)size}, 100, 100));
}

static void boundaries_are_read_from_the_type(void **state)
{
    static const struct {
        const char *type, *want; /* NULL = refused */
    } rows[] = {
        {"multipart/form-data; boundary=x", "x"},
        {"Multipart/Form-Data;boundary=x", "x"},
        {"multipart/form-data; Boundary=\"x\"", "x"},
        {"multipart/form-data; charset=utf-8; boundary=----WebKitFormBoundaryAbc1",
         "----WebKitFormBoundaryAbc1"},
        {"multipart/form-data; boundary=x; charset=utf-8", "x"},
        {"multipart/form-data; boundary=\"a:b=c?d/e(f),g+h'i_j.k\"", "a:b=c?d/e(f),g+h'i_j.k"},
        {"multipart/form-data; boundary=----=_Part_1", "----=_Part_1"},
        {"multipart/form-data; "
         "boundary=0123456789012345678901234567890123456789012345678901234567890123456789",
         "0123456789012345678901234567890123456789012345678901234567890123456789"},
        {"multipart/form-data; "
         "boundary=01234567890123456789012345678901234567890123456789012345678901234567890",
         NULL},
        {"multipart/form-data", NULL},
        {"multipart/form-data;", NULL},
        {"multipart/form-data; boundary", NULL},
        {"multipart/form-data; boundary=", NULL},
        {"multipart/form-data; boundary=\"\"", NULL},
        {"multipart/form-data; boundary=\"x", NULL},
        {"multipart/form-data; boundary=\"x\"y", NULL},
        {"multipart/form-data; boundary=\"x y\"", NULL},
        {"multipart/form-data; boundary=\"x\\\"", NULL},
        {"multipart/form-data; boundary=x y", NULL},
        {"multipart/form-data; boundary=x; boundary=y", NULL},
        {"multipart/form-data; boundary=x; boundary=x", NULL},
        {"multipart/form-data; boundary=x, multipart/form-data", NULL},
        {"multipart/form-data; boundary=\xc3\xa9", NULL},
        {"multipart/mixed; boundary=x", NULL},
        {"application/json", NULL},
        {"multipart/form-datax; boundary=x", NULL},
        {"", NULL},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct multipart multipart;
        bool fine = multipart_init(&multipart, text_of(rows[i].type), wants, 2);
        if (fine != (rows[i].want != NULL) ||
            (fine && !text_equal((struct text){multipart.boundary + 4, multipart.boundary_len - 4},
                                 text_of(rows[i].want))))
            fail_msg("%s", rows[i].type);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(forms_are_judged_at_every_cut),
        cmocka_unit_test(a_repeated_field_is_told),
        cmocka_unit_test(a_long_value_is_told),
        cmocka_unit_test(a_long_header_is_refused),
        cmocka_unit_test(boundaries_are_read_from_the_type),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
