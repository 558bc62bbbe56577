/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "gateway/base/memory.h"
#include "policy/cache.h"
#include "policy/semantic_inside.h"

/* cmocka wants the headers above. */
#include <cmocka.h>

enum { SECOND = 1000 * 1000, MILLION = 1000000 };

/* ------------------------------------------------------------------------------ vectors */

static struct semantic_vector *read_json(const char *json)
{
    return semantic_vector_read(text_of(json));
}

static void expect_likeness(struct semantic_vector *a, struct semantic_vector *b, int likeness)
{
    assert_non_null(a);
    assert_non_null(b);
    assert_int_equal(semantic_likeness(a, b), likeness);
    semantic_vector_free(a);
    semantic_vector_free(b);
}

static void vectors_are_read_and_compared(void **state)
{
    (void)state;
    expect_likeness(
        read_json("{\"object\":\"list\",\"data\":[{\"index\":0,\"embedding\":[0.5,-0.5,1e-1]"
                  ",\"object\":\"embedding\"}]}"),
        read_json("{\"data\":[{\"embedding\": [ 5, -5.0, 1 ]}],\"model\":\"m\"}"), MILLION);
    expect_likeness(read_json("{\"data\":[{\"embedding\":[1,0]}]}"),
                    read_json("{\"data\":[{\"embedding\":[0,2]}]}"), 0);
    expect_likeness(read_json("{\"data\":[{\"embedding\":[1,0]}]}"),
                    read_json("{\"data\":[{\"embedding\":[-3,0]}]}"), -MILLION);
    expect_likeness(read_json("{\"data\":[{\"embedding\":[1,0]}]}"),
                    read_json("{\"data\":[{\"embedding\":[1,0,0]}]}"), -MILLION);
    /* 1.0, -2.0 as little-endian floats */
    expect_likeness(read_json("{\"data\":[{\"embedding\":\"AACAPwAAAMA=\"}]}"),
                    read_json("{\"data\":[{\"embedding\":[1,-2]}]}"), MILLION);
}

static void what_is_no_vector_is_not_read(void **state)
{
    (void)state;
    static const char *const none[] = {
        "",
        "{}",
        "{\"data\":[]}",
        "{\"data\":{}}",
        "{\"data\":[{}]}",
        "{\"data\":[{\"embedding\":[]}]}",
        "{\"data\":[{\"embedding\":[0,0]}]}",
        "{\"data\":[{\"embedding\":[1,\"2\"]}]}",
        "{\"data\":[{\"embedding\":[1,nan]}]}",
        "{\"data\":[{\"embedding\":[1,1e99]}]}",
        "{\"data\":[{\"embedding\":[1,null]}]}",
        "{\"data\":[{\"embedding\":\"AACAPwA\"}]}",
        "{\"data\":[{\"embedding\":\"AAC?PwAA\"}]}",
        "{\"data\":[{\"embedding\":null}]}",
        "{\"data\":[{\"embedding\":[1",
        "{\"error\":{\"message\":\"no\"}}",
    };
    for (size_t i = 0; i < sizeof(none) / sizeof(*none); i++)
        if (strcmp(none[i], "{\"data\":[{\"embedding\":[1") != 0)
            assert_null(read_json(none[i]));
        else
            semantic_vector_free(read_json(none[i])); /* broken JSON gives nonsense or nothing */
    float *many = memory_new((SEMANTIC_DIMENSIONS_MAX + 1) * sizeof(*many));
    many[0] = 1;
    assert_null(semantic_vector_new(many, SEMANTIC_DIMENSIONS_MAX + 1));
    struct semantic_vector *most = semantic_vector_new(many, SEMANTIC_DIMENSIONS_MAX);
    assert_non_null(most);
    semantic_vector_free(most);
    memory_free(many);
}

static float noise(unsigned *seed)
{
    *seed = *seed * 1103515245U + 12345U;
    return (float)(*seed >> 8 & 0xFFFF) / 32768.0F - 1;
}

