/* SPDX-License-Identifier: Apache-2.0 */
/* One desk of a cluster; what the others tell is made up. */
#include <errno.h>

#include "deploy/models/deployment.h"
#include "deploy/models/desk_inside.h"
#include "deploy/models/share_line.h"
#include "gateway/base/buffer.h"
#include "gateway/wire/dns.h"
#include "gateway/wire/upstream.h"
#include "tests/unit/deploy/models/models_bench.h"

static struct dns *dns;
static struct upstreams *upstreams;
static struct deployments *desk;
static struct buffer record;
static uint64_t digest, told, heard; /* told: number of the desk's last record; heard: of ours */
static bool is_done;

static int open_bench(void **state)
{
    (void)state;
    bench_open();
    dns = dns_new(bench_loop);
    upstreams = upstreams_new(bench_loop, dns);
    struct deployments_site site = {.loop = bench_loop,
                                    .upstreams = upstreams,
                                    .state_dir = bench_state,
                                    .owner = "this",
                                    .is_shared = true};
    desk = deployments_new(&site);
    buffer_init(&record, DEPLOYMENTS_RECORD_BYTES);
    heard = 100;
    return 0;
}

static void on_done(void *with)
{
    (void)with;
    is_done = true;
}

static bool has_ended(void)
{
    return is_done;
}

static int close_bench(void **state)
{
    (void)state;
    is_done = false;
    deployments_end(desk, clock_now_us() + 5 * BENCH_SECOND, on_done, NULL);
    assert_true(bench_until(has_ended));
    deployments_free(desk);
    loop_clear(bench_loop);
    upstreams_free(upstreams);
    dns_free(dns);
    bench_close();
    buffer_done(&record);
    return bench_has_no_children() ? 0 : -1;
}

static void want(unsigned min)
{
    const char *const words[] = {"--port", "{port}", "--load-ms", "10", NULL};
    struct deployment_spec *plain = bench_spec(bench_fakellm(), words);
    plain->scaling.min = min;
    struct deployment_spec *spec = spec_copy(plain);
    spec_unref(plain);
    digest = spec->digest = spec_digest(spec);
    deployments_configure(desk, NULL, 0, &spec, 1);
    spec_unref(spec);
}

/* ------------------------------------------------------------------------------ the others */

static void add(enum share_kind kind, const char *name, const int64_t *numbers, size_t count,
                const char *rest)
{
    struct share_line line = {.kind = kind, .name = text_of(name), .rest = text_of(rest)};
    memcpy(line.numbers, numbers, count * sizeof(*numbers));
    share_line_write(&record, &line);
}

static void begin(int64_t token)
{
    const int64_t head[HEAD_NUMBERS] = {SHARE_VERSION, (int64_t)heard++, token};
    buffer_clear(&record);
    add(SHARE_HEAD, "elsewhere", head, HEAD_NUMBERS, "");
}

static void add_demand(int64_t held)
{
    const int64_t demand[DEMAND_NUMBERS] = {held};
    add(SHARE_DEMAND, "fake", demand, DEMAND_NUMBERS, "");
}

static void add_replica(enum replica_state state, uint64_t its_digest, const char *host)
{
    const int64_t server[SERVER_NUMBERS] = {[SERVER_NUMBER] = 77,
                                            [SERVER_STATE] = state,
                                            [SERVER_OPEN] = state == REPLICA_READY,
                                            [SERVER_REVISION] = 1,
                                            [SERVER_PARALLEL] = 1,
                                            [SERVER_PROGRESS] = -1,
                                            [SERVER_DIGEST] = (int64_t)its_digest,
                                            [SERVER_PORT] = 9};
    add(SHARE_REPLICA, "fake", server, SERVER_NUMBERS, host);
}

static bool hear(void)
{
    return deployments_hear(desk, TEXT("that"), buffer_text(&record), 0);
}

/* What the desk says: the first line of <kind>; false: there is none. */
static bool says(enum share_kind kind, struct share_line *line)
{
    static struct buffer said;
    uint64_t sense;
    buffer_done(&said);
    buffer_init(&said, DEPLOYMENTS_RECORD_BYTES);
    deployments_tell(desk, &said, &sense);
    struct text rest = buffer_text(&said);
    while (share_line_next(&rest, line)) {
        if (line->kind == SHARE_HEAD)
            told = (uint64_t)line->numbers[HEAD_NUMBER];
        if (line->kind == kind)
            return true;
    }
    buffer_done(&said);
    return false;
}

