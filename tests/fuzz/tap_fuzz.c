/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The tap must come to the same however its document is cut; of a valid document it must keep what
 * scan_json() finds. The first byte of the input chooses the cuts.
 */

#include <assert.h>
#include <stdlib.h>

#include "gateway/base/scan.h"
#include "gateway/base/scan_kernel.h"

static const struct text wants[] = {TEXT("usage"), TEXT("error"), TEXT("id"), TEXT("n"), TEXT("")};
enum { WANTS = sizeof(wants) / sizeof(*wants) };

/* Feed pieces of exactly their size, so that reading behind their end is seen. */
static void feed(struct tap *tap, struct text document, size_t piece)
{
    tap_init(tap, wants, WANTS);
    for (struct text rest = document; rest.len > 0; rest = text_from(rest, piece)) {
        struct text head = text_head(rest, piece);
        char *own = malloc(head.len);
        memcpy(own, head.at, head.len);
        tap_feed(tap, (struct text){own, head.len});
        free(own);
    }
}

static void assert_same(struct scan_value a, struct scan_value b)
{
    assert(a.kind == b.kind && a.escaped == b.escaped && text_equal(a.raw, b.raw));
}

static void compare_with_scan(const struct tap *tap, struct text document)
{
    struct scan_value values[WANTS];
    struct scan_problem problem;
    /* The empty name is wanted of the tap only. */
    if (!scan_json(document, wants, WANTS - 1, values, &problem))
        return;
    for (size_t i = 0; i < WANTS - 1; i++) {
        if (values[i].raw.len > TAP_VALUE_BYTES)
            values[i] = (struct scan_value){SCAN_ABSENT, {NULL, 0}, false};
        assert_same(tap_value(tap, i), values[i]);
    }
}

/* All instruction sets, from any byte on. */
static void check_kernels(struct text document)
{
    const struct scan_kernel *const *all = scan_kernel_all();
    const char *end = document.at + document.len;
    for (size_t from = 0; from < document.len && from < 80; from++) {
        const char *at = document.at + from;
        bool escape = from % 2;
        struct scan_nest nest = {2 + (unsigned)from % 3, from % 5 == 0, escape};
        struct scan_nest first = nest;
        const char *quote = all[0]->skip_string(at, end, &escape);
        const char *bracket = all[0]->skip_nested(at, end, &first);
        for (size_t i = 1; all[i]; i++) {
            bool escape_here = from % 2;
            struct scan_nest here = nest;
            assert(all[i]->skip_string(at, end, &escape_here) == quote && escape_here == escape);
            assert(all[i]->skip_nested(at, end, &here) == bracket);
            assert(here.depth == first.depth && here.in_string == first.in_string &&
                   here.escape == first.escape);
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    struct text document = {(const char *)data + 1, size - 1};
    struct tap whole, cut;
    feed(&whole, document, document.len + 1);
    feed(&cut, document, data[0] % 97 + 1U);
    for (size_t i = 0; i < WANTS; i++)
        assert_same(tap_value(&whole, i), tap_value(&cut, i));
    compare_with_scan(&whole, document);
    check_kernels(document);
    tap_done(&whole);
    tap_done(&cut);
    return 0;
}