static struct semantic_vector *random_vector(unsigned seed, size_t dimensions)
{
    float numbers[SEMANTIC_DIMENSIONS_MAX];
    for (size_t i = 0; i < dimensions; i++)
        numbers[i] = noise(&seed);
    return semantic_vector_new(numbers, dimensions);
}

static void small_numbers_are_good_enough(void **state)
{
    (void)state;
    enum { DIMENSIONS = 1536 };
    static float a[DIMENSIONS], b[DIMENSIONS];
    for (unsigned seed = 1; seed < 40; seed++) {
        unsigned s = seed;
        double product = 0, of_a = 0, of_b = 0;
        for (size_t i = 0; i < DIMENSIONS; i++) {
            a[i] = noise(&s);
            b[i] = a[i] + noise(&s) * (float)seed / 40;
            product += (double)a[i] * (double)b[i];
            of_a += (double)a[i] * (double)a[i];
            of_b += (double)b[i] * (double)b[i];
        }
        struct semantic_vector *x = semantic_vector_new(a, DIMENSIONS);
        struct semantic_vector *y = semantic_vector_new(b, DIMENSIONS);
        double truth = product / sqrt(of_a * of_b) * MILLION;
        assert_true(fabs(semantic_likeness(x, y) - truth) < 1000);
        int32_t sum = 0;
        for (size_t i = 0; i < semantic_stride(DIMENSIONS); i++)
            sum += x->at[i] * y->at[i];
        assert_int_equal(sum, semantic_product(x->at, y->at, semantic_stride(DIMENSIONS)));
        semantic_vector_free(x);
        semantic_vector_free(y);
    }
}

/* -------------------------------------------------------------------------------- texts */

static bool take_apart(enum operation operation, const char *body, char text[128],
                       struct digest *place)
{
    struct buffer out;
    buffer_init(&out, SEMANTIC_TEXT_MAX);
    bool good = semantic_read(TEXT("t"), TEXT("r"), operation, text_of(body), &out, place);
    if (good)
        snprintf(text, 128, "%.*s", TEXT_ARGS(buffer_text(&out)));
    buffer_done(&out);
    return good;
}

static void the_last_thing_said_is_compared_and_the_rest_must_be_equal(void **state)
{
    (void)state;
    char text[128];
    struct digest place, other;
    assert_true(take_apart(OPERATION_CHAT,
                           "{\"messages\":[{\"role\":\"system\",\"content\":\"be \\\"nice\\\"\"},"
                           "{\"role\":\"user\",\"content\":\"h\\u0069 \\n\"}],\"temperature\":0}",
                           text, &place));
    assert_string_equal(text, "hi \n");
    static const char *const same[] = {
        "{\"temperature\":0.0,\"messages\":[{\"content\":\"be "
        "\\u0022nice\\\"\",\"role\":\"system\"},"
        "{\"role\":\"user\",\"content\":\"something else\"}],\"stream\":true}",
    };
    static const char *const others[] = {
        /* the system prompt, a parameter, one message more, a name, another form */
        "{\"messages\":[{\"role\":\"system\",\"content\":\"be "
        "rude\"},{\"role\":\"user\",\"content\":"
        "\"hi\"}],\"temperature\":0}",
        "{\"messages\":[{\"role\":\"system\",\"content\":\"be \\\"nice\\\"\"},{\"role\":\"user\","
        "\"content\":\"hi\"}],\"temperature\":0,\"tools\":[{}]}",
        "{\"messages\":[{\"role\":\"system\",\"content\":\"be \\\"nice\\\"\"},{\"role\":\"user\","
        "\"content\":\"x\"},{\"role\":\"user\",\"content\":\"hi\"}],\"temperature\":0}",
        "{\"messages\":[{\"role\":\"system\",\"content\":\"be \\\"nice\\\"\"},{\"role\":\"user\","
        "\"name\":\"n\",\"content\":\"hi\"}],\"temperature\":0}",
        "{\"messages\":[{\"role\":\"system\",\"content\":\"be \\\"nice\\\"\"},{\"role\":\"user\","
        "\"content\":[{\"type\":\"text\",\"text\":\"hi\"}]}],\"temperature\":0}",
    };
    assert_true(take_apart(OPERATION_CHAT, same[0], text, &other));
    assert_true(hash_same(&place, &other));
    assert_string_equal(text, "something else");
    for (size_t i = 0; i < sizeof(others) / sizeof(*others); i++) {
        assert_true(take_apart(OPERATION_CHAT, others[i], text, &other));
        assert_string_equal(text, "hi");
        assert_false(hash_same(&place, &other));
    }
    assert_true(take_apart(OPERATION_COMPLETION, "{\"prompt\":\"once\"}", text, &other));
    assert_string_equal(text, "once");
    assert_true(take_apart(OPERATION_RESPONSE, "{\"input\":\"once\"}", text, &other));
    assert_true(take_apart(OPERATION_RESPONSE,
                           "{\"input\":[{\"role\":\"user\",\"content\":[{\"type\":\"input_text\","
                           "\"text\":\"upon\"}]}]}",
                           text, &other));
    assert_string_equal(text, "upon");
}