static enum replica_state own_state(void)
{
    struct share_line line;
    return says(SHARE_REPLICA, &line) ? (enum replica_state)line.numbers[SERVER_STATE]
                                      : REPLICA_STATES;
}

static bool is_ready(void)
{
    return own_state() == REPLICA_READY;
}

static bool is_draining(void)
{
    return own_state() == REPLICA_DRAINING;
}

static bool is_nothing(void)
{
    return own_state() == REPLICA_STATES;
}

static struct fleet_view view(void)
{
    struct fleet_view now;
    assert_true(deployments_look(desk, TEXT("fake"), &now));
    return now;
}

/* ---------------------------------------------------------------------------------- tests */

static void nothing_is_started_before_it_leads(void **state)
{
    (void)state;
    struct deployments_office office;
    want(1);
    bench_for(300000);
    assert_true(is_nothing());
    deployments_pause(desk, "redis_away");
    deployments_office(desk, &office);
    assert_int_equal(office.role, ROLE_PAUSED);
    assert_string_equal(office.why, "redis_away");
    deployments_lead(desk, 5, TEXT("cluster"));
    assert_true(bench_until(is_ready));
    deployments_pause(desk, "redis_away"); /* and what runs goes on */
    bench_for(300000);
    assert_true(is_ready());
}

static void what_waits_elsewhere_is_started_for(void **state)
{
    (void)state;
    want(0);
    deployments_lead(desk, 5, TEXT("cluster"));
    bench_for(200000);
    assert_true(is_nothing());
    begin(0);
    add_demand(1);
    assert_true(hear());
    assert_true(bench_until(is_ready));
    begin(0); /* it waits no more */
    assert_true(hear());
}

static void what_starts_elsewhere_is_not_started_again(void **state)
{
    (void)state;
    want(1);
    begin(0);
    add_replica(REPLICA_LOADING, digest, "192.0.2.1");
    assert_true(hear());
    deployments_lead(desk, 5, TEXT("cluster"));
    bench_for(500000);
    assert_true(is_nothing());
    assert_int_equal(view().state, DEPLOYMENT_STARTING);
    begin(0); /* it has gone */
    assert_true(hear());
    assert_true(bench_until(is_ready));
}

static void what_cannot_be_reached_does_not_count(void **state)
{
    (void)state;
    want(1);
    begin(0);
    add_replica(REPLICA_READY, digest, "127.0.0.1"); /* of another machine */
    assert_true(hear());
    deployments_lead(desk, 5, TEXT("cluster"));
    assert_true(bench_until(is_ready));
}

static void what_does_not_get_well_elsewhere_is_replaced(void **state)
{
    (void)state;
    struct share_line line;
    int64_t server[SERVER_NUMBERS] = {[SERVER_NUMBER] = 77,
                                      [SERVER_STATE] = REPLICA_UNREADY,
                                      [SERVER_SINCE_MS] = 1000,
                                      [SERVER_DIGEST] = 0,
                                      [SERVER_PORT] = 9};
    want(1);
    server[SERVER_DIGEST] = (int64_t)digest;
    begin(0);
    add(SHARE_REPLICA, "fake", server, SERVER_NUMBERS, "192.0.2.1");
    assert_true(hear());
    deployments_lead(desk, 5, TEXT("cluster"));
    bench_for(300000);
    assert_true(is_nothing());
    server[SERVER_SINCE_MS] = INT64_C(24) * 3600 * 1000;
    begin(0);
    add(SHARE_REPLICA, "fake", server, SERVER_NUMBERS, "192.0.2.1");
    assert_true(hear());
    assert_true(bench_until(is_ready));
    assert_true(says(SHARE_END, &line));
}

