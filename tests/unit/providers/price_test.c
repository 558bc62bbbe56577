/* SPDX-License-Identifier: Apache-2.0 */
/* What a call costs, to the nano-dollar. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "providers/call.h"

/* cmocka wants the headers above. */
#include <cmocka.h>

/* USD per million tokens, in thousandths: MILLI(150) is 0.15 USD. */
#define MILLI(usd) ((int64_t)(usd)*1000000)

static const struct price mini = {
    .input = MILLI(150), .cached_input = MILLI(75), .output = MILLI(600), .known = true};

static int64_t cost(const struct price *price, struct usage usage)
{
    return price_cost(price, &usage);
}

static void tokens_times_price(void **state)
{
    (void)state;
    /* 1,000 in at 0.15 and 500 out at 0.60 USD per million: 150 + 300 micro-dollars */
    assert_int_equal(cost(&mini, (struct usage){.input_tokens = 1000, .output_tokens = 500}),
                     450000);
    assert_int_equal(cost(&mini, (struct usage){0}), 0);
    assert_int_equal(cost(&mini, (struct usage){.input_tokens = 1}), 150);
}

static void cached_tokens_are_part_of_the_input(void **state)
{
    (void)state;
    assert_int_equal(cost(&mini, (struct usage){.input_tokens = 1000, .cached_tokens = 400}),
                     600 * 150 + 400 * 75);
}

static void a_part_without_a_price_costs_what_the_whole_costs(void **state)
{
    (void)state;
    struct price price = {.input = MILLI(2000), .output = MILLI(8000)};
    struct usage parts = {.input_tokens = 100,
                          .cached_tokens = 20,
                          .cache_write_tokens = 30,
                          .audio_input_tokens = 10,
                          .output_tokens = 50,
                          .reasoning_tokens = 25,
                          .audio_output_tokens = 5};
    assert_int_equal(cost(&price, parts), 100 * 2000 + 50 * 8000);
    price.cached_input = price.cache_write = price.audio_input = -1;
    price.reasoning = price.audio_output = -1;
    assert_int_equal(cost(&price, parts), 40 * 2000 + 20 * 8000);
}

static void every_kind_has_its_own_price(void **state)
{
    (void)state;
    struct price price = {.input = MILLI(1000),
                          .cached_input = MILLI(100),
                          .cache_write = MILLI(1250),
                          .audio_input = MILLI(40000),
                          .output = MILLI(5000),
                          .reasoning = MILLI(6000),
                          .audio_output = MILLI(80000),
                          .request = 7,
                          .unit = 1000};
    struct usage usage = {.input_tokens = 100,
                          .cached_tokens = 10,
                          .cache_write_tokens = 20,
                          .audio_input_tokens = 30,
                          .output_tokens = 60,
                          .reasoning_tokens = 15,
                          .audio_output_tokens = 25,
                          .units = 3};
    assert_int_equal(cost(&price, usage), 40 * 1000 + 10 * 100 + 20 * 1250 + 30 * 40000 +
                                              20 * 5000 + 15 * 6000 + 25 * 80000 + 7 + 3 * 1000);
}

static void pictures_have_their_own_price(void **state)
{
    (void)state;
    struct price price = {.input = MILLI(5000),
                          .output = MILLI(10000),
                          .image_input = MILLI(8000),
                          .image_output = MILLI(30000)};
    struct usage usage = {
        .input_tokens = 100, .image_tokens = 60, .output_tokens = 50, .image_output_tokens = 45};
    assert_int_equal(cost(&price, usage), 40 * 5000 + 60 * 8000 + 5 * 10000 + 45 * 30000);
    assert_int_equal(price_bound(&price, 100, 50, 0), 100 * 8000 + 50 * 30000);
    price.image_input = price.image_output = 0;
    assert_int_equal(cost(&price, usage), 100 * 5000 + 50 * 10000);
}

