/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "routing/route.h"
#include "routing/rule.h"

/* cmocka wants the headers above. */
#include <cmocka.h>

#define ONE(literal)                       \
    (const struct text[])                  \
    {                                      \
        {                                  \
            (literal), sizeof(literal) - 1 \
        }                                  \
    }
#define NAMES(literal) .values = ONE(literal), .value_count = 1

static const struct target targets[2] = {{.id = {"a", 1}}, {.id = {"b", 1}}};
static const struct route fast = {.name = {"fast", 4}, .targets = targets, .target_count = 2};
static const struct text above[] = {{"acme", 4}};
static const struct text sent[] = {{"eu-west", 7}, {NULL, 0}};

static struct rule_call usual(void)
{
    return (struct rule_call){
        .tenant = {"search", 6},
        .parents = above,
        .parent_count = 1,
        .key = {"ci", 2},
        .user = {"vip-7", 5},
        .model = {"quick", 5},
        .route = &fast,
        .tags = {"team=search,plain,env=prod", 26},
        .headers = sent,
        .input_tokens = 5000,
        .needs = CAN_VISION | CAN_TOOLS,
        .minutes = {2 * DAY_MINUTES + 9 * 60}, /* Wednesday, 09:00 */
        .sticky = {1, 2, 3, 4},
    };
}

static bool holds(struct rule_condition condition)
{
    struct rule_call call = usual();
    struct rule rule = {.name = {"r", 1}, .conditions = &condition, .condition_count = 1};
    return rule_matches(&rule, &call);
}

static void each_condition_holds_for_what_it_says(void **state)
{
    (void)state;
    /* clang-format off */
    const struct { struct rule_condition condition; bool holds; } table[] = {
        {{.subject = RULE_TENANT, NAMES("search")}, true},
        {{.subject = RULE_TENANT, NAMES("acme")}, true}, /* it is in it */
        {{.subject = RULE_TENANT, NAMES("globex")}, false},
        {{.subject = RULE_KEY, NAMES("c*")}, true},
        {{.subject = RULE_KEY, NAMES("main")}, false},
        {{.subject = RULE_USER, NAMES("vip-*")}, true},
        {{.subject = RULE_MODEL, NAMES("quick")}, true},
        {{.subject = RULE_MODEL, NAMES("fast")}, true},
        {{.subject = RULE_MODEL, NAMES("slow")}, false},
        {{.subject = RULE_TAG, .name = {"team", 4}, NAMES("sea*")}, true},
        {{.subject = RULE_TAG, .name = {"plain", 5}, NAMES("*")}, true},
        {{.subject = RULE_TAG, .name = {"tea", 3}, NAMES("*")}, false},
        {{.subject = RULE_TAG, .name = {"env", 3}, NAMES("test")}, false},
        {{.subject = RULE_HEADER, .place = 0, NAMES("eu-*")}, true},
        {{.subject = RULE_HEADER, .place = 0, NAMES("us-*")}, false},
        {{.subject = RULE_HEADER, .place = 1, NAMES("*")}, false}, /* it was not sent */
        {{.subject = RULE_INPUT_TOKENS, .least = 5000, .most = INT64_MAX}, true},
        {{.subject = RULE_INPUT_TOKENS, .least = 5001, .most = INT64_MAX}, false},
        {{.subject = RULE_CAPABILITY, .needs = CAN_VISION}, true},
        {{.subject = RULE_CAPABILITY, .needs = CAN_VISION | CAN_AUDIO}, false},
        {{.subject = RULE_TIME, .from = 0, .to = DAY_MINUTES}, true},
        {{.subject = RULE_TIME, .from = 9 * 60, .to = 9 * 60 + 1}, true},
        {{.subject = RULE_TIME, .from = 8 * 60, .to = 9 * 60}, false}, /* the end does not count */
        {{.subject = RULE_TIME, .from = 22 * 60, .to = 10 * 60}, true}, /* over midnight */
        {{.subject = RULE_TIME, .from = 22 * 60, .to = 10 * 60, .days = 1 << 1}, true}, /* since Tuesday */
        {{.subject = RULE_TIME, .from = 22 * 60, .to = 10 * 60, .days = 1 << 2}, false},
        {{.subject = RULE_TIME, .from = 0, .to = DAY_MINUTES, .days = 1 << 2}, true},
        {{.subject = RULE_TIME, .from = 0, .to = DAY_MINUTES, .days = 1 << 3}, false},
        {{.subject = RULE_SAMPLE, .share_ppm = 1000000}, true},
        {{.subject = RULE_SAMPLE, .share_ppm = 0}, false},
    };
    /* clang-format on */
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
        if (holds(table[i].condition) != table[i].holds)
            fail_msg("row %zu", i);
}