static void what_is_outdated_elsewhere_is_ended(void **state)
{
    (void)state;
    struct share_line line;
    want(1);
    deployments_lead(desk, 5, TEXT("cluster"));
    begin(0);
    add_replica(REPLICA_READY, digest + 1, "192.0.2.1");
    assert_true(hear());
    assert_false(says(SHARE_END, &line));
    assert_true(bench_until(is_ready));
    assert_true(says(SHARE_END, &line));
    assert_int_equal(line.numbers[0], 77);
}

static void who_leads_ends_ours_and_nobody_else(void **state)
{
    (void)state;
    struct share_line line;
    want(1);
    deployments_lead(desk, 5, TEXT("cluster"));
    assert_true(bench_until(is_ready));
    assert_true(says(SHARE_REPLICA, &line));
    const int64_t number[] = {line.numbers[SERVER_NUMBER]};
    deployments_yield(desk, TEXT("that"), 6);
    begin(5); /* with a token that is not the present one */
    add(SHARE_END, "fake", number, 1, "");
    assert_true(hear());
    bench_for(200000);
    assert_true(is_ready());
    begin(6);
    add(SHARE_END, "fake", number, 1, "");
    assert_true(hear());
    assert_false(is_ready());
    const int64_t ack[] = {(int64_t)told};
    begin(6);
    add(SHARE_ACK, "this", ack, 1, "");
    assert_true(hear());
    assert_true(bench_until(is_nothing));
}

static void it_ends_only_when_all_know_that_it_takes_no_calls(void **state)
{
    (void)state;
    want(1);
    const char *why;
    deployments_lead(desk, 5, TEXT("cluster"));
    assert_true(bench_until(is_ready));
    begin(0);
    assert_true(hear());
    assert_true(deployments_obey(desk, TEXT("fake"), FLEET_STOP, 0, 0, &why));
    bench_for(500000);
    assert_true(is_draining());
    const int64_t ack[] = {(int64_t)told}, calls[] = {0, 2};
    struct share_line line;
    assert_true(says(SHARE_REPLICA, &line));
    int64_t with[2] = {line.numbers[SERVER_NUMBER], calls[1]};
    begin(0); /* it knows, and has calls there */
    add(SHARE_ACK, "this", ack, 1, "");
    add(SHARE_CALLS, "fake", with, 2, "");
    assert_true(hear());
    bench_for(300000);
    assert_true(is_draining());
    begin(0);
    add(SHARE_ACK, "this", ack, 1, "");
    assert_true(hear());
    assert_true(bench_until(is_nothing));
}

/* Two that end one after the other: what the first has handed over, the second ends. */
static void who_is_ending_is_nobodys_heir(void **state)
{
    (void)state;
    struct share_line line;
    const int64_t none[] = {0};
    want(0);
    assert_false(share_has_heirs(desk));
    begin(0);
    assert_true(hear());
    assert_true(share_has_heirs(desk));
    begin(0);
    add(SHARE_LEAVE, "that", none, 0, "");
    assert_true(hear());
    assert_false(share_has_heirs(desk));
    begin(0); /* it is there again */
    assert_true(hear());
    assert_true(share_has_heirs(desk));
    assert_false(says(SHARE_LEAVE, &line));
    desk->is_ending = true;
    assert_true(says(SHARE_LEAVE, &line));
    desk->is_ending = false;
}

/* One that was killed a moment ago has told something, but not that it knows of our end. */
static void who_does_not_know_that_we_end_is_no_late_heir(void **state)
{
    (void)state;
    struct share_line line;
    want(0);
    begin(0);
    assert_true(hear());
    deployments_heard(desk, true);
    desk->is_ending = true;
    assert_true(share_has_late_heirs(desk)); /* nobody has been told yet */
    assert_true(says(SHARE_LEAVE, &line));
    int64_t before[] = {(int64_t)told - 1}, after[] = {(int64_t)told};
    assert_true(says(SHARE_LEAVE, &line));   /* again, with another number */
    assert_true(share_has_late_heirs(desk)); /* the store is away: nothing was heard since */
    deployments_heard(desk, false);
    assert_true(share_has_late_heirs(desk));
    deployments_heard(desk, true);
    assert_true(share_has_heirs(desk));
    assert_false(share_has_late_heirs(desk));
    begin(0);
    add(SHARE_ACK, "this", before, 1, "");
    assert_true(hear());
    assert_false(share_has_late_heirs(desk));
    begin(0);
    add(SHARE_ACK, "this", after, 1, "");
    assert_true(hear());
    assert_true(share_has_late_heirs(desk));
    begin(0);
    add(SHARE_ACK, "this", after, 1, "");
    add(SHARE_LEAVE, "that", after, 0, "");
    assert_true(hear());
    assert_false(share_has_late_heirs(desk));
    desk->is_ending = false;
}