static void what_is_kept_for_an_hour_costs_more_to_write(void **state)
{
    (void)state;
    struct price price = {.input = MILLI(3000), .cache_write = MILLI(3750)};
    struct usage usage = {
        .input_tokens = 1000, .cache_write_tokens = 600, .cache_write_1h_tokens = 200};
    assert_int_equal(cost(&price, usage), 400 * 3000 + 400 * 3750 + 200 * 6000);
    assert_int_equal(price_bound(&price, 1000, 0, 0), 1000 * 6000);
    assert_int_equal(price_bound_brief(&price, 1000, 0, 0), 1000 * 3750);
    price.cache_write_1h = MILLI(7000);
    assert_int_equal(cost(&price, usage), 400 * 3000 + 400 * 3750 + 200 * 7000);
    price.cache_write = price.cache_write_1h = 0; /* where writing is no dearer */
    assert_int_equal(cost(&price, usage), 1000 * 3000);
    assert_int_equal(price_bound(&price, 1000, 0, 0), 1000 * 3000);
    usage.cache_write_1h_tokens = 5000; /* no more than was written */
    assert_int_equal(cost(&price, usage), 1000 * 3000);
}

static void searches_are_paid_beside_the_tokens(void **state)
{
    (void)state;
    struct price price = {.input = MILLI(1000), .unit = 7, .search = 10};
    struct usage usage = {.input_tokens = 100, .units = 2, .searches = 3};
    assert_int_equal(cost(&price, usage), 100 * 1000 + 2 * 7 + 3 * 10);
    assert_int_equal(price_bound_with(&price, &usage, 500), 530);
    price.search = 0;
    assert_int_equal(cost(&price, usage), 100 * 1000 + 2 * 7 + 3 * 7);
    usage = (struct usage){.searches = INT64_MAX};
    price.search = INT64_MAX;
    assert_true(cost(&price, usage) == INT64_MAX);
    assert_true(price_bound_with(&price, &usage, INT64_MAX) == INT64_MAX);
}

static void a_surcharge_is_on_the_tokens(void **state)
{
    (void)state;
    struct price price = {.input = MILLI(1000), .output = MILLI(5000), .request = 7, .search = 10};
    struct usage usage = {
        .input_tokens = 100, .output_tokens = 10, .searches = 1, .surcharge_percent = 10};
    assert_int_equal(cost(&price, usage), 110 * 1000 + 11 * 5000 + 7 + 10);
    assert_int_equal(price_bound_with(&price, &usage, 1000), 1110);
}

static void what_it_is_told_to_cost_counts_where_it_is_more(void **state)
{
    (void)state;
    struct usage usage = {.input_tokens = 1000, .told_nanos = 200000};
    struct price told = mini;
    assert_int_equal(cost(&mini, usage), 150000);
    told.is_told = true;
    assert_int_equal(cost(&told, usage), 200000);
    usage.told_nanos = 100000;
    assert_int_equal(cost(&told, usage), 150000);
    told.input = 0;
    assert_int_equal(cost(&told, usage), 0);
}

static void a_fraction_of_a_nano_is_rounded_up_once(void **state)
{
    (void)state;
    struct price price = {.input = 1, .output = 1}; /* a millionth of a nano per token */
    assert_int_equal(cost(&price, (struct usage){.input_tokens = 1}), 1);
    assert_int_equal(cost(&price, (struct usage){.input_tokens = 1, .output_tokens = 1}), 1);
    assert_int_equal(cost(&price, (struct usage){.input_tokens = 1000000}), 1);
    assert_int_equal(cost(&price, (struct usage){.input_tokens = 1000001}), 2);
    assert_int_equal(cost(&price, (struct usage){.input_tokens = 999999, .output_tokens = 1}), 1);
}

static void above_the_tier_the_whole_call_is_dearer(void **state)
{
    (void)state;
    struct price price = {.input = MILLI(3000),
                          .cached_input = MILLI(300),
                          .cache_write = MILLI(3750),
                          .output = MILLI(15000),
                          .reasoning = MILLI(15000),
                          .tier_above_tokens = 200000,
                          .tier_input = MILLI(6000),
                          .tier_output = MILLI(22500)};
    struct usage usage = {.input_tokens = 200000, .output_tokens = 10, .reasoning_tokens = 4};
    assert_int_equal(cost(&price, usage), 200000LL * 3000 + 10 * 15000);
    usage.input_tokens++;
    assert_int_equal(cost(&price, usage), 200001LL * 6000 + 10 * 22500);
    /* kinds without a figure in the tier rise in proportion */
    usage.cached_tokens = 100000;
    usage.cache_write_tokens = 50000;
    assert_int_equal(cost(&price, usage),
                     50001LL * 6000 + 100000LL * 600 + 50000LL * 7500 + 10 * 22500);
    price.tier_cached_input = MILLI(500);
    assert_int_equal(cost(&price, usage),
                     50001LL * 6000 + 100000LL * 500 + 50000LL * 7500 + 10 * 22500);
}