static void what_is_not_known_meets_no_condition(void **state)
{
    (void)state;
    struct rule_condition tokens = {.subject = RULE_INPUT_TOKENS, .least = 0, .most = INT64_MAX};
    struct rule_condition user = {.subject = RULE_USER, NAMES("*")};
    struct rule rule = {.conditions = &tokens, .condition_count = 1};
    struct rule_call call = usual();
    call.input_tokens = -1;
    call.user.len = 0;
    assert_false(rule_matches(&rule, &call));
    rule.conditions = &user;
    assert_false(rule_matches(&rule, &call));
}

static void the_first_of_which_all_holds_wins(void **state)
{
    (void)state;
    struct rule_condition both[] = {{.subject = RULE_KEY, NAMES("ci")},
                                    {.subject = RULE_TENANT, NAMES("globex")}};
    struct rule list[] = {{.conditions = both, .condition_count = 2},
                          {.conditions = both, .condition_count = 1},
                          {.condition_count = 0}};
    struct rules rules = {.list = list, .count = 3};
    struct rule_call call = usual();
    assert_ptr_equal(rules_find(&rules, &call), &list[1]);
    call.key = TEXT("other");
    assert_ptr_equal(rules_find(&rules, &call), &list[2]);
    rules.count = 2;
    assert_null(rules_find(&rules, &call));
}

static void a_sample_passes_over_models_without_its_targets(void **state)
{
    (void)state;
    static const struct target elsewhere = {.id = {"c", 1}};
    const struct target *here[] = {&targets[1]}, *there[] = {&elsewhere};
    struct rule_condition all = {.subject = RULE_SAMPLE, .share_ppm = 1000000};
    struct rule rule = {.conditions = &all, .condition_count = 1, .samples = true};
    struct rule_call call = usual();
    rule.targets = here, rule.target_count = 1;
    assert_true(rule_matches(&rule, &call));
    rule.targets = there;
    assert_false(rule_matches(&rule, &call));
    rule.samples = false, rule.condition_count = 0; /* what is a must leaves nobody */
    assert_true(rule_matches(&rule, &call));
}

static void a_share_is_kept_and_grows_by_those_that_come_new(void **state)
{
    (void)state;
    enum { CALLS = 100000 };
    int few = 0, more = 0, both = 0;
    for (uint64_t i = 0; i < CALLS; i++) {
        bool in_few = rule_samples(i, TEXT("canary"), 50000);
        bool in_more = rule_samples(i, TEXT("canary"), 100000);
        few += in_few;
        more += in_more;
        both += in_few && rule_samples(i, TEXT("other"), 50000);
        assert_true(!in_few || in_more);
    }
    assert_in_range(few, 4700, 5300);   /* 5,000 and 4 standard deviations of 69 */
    assert_in_range(more, 9600, 10400); /* 10,000, of 95 */
    assert_in_range(both, 180, 320);    /* of another rule independent: 250, of 16 */
}

static void lengths_are_read(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t least, most;
    } good[] = {{">100000", 100001, INT64_MAX},
                {">=8000", 8000, INT64_MAX},
                {"<8000", 0, 7999},
                {"<= 8000", 0, 8000},
                {"=5", 5, 5},
                {"1000-8000", 1000, 8000},
                {"5000", 5000, INT64_MAX}};
    static const char *const bad[] = {"",   ">",    "<0",  "many", "8000-1000",
                                      "-5", "> -1", "1e5", "5k"};
    int64_t least, most;
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        assert_true(rule_read_tokens(text_of(good[i].text), &least, &most));
        assert_int_equal(least, good[i].least);
        assert_int_equal(most, good[i].most);
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        if (rule_read_tokens(text_of(bad[i]), &least, &most))
            fail_msg("%s", bad[i]);
}

static void times_are_read(void **state)
{
    (void)state;
    static const char *const bad[] = {"",    "8",      "24:01", "25:00", "08:60",
                                      "8:5", "08:300", ":30",   "-1:00"};
    unsigned minutes = 0;
    assert_true(rule_read_clock(TEXT("08:30"), &minutes));
    assert_int_equal(minutes, 510);
    assert_true(rule_read_clock(TEXT("8:05"), &minutes));
    assert_int_equal(minutes, 485);
    assert_true(rule_read_clock(TEXT("24:00"), &minutes));
    assert_int_equal(minutes, DAY_MINUTES);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        if (rule_read_clock(text_of(bad[i]), &minutes))
            fail_msg("%s", bad[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_condition_holds_for_what_it_says),
        cmocka_unit_test(what_is_not_known_meets_no_condition),
        cmocka_unit_test(the_first_of_which_all_holds_wins),
        cmocka_unit_test(a_sample_passes_over_models_without_its_targets),
        cmocka_unit_test(a_share_is_kept_and_grows_by_those_that_come_new),
        cmocka_unit_test(lengths_are_read),
        cmocka_unit_test(times_are_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