static void how_it_stands_is_what_the_leader_says(void **state)
{
    (void)state;
    const int64_t lead[LEAD_NUMBERS] = {
        [LEAD_STATE] = DEPLOYMENT_STARTING, [LEAD_WANTED] = 2, [LEAD_PROGRESS] = 410,
        [LEAD_ETA_US] = 12000000,           [LEAD_MAX] = 3,
    };
    want(0);
    deployments_yield(desk, TEXT("that"), 6);
    begin(6);
    add(SHARE_LEAD, "fake", lead, LEAD_NUMBERS, "pulling");
    assert_true(hear());
    assert_int_equal(view().state, DEPLOYMENT_STARTING);
    assert_int_equal(view().progress_permille, 410);
    assert_int_equal(view().eta_us, 12000000);
    assert_int_equal(view().wanted, 2);
    assert_string_equal(view().reason, "pulling");
    deployments_lead(desk, 7, TEXT("cluster"));
    assert_int_equal(view().state, DEPLOYMENT_IDLE);
}

static void what_is_no_record_changes_nothing(void **state)
{
    (void)state;
    struct deployments_office office;
    want(0);
    assert_false(deployments_hear(desk, TEXT("that"), TEXT(""), 0));
    assert_false(deployments_hear(desk, TEXT("that"), TEXT("s this 1 \n"), 0));
    assert_false(deployments_hear(desk, TEXT("that"), TEXT("h m 2 1 0 \n"), 0));
    begin(0);
    assert_false(deployments_hear(desk, TEXT(""), buffer_text(&record), 0));
    assert_false(deployments_hear(desk, TEXT("this"), buffer_text(&record), 0));
    add_replica(REPLICA_STATES, digest, "192.0.2.1");
    assert_true(hear());
    deployments_office(desk, &office);
    assert_int_equal(office.nodes, 1);
    struct deployment_page *page = deployments_page(desk, TEXT("fake"));
    assert_int_equal(page->replica_count, 0);
    deployment_page_free(page);
}

static void who_is_silent_for_long_is_forgotten_with_what_it_asked(void **state)
{
    (void)state;
    struct deployments_office office;
    want(0);
    begin(0);
    add_demand(3);
    add_replica(REPLICA_LAUNCHING, digest, "");
    assert_true(deployments_hear(desk, TEXT("that"), buffer_text(&record), 5 * BENCH_SECOND));
    deployments_heard(desk, false); /* the store is away: nobody is gone for that */
    deployments_office(desk, &office);
    assert_int_equal(office.nodes, 1);
    deployments_heard(desk, true);
    deployments_office(desk, &office);
    assert_int_equal(office.nodes, 0);
    deployments_lead(desk, 5, TEXT("cluster"));
    bench_for(300000);
    assert_true(is_nothing());
    assert_int_equal(view().state, DEPLOYMENT_IDLE);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, open_bench, close_bench)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(nothing_is_started_before_it_leads),
        TEST(what_waits_elsewhere_is_started_for),
        TEST(what_starts_elsewhere_is_not_started_again),
        TEST(what_cannot_be_reached_does_not_count),
        TEST(what_does_not_get_well_elsewhere_is_replaced),
        TEST(what_is_outdated_elsewhere_is_ended),
        TEST(who_leads_ends_ours_and_nobody_else),
        TEST(it_ends_only_when_all_know_that_it_takes_no_calls),
        TEST(who_is_ending_is_nobodys_heir),
        TEST(who_does_not_know_that_we_end_is_no_late_heir),
        TEST(how_it_stands_is_what_the_leader_says),
        TEST(what_is_no_record_changes_nothing),
        TEST(who_is_silent_for_long_is_forgotten_with_what_it_asked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