static void other_calls_are_not_compared(void **state)
{
    (void)state;
    char text[128];
    struct digest place;
    static const char *const none[] = {
        "{}",
        "{\"messages\":[]}",
        "{\"messages\":\"hi\"}",
        "{\"messages\":[{\"role\":\"user\"}]}",
        "{\"messages\":[{\"role\":\"assistant\",\"content\":\"hi\"}]}",
        "{\"messages\":[{\"role\":\"tool\",\"content\":\"hi\"}]}",
        "{\"messages\":[{\"role\":\"user\",\"content\":\"\"}]}",
        "{\"messages\":[{\"role\":\"user\",\"content\":\"\\ud800\"}]}",
        "{\"messages\":[{\"role\":\"user\",\"content\":null}]}",
        "{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"image_url\",\"text\":\"hi\"}]}]"
        "}",
        "{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"hi\"},"
        "{\"type\":\"image_url\",\"image_url\":{}}]}]}",
        "{\"messages\":[{\"role\":\"user\",\"content\":\"hi\",\"c\\u006fntent\":\"ho\"}]}",
        "{\"messages\":[[\"hi\"]]}",
        "[\"messages\"]",
        "{\"messages\":[{\"role\":\"user\"",
    };
    for (size_t i = 0; i < sizeof(none) / sizeof(*none); i++)
        assert_false(take_apart(OPERATION_CHAT, none[i], text, &place));
    assert_false(take_apart(OPERATION_COMPLETION, "{\"prompt\":[\"a\",\"b\"]}", text, &place));
    assert_false(
        take_apart(OPERATION_RESPONSE, "{\"input\":\"a\",\"background\":true}", text, &place));
    assert_false(take_apart(OPERATION_EMBEDDING, "{\"input\":\"a\"}", text, &place));
    char *large = memory_new(SEMANTIC_TEXT_MAX + 64);
    int head = snprintf(large, 64, "{\"prompt\":\"");
    memset(large + head, 'a', SEMANTIC_TEXT_MAX);
    snprintf(large + head + SEMANTIC_TEXT_MAX, 8, "\"}");
    assert_false(take_apart(OPERATION_COMPLETION, large, text, &place));
    memory_free(large);
}

/* ------------------------------------------------------------------------------- shelves */

static struct digest named(const char *kind, unsigned i)
{
    char name[32];
    int len = snprintf(name, sizeof(name), "%s %u", kind, i);
    return hash_sha256((struct text){name, (size_t)len});
}