static void a_tier_without_figures_changes_nothing(void **state)
{
    (void)state;
    struct price price = mini;
    price.tier_above_tokens = 10;
    struct usage usage = {.input_tokens = 1000, .cached_tokens = 400, .output_tokens = 5};
    assert_int_equal(cost(&price, usage), cost(&mini, usage));
}

static void it_saturates_and_never_wraps(void **state)
{
    (void)state;
    struct price dear = {.input = INT64_MAX,
                         .cached_input = INT64_MAX,
                         .cache_write = INT64_MAX,
                         .output = INT64_MAX,
                         .reasoning = INT64_MAX,
                         .audio_input = INT64_MAX,
                         .audio_output = INT64_MAX,
                         .request = INT64_MAX,
                         .unit = INT64_MAX,
                         .tier_above_tokens = 1,
                         .tier_input = INT64_MAX,
                         .tier_output = INT64_MAX};
    struct usage all = {INT64_MAX, INT64_MAX, INT64_MAX, INT64_MAX, INT64_MAX,
                        INT64_MAX, INT64_MAX, INT64_MAX, INT64_MAX, SERVICE_STANDARD,
                        INT64_MAX, INT64_MAX, INT64_MAX, 0,         0};
    assert_true(cost(&dear, all) == INT64_MAX);
    assert_true(cost(&mini, all) == INT64_MAX);
    assert_true(cost(&dear, (struct usage){.output_tokens = 1000001}) == INT64_MAX);
    assert_true(cost(&(struct price){.input = INT64_MAX},
                     (struct usage){.input_tokens = 1000000}) == INT64_MAX);
    assert_true(cost(&(struct price){.input = INT64_MAX}, (struct usage){.input_tokens = 999999}) <
                INT64_MAX);
    assert_true(cost(&(struct price){.input = 1,
                                     .tier_above_tokens = 1,
                                     .tier_input = INT64_MAX,
                                     .cached_input = INT64_MAX},
                     (struct usage){.input_tokens = 2, .cached_tokens = 2}) > 0);
}

static void nonsense_is_never_negative_and_never_free(void **state)
{
    (void)state;
    struct usage less = {INT64_MIN,        -1, -1, -5, -1, -1, -1, -1, -1,
                         SERVICE_STANDARD, -1, -1, -1, -1, -1};
    assert_int_equal(cost(&mini, less), 0);
    assert_int_equal(cost(&(struct price){.input = -5, .output = -5, .request = -1, .unit = -1},
                          (struct usage){.input_tokens = 10, .output_tokens = 10, .units = 10}),
                     0);
    /* more cached than input: what was reported is paid */
    assert_int_equal(cost(&mini, (struct usage){.input_tokens = 10, .cached_tokens = 50}), 50 * 75);
    assert_int_equal(cost(&mini, (struct usage){.output_tokens = 5, .reasoning_tokens = 9}),
                     9 * 600);
}

static void cached_audio_is_paid_once(void **state)
{
    (void)state;
    struct price price = {
        .input = MILLI(5000), .cached_input = MILLI(400), .audio_input = MILLI(40000)};
    struct usage usage = {.input_tokens = 100, .cached_tokens = 80, .audio_input_tokens = 80};
    assert_int_equal(cost(&price, usage), 80 * 400 + 20 * 40000);
}

static uint64_t drawn = 1;

static uint64_t draw(void)
{
    drawn = drawn * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return drawn >> 33;
}

static int64_t draw_figure(void)
{
    static const int64_t figures[] = {0,         0,          -1,           1,        999,
                                      MILLI(75), MILLI(150), MILLI(60000), INT64_MAX};
    return figures[draw() % (sizeof(figures) / sizeof(figures[0]))];
}

static int64_t draw_count(void)
{
    static const int64_t counts[] = {0, 1, 7, 1000, 200000, 200001, 1000000007, INT64_MAX, -5};
    return counts[draw() % (sizeof(counts) / sizeof(counts[0]))];
}