static void put(struct shelves *shelves, unsigned place, unsigned seed, size_t dimensions,
                int64_t now_us)
{
    struct semantic_vector *vector = random_vector(seed, dimensions);
    struct digest at = named("place", place), name = named("name", seed);
    shelves_put(shelves, &at, vector, &name, now_us);
    semantic_vector_free(vector);
}

/* What is found for the vector of <seed>; -1 = nothing. */
static int find(struct shelves *shelves, unsigned place, unsigned seed, size_t dimensions,
                int64_t since_us)
{
    struct semantic_vector *vector = random_vector(seed, dimensions);
    struct digest at = named("place", place), name;
    int likeness = shelves_find(shelves, &at, vector, since_us, &name);
    semantic_vector_free(vector);
    if (likeness < -MILLION)
        return -1;
    for (int i = 0; i < 2000; i++) {
        struct digest one = named("name", (unsigned)i);
        if (hash_same(&one, &name))
            return i;
    }
    return -2;
}

static void the_most_alike_of_a_place_is_found(void **state)
{
    (void)state;
    struct shelves *shelves = shelves_new();
    for (unsigned i = 0; i < 300; i++)
        put(shelves, i % 3, i, 100, i);
    for (unsigned i = 0; i < 300; i++)
        assert_int_equal(find(shelves, i % 3, i, 100, 0), (int)i);
    assert_int_not_equal(find(shelves, 1, 0, 100, 0), 0);
    assert_int_equal(find(shelves, 7, 0, 100, 0), -1);
    assert_int_equal(find(shelves, 0, 0, 99, 0), -1);
    /* Too old, dropped, or put anew. */
    assert_int_not_equal(find(shelves, 0, 30, 100, 31), 30);
    struct digest place = named("place", 0), name = named("name", 33);
    shelves_drop(shelves, &place, &name);
    assert_int_not_equal(find(shelves, 0, 33, 100, 0), 33);
    put(shelves, 0, 30, 100, 1000);
    assert_int_equal(find(shelves, 0, 30, 100, 999), 30);
    shelves_free(shelves);
}

static void the_oldest_rows_go_first(void **state)
{
    (void)state;
    struct shelves *shelves = shelves_new();
    for (unsigned i = 0; i < 1000; i++) {
        put(shelves, i % 7, i, 64, i);
        shelves_trim(shelves, 100, 0);
    }
    assert_int_equal(shelves_entries(shelves), 100);
    assert_int_equal(shelves_places(shelves), 7);
    for (unsigned i = 900; i < 1000; i++)
        assert_int_equal(find(shelves, i % 7, i, 64, 0), (int)i);
    assert_int_not_equal(find(shelves, 899 % 7, 899, 64, 0), 899);
    /* Another model: what was there before means nothing. */
    put(shelves, 3, 1500, 32, 1000);
    assert_int_equal(find(shelves, 3, 1500, 32, 0), 1500);
    assert_int_equal(find(shelves, 3, 997, 64, 0), -1);
    assert_true(shelves_entries(shelves) < 100);
    for (unsigned i = 0; i < 1000; i += 7)
        put(shelves, 3, 1500, 32, 1001);
    shelves_trim(shelves, 1000, 1000);
    assert_int_equal(shelves_places(shelves), 1);
    shelves_trim(shelves, 1000, 1002);
    assert_int_equal(shelves_entries(shelves), 0);
    assert_int_equal(shelves_places(shelves), 0);
    shelves_free(shelves);
}

/* --------------------------------------------------------------------------------- desks */

struct finder {
    struct semantic_search search;
    unsigned told;
};

static struct semantic *semantic;
static struct semantic_desk *desk;
static struct loop *loop;

static void on_found(struct semantic_search *search)
{
    LIST_MEMBER(search, struct finder, search)->told++;
}

static void open_desk(int threshold, int64_t ttl_us, size_t max_entries)
{
    semantic = semantic_new(&(struct semantic_options){threshold, ttl_us, max_entries});
    assert_non_null(semantic);
    loop = loop_new();
    desk = semantic_desk_new(semantic, loop, NULL, "test:");
}

static void close_desk(void)
{
    semantic_desk_free(desk);
    loop_clear(loop);
    loop_free(loop);
    semantic_free(semantic);
}

static void ask(struct finder *finder, unsigned place, unsigned seed)
{
    *finder = (struct finder){.search.on_found = on_found, .search.place = named("place", place)};
    finder->search.vector = random_vector(seed, 256);
    assert_true(semantic_find(desk, &finder->search));
}

static void wait_for(struct finder *finder)
{
    for (int i = 0; i < 20000 && finder->told == 0; i++) {
        usleep(200);
        loop_clear(loop);
    }
    assert_int_equal(finder->told, 1);
    assert_non_null(finder->search.vector);
    semantic_vector_free(finder->search.vector);
}

static bool finds(unsigned place, unsigned seed)
{
    struct finder finder;
    ask(&finder, place, seed);
    wait_for(&finder);
    struct digest name = named("name", seed);
    return finder.search.found && hash_same(&name, &finder.search.name);
}

static void put_there(unsigned place, unsigned seed)
{
    struct digest at = named("place", place), name = named("name", seed);
    semantic_put(desk, &at, random_vector(seed, 256), &name);
}

static void what_was_put_is_found(void **state)
{
    (void)state;
    open_desk(950000, 100 * (int64_t)SECOND, 1000);
    assert_false(finds(1, 1));
    for (unsigned i = 0; i < 20; i++)
        put_there(1, i);
    for (unsigned i = 0; i < 20; i++)
        assert_true(finds(1, i));
    /* Not alike enough, another place. */
    assert_false(finds(1, 21));
    assert_false(finds(2, 1));
    struct digest place = named("place", 1), name = named("name", 5);
    semantic_drop(desk, &place, &name);
    assert_false(finds(1, 5));
    struct semantic_figures figures = semantic_figures(semantic);
    assert_int_equal(figures.entries, 20);
    assert_int_equal(figures.places, 1);
    assert_int_equal(figures.found, 20);
    assert_int_equal(figures.finds, 24);
    semantic_set_options(semantic, &(struct semantic_options){-MILLION, 100 * (int64_t)SECOND, 5});
    put_there(1, 30);
    struct finder finder;
    ask(&finder, 1, 77);
    wait_for(&finder);
    assert_true(finder.search.found);
    assert_true(finder.search.likeness < 500000);
    assert_int_equal(semantic_figures(semantic).entries, 5);
    semantic_set_options(semantic, &(struct semantic_options){-MILLION, 0, 5});
    assert_false(finds(1, 30));
    close_desk();
}

static void who_is_forgotten_is_not_told(void **state)
{
    (void)state;
    open_desk(950000, 100 * (int64_t)SECOND, 1000);
    put_there(1, 1);
    struct finder forgotten, left, last;
    ask(&forgotten, 1, 1);
    semantic_forget(&forgotten.search);
    assert_null(forgotten.search.vector);
    ask(&last, 1, 1);
    wait_for(&last);
    assert_true(last.search.found);
    semantic_forget(&last.search);
    /* The worker ends while something is under way. */
    ask(&left, 1, 1);
    semantic_forget(&left.search);
    close_desk();
    assert_int_equal(forgotten.told + left.told, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(vectors_are_read_and_compared),
        cmocka_unit_test(what_is_no_vector_is_not_read),
        cmocka_unit_test(small_numbers_are_good_enough),
        cmocka_unit_test(the_last_thing_said_is_compared_and_the_rest_must_be_equal),
        cmocka_unit_test(other_calls_are_not_compared),
        cmocka_unit_test(the_most_alike_of_a_place_is_found),
        cmocka_unit_test(the_oldest_rows_go_first),
        cmocka_unit_test(what_was_put_is_found),
        cmocka_unit_test(who_is_forgotten_is_not_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