static struct price draw_price(void)
{
    struct price price = {.input = draw_figure(),
                          .cached_input = draw_figure(),
                          .output = draw_figure(),
                          .request = draw() % 4 ? 0 : draw_figure(),
                          .unit = draw() % 4 ? 0 : draw_figure()};
    if (draw() % 3 == 0) {
        price.tier_above_tokens = 200000;
        price.tier_input = draw_figure();
        price.tier_output = draw_figure();
        price.reasoning = draw_figure();
    }
    return price;
}

/* The usual call is reckoned in 64 bits; one unit that costs nothing takes the long way. */
static void the_short_way_comes_to_the_same(void **state)
{
    (void)state;
    for (int i = 0; i < 20000; i++) {
        struct price price = draw_price();
        price.unit = 0;
        struct usage usage = {.input_tokens = draw_count(),
                              .cached_tokens = draw_count(),
                              .output_tokens = draw_count()};
        int64_t expected =
            price_expect(&price, usage.input_tokens, usage.cached_tokens, usage.output_tokens);
        int64_t bound = price_bound(&price, usage.input_tokens, usage.output_tokens, 0);
        assert_true(expected == cost(&price, usage));
        usage.units = 1;
        assert_true(expected == cost(&price, usage));
        assert_true(bound == price_bound(&price, usage.input_tokens, usage.output_tokens, 1));
    }
}

static void what_covers_another_price_is_never_less(void **state)
{
    int covered = 0;
    (void)state;
    for (int i = 0; i < 20000; i++) {
        struct price a = draw_price(), b = draw_price();
        assert_true(price_covers(&a, &a));
        if (!price_covers(&a, &b))
            continue;
        covered++;
        for (int k = 0; k < 10; k++) {
            int64_t input = draw_count(), output = draw_count(), units = (int64_t)(draw() % 3);
            assert_true(price_bound(&a, input, output, units) >=
                        price_bound(&b, input, output, units));
            assert_true(price_bound_brief(&a, input, output, units) >=
                        price_bound_brief(&b, input, output, units));
        }
    }
    assert_in_range(covered, 500, 15000);
    struct price dear = mini, long_answers = mini;
    dear.input *= 2;
    long_answers.output *= 2;
    assert_true(price_covers(&dear, &mini) && !price_covers(&mini, &dear));
    assert_false(price_covers(&dear, &long_answers) || price_covers(&long_answers, &dear));
}

static void the_version_tells_prices_apart(void **state)
{
    (void)state;
    struct price a = mini, b = mini, c = mini;
    price_seal(&a);
    price_seal(&b);
    c.output++;
    price_seal(&c);
    assert_int_equal(a.version, b.version);
    assert_int_not_equal(a.version, c.version);
    b.known = false; /* no figure */
    price_seal(&b);
    assert_int_equal(a.version, b.version);
    int64_t *figures[] = {&c.input,        &c.cached_input,     &c.cache_write,
                          &c.output,       &c.reasoning,        &c.audio_input,
                          &c.audio_output, &c.request,          &c.unit,
                          &c.search,       &c.cache_write_1h,   &c.image_input,
                          &c.image_output, &c.tier_input,       &c.tier_above_tokens,
                          &c.tier_output,  &c.tier_cached_input};
    for (size_t i = 0; i < sizeof(figures) / sizeof(figures[0]); i++) {
        uint32_t before = c.version;
        *figures[i] += (int64_t)1 << 40;
        price_seal(&c);
        assert_int_not_equal(c.version, before);
    }
}

static const struct price served = {
    .input = MILLI(1000),
    .cached_input = MILLI(100),
    .cache_write = MILLI(1250),
    .output = MILLI(4000),
    .tier_above_tokens = 1000,
    .tier_input = MILLI(2000),
    .tier_output = MILLI(6000),
    .services = {[SERVICE_PRIORITY] = {MILLI(2000), 0, MILLI(8000)},
                 [SERVICE_FLEX] = {MILLI(500), MILLI(80), MILLI(2000)}},
    .known = true,
};

static void a_tier_of_service_has_its_own_price(void **state)
{
    (void)state;
    struct usage usage = {.input_tokens = 100, .cached_tokens = 10, .output_tokens = 50};
    assert_int_equal(cost(&served, usage), 90 * 1000 + 10 * 100 + 50 * 4000);
    usage.service = SERVICE_PRIORITY; /* what is cached is dearer, too */
    assert_int_equal(cost(&served, usage), 90 * 2000 + 10 * 200 + 50 * 8000);
    usage.service = SERVICE_FLEX;
    assert_int_equal(cost(&served, usage), 90 * 500 + 10 * 80 + 50 * 2000);
    usage.service = SERVICE_BATCH; /* nobody said */
    assert_int_equal(cost(&served, usage), 90 * 1000 + 10 * 100 + 50 * 4000);
    usage = (struct usage){.input_tokens = 10, .cache_write_tokens = 10};
    usage.service = SERVICE_PRIORITY;
    assert_int_equal(cost(&served, usage), 10 * 2500);
}

static void a_tier_of_service_is_dearer_above_a_prompt_length_too(void **state)
{
    (void)state;
    struct usage usage = {.input_tokens = 2000, .output_tokens = 10, .service = SERVICE_PRIORITY};
    struct price room;
    const struct price *now = price_of_service(&served, SERVICE_PRIORITY, &room);
    assert_int_equal(cost(&served, usage), 2000 * 4000 + 10 * 12000);
    assert_true(price_bound(now, 2000, 10, 0) >= cost(&served, usage));
    assert_ptr_equal(price_of_service(&served, SERVICE_STANDARD, &room), &served);
    assert_ptr_equal(price_of_service(&served, SERVICE_BATCH, &room), &served);
}

static void words_for_tiers_are_known(void **state)
{
    (void)state;
    static const struct {
        struct text word;
        int tier; /* -1 = none */
    } words[] = {
        {{"default", 7}, SERVICE_STANDARD},
        {{"standard_only", 13}, SERVICE_STANDARD},
        {{"priority", 8}, SERVICE_PRIORITY},
        {{"fast", 4}, SERVICE_PRIORITY},
        {{"SERVICE_TIER_PRIORITY", 21}, SERVICE_PRIORITY},
        {{"ON_DEMAND_FLEX", 14}, SERVICE_FLEX},
        {{"flex", 4}, SERVICE_FLEX},
        {{"batch", 5}, SERVICE_BATCH},
        {{"auto", 4}, -1},
        {{"prior", 5}, -1},
        {{"", 0}, -1},
    };
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        enum service_tier tier = SERVICE_BATCH;
        assert_int_equal(service_tier_read(words[i].word, &tier), words[i].tier >= 0);
        if (words[i].tier >= 0)
            assert_int_equal((int)tier, words[i].tier);
    }
}

static void tiers_of_service_are_in_the_version(void **state)
{
    (void)state;
    struct price a = served, b = served, plain = served;
    memset(plain.services, 0, sizeof(plain.services));
    b.services[SERVICE_FLEX].output++;
    price_seal(&a);
    price_seal(&b);
    price_seal(&plain);
    assert_int_not_equal(a.version, b.version);
    assert_int_not_equal(a.version, plain.version);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_tier_of_service_has_its_own_price),
        cmocka_unit_test(a_tier_of_service_is_dearer_above_a_prompt_length_too),
        cmocka_unit_test(words_for_tiers_are_known),
        cmocka_unit_test(tiers_of_service_are_in_the_version),
        cmocka_unit_test(pictures_have_their_own_price),
        cmocka_unit_test(what_is_kept_for_an_hour_costs_more_to_write),
        cmocka_unit_test(searches_are_paid_beside_the_tokens),
        cmocka_unit_test(a_surcharge_is_on_the_tokens),
        cmocka_unit_test(what_it_is_told_to_cost_counts_where_it_is_more),
        cmocka_unit_test(tokens_times_price),
        cmocka_unit_test(cached_tokens_are_part_of_the_input),
        cmocka_unit_test(a_part_without_a_price_costs_what_the_whole_costs),
        cmocka_unit_test(every_kind_has_its_own_price),
        cmocka_unit_test(a_fraction_of_a_nano_is_rounded_up_once),
        cmocka_unit_test(above_the_tier_the_whole_call_is_dearer),
        cmocka_unit_test(a_tier_without_figures_changes_nothing),
        cmocka_unit_test(it_saturates_and_never_wraps),
        cmocka_unit_test(nonsense_is_never_negative_and_never_free),
        cmocka_unit_test(cached_audio_is_paid_once),
        cmocka_unit_test(the_short_way_comes_to_the_same),
        cmocka_unit_test(what_covers_another_price_is_never_less),
        cmocka_unit_test(the_version_tells_prices_apart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
