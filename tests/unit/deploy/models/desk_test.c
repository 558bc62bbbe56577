/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>

#include "deploy/models/deployment.h"
#include "deploy/models/launch_mark.h"
#include "gateway/base/buffer.h"
#include "gateway/base/hash.h"
#include "gateway/wire/dns.h"
#include "gateway/wire/upstream.h"
#include "tests/unit/child.h"
#include "tests/unit/deploy/models/models_bench.h"

static struct dns *dns;
static struct upstreams *upstreams;
static struct deployments *desk;
static struct slots *slots;
static unsigned events;

static void on_event(void *with, struct text deployment, const char *replica, const char *reason,
                     const char *words)
{
    (void)with;
    (void)replica;
    (void)reason;
    (void)words;
    struct deployment_page *page = deployments_page(desk, deployment); /* may be asked from here */
    deployment_page_free(page);
    events++;
}

static void open_desk(bool leave)
{
    struct deployments_site site = {.loop = bench_loop,
                                    .upstreams = upstreams,
                                    .state_dir = bench_state,
                                    .owner = "test",
                                    .leave = leave,
                                    .on_event = on_event};
    desk = deployments_new(&site);
    slots = slots_of(TEXT("fake"));
}

static void open_wire(void)
{
    dns = dns_new(bench_loop);
    upstreams = upstreams_new(bench_loop, dns);
}

static int open_bench(void **state)
{
    (void)state;
    bench_open();
    open_wire();
    open_desk(false);
    events = 0;
    return 0;
}

static bool is_done;

static void on_done(void *with)
{
    (void)with;
    is_done = true;
}

static bool has_ended(void)
{
    return is_done;
}

static void close_desk(void)
{
    is_done = false;
    deployments_end(desk, clock_now_us() + 5 * BENCH_SECOND, on_done, NULL);
    assert_true(bench_until(has_ended));
    deployments_free(desk);
    loop_clear(bench_loop);
}

static void close_wire(void)
{
    upstreams_free(upstreams);
    dns_free(dns);
}

static int close_bench(void **state)
{
    (void)state;
    close_desk();
    close_wire();
    bench_close();
    return bench_has_no_children() ? 0 : -1;
}

#define WORDS(...) ((const char *const[]){"--port", "{port}", __VA_ARGS__, NULL})

static void configure(struct deployment_spec *spec)
{
    deployments_configure(desk, NULL, 0, &spec, 1);
}

/* <change> may be NULL. */
static struct deployment_spec *want(const char *const *words,
                                    void (*change)(struct deployment_spec *))
{
    struct deployment_spec *plain = bench_spec(bench_fakellm(), words);
    if (change)
        change(plain);
    struct deployment_spec *spec = spec_copy(plain);
    spec_unref(plain);
    spec->digest = spec_digest(spec);
    configure(spec);
    spec_unref(spec);
    return spec;
}

static enum deployment_state state_now(void)
{
    struct fleet_view view;
    return deployments_look(desk, TEXT("fake"), &view) ? view.state : DEPLOYMENT_STATES;
}

static bool is_ready(void)
{
    return state_now() == DEPLOYMENT_READY;
}

static bool is_idle(void)
{
    return state_now() == DEPLOYMENT_IDLE;
}

static bool has_failed(void)
{
    return state_now() == DEPLOYMENT_FAILED;
}

static bool is_backing_off(void)
{
    return state_now() == DEPLOYMENT_BACKOFF;
}

static void with_one(struct deployment_spec *spec)
{
    spec->scaling.min = 1;
}

static void saw(const char *reason, unsigned at_least)
{
    struct deployment_event list[200];
    size_t count = deployments_events(desk, TEXT("fake"), 0, list, 200);
    unsigned found = 0;
    for (size_t i = 0; i < count; i++)
        found += strstr(list[i].reason, reason) != NULL;
    if (found < at_least)
        for (size_t i = 0; i < count; i++)
            print_message("%s %s %s\n", list[i].replica, list[i].reason, list[i].words);
    assert_true(found >= at_least);
}

/* ------------------------------------------------------------------------------------ calls */

static struct ticket ticket;
static bool is_granted;

static void on_grant(struct ticket *its)
{
    (void)its;
    is_granted = true;
}

static bool was_granted(void)
{
    return is_granted;
}

static void wait_for_a_place(uint64_t adapter)
{
    ticket = (struct ticket){
        .wish = {.adapter = adapter}, .key = 1, .loop = bench_loop, .on_grant = on_grant};
    is_granted = false;
    if (slots_wait(slots, &ticket, 100, 1 << 20, clock_now_us()) == TICKET_TAKEN)
        is_granted = true;
}

static void give_it_back(void)
{
    slots_give(slots, &ticket.slot, SLOT_FINE, 1000);
}

/* ------------------------------------------------------------------------------------ tests */

static void a_call_that_waits_starts_it_and_idleness_stops_it(void **state)
{
    (void)state;
    want(WORDS("--load-ms", "300"), NULL);
    bench_for(100000);
    assert_true(is_idle());
    wait_for_a_place(0);
    assert_true(bench_until(was_granted));
    assert_null(ticket.why_not);
    struct launch_address address;
    assert_true(slots_address(slots, &ticket.slot, &address));
    assert_true(address.port > 0);
    char name[64];
    assert_int_equal(deployments_served_name(desk, TEXT("fake"), &ticket.slot, name, sizeof name),
                     4);
    assert_string_equal(name, "fake");
    give_it_back();
    assert_true(is_ready());
    saw("ready", 1);
    assert_true(events > 0);
}

static void idle_soon(struct deployment_spec *spec)
{
    spec->scaling.idle_stop_us = BENCH_SECOND;
}

static void who_is_not_asked_any_more_is_stopped(void **state)
{
    (void)state;
    want(WORDS("--load-ms", "10"), idle_soon);
    wait_for_a_place(0);
    assert_true(bench_until(was_granted));
    give_it_back();
    assert_true(bench_until(is_idle));
    assert_true(bench_until(bench_has_no_children));
    wait_for_a_place(0);
    assert_true(bench_until(was_granted));
    give_it_back();
}

static bool has_logs(const char *what)
{
    struct buffer out;
    buffer_init(&out, 1 << 20);
    bool is_there = deployments_logs(desk, TEXT("fake"), TEXT(""), 1000, &out);
    buffer_append(&out, "", 1);
    bool found = is_there && strstr(buffer_text(&out).at, what) != NULL;
    buffer_done(&out);
    return found;
}

static bool has_line(void)
{
    return has_logs("line 5");
}

static void its_page_its_logs_and_its_events_can_be_read(void **state)
{
    (void)state;
    want(WORDS("--log-every-ms", "20", "--load-mb", "30"), with_one);
    assert_true(bench_until(is_ready));
    assert_true(bench_until(has_line));
    bench_for(2 * BENCH_SECOND);
    struct deployment_page *page = deployments_page(desk, TEXT("fake"));
    assert_non_null(page);
    assert_int_equal(page->replica_count, 1);
    assert_int_equal(page->replicas[0].state, REPLICA_READY);
    assert_true(strncmp(page->replicas[0].name, "fake-", 5) == 0);
    assert_string_equal(page->replicas[0].node, "local");
    assert_true(strncmp(page->replicas[0].address, "127.0.0.1:", 10) == 0);
    assert_true(page->replicas[0].memory_bytes > (30 << 20));
    assert_int_equal(page->slots.ready, 1);

    struct buffer out;
    uint64_t next, after;
    buffer_init(&out, 1 << 20);
    assert_true(deployments_logs(desk, TEXT("fake"), text_of(page->replicas[0].name), 2, &out));
    assert_int_equal(
        text_find_byte(text_from(buffer_text(&out), text_find_byte(buffer_text(&out), '\n') + 1),
                       '\n') != SIZE_MAX,
        true);
    buffer_clear(&out);
    assert_true(deployments_logs(desk, TEXT("fake"), TEXT("other"), 10, &out));
    assert_int_equal(buffer_length(&out), 0);
    assert_false(deployments_logs(desk, TEXT("nobody"), TEXT(""), 10, &out));
    assert_true(deployments_follow(desk, TEXT("fake"), 0, NULL, &after));
    bench_for(200000);
    assert_true(deployments_follow(desk, TEXT("fake"), after, &out, &next));
    assert_true(next > after);
    assert_true(buffer_length(&out) > 0);
    buffer_clear(&out);
    assert_true(deployments_follow(desk, TEXT("fake"), 0, &out, &next));
    assert_true(text_find(buffer_text(&out), TEXT("ready")) != SIZE_MAX);
    buffer_done(&out);
    deployment_page_free(page);

    struct text names[4];
    struct buffer memory;
    buffer_init(&memory, 1024);
    assert_int_equal(deployments_names(desk, names, 4, &memory), 1);
    assert_true(text_equal(names[0], TEXT("fake")));
    buffer_done(&memory);
}

static void a_server_that_crashes_comes_back_and_in_the_end_is_given_up(void **state)
{
    (void)state;
    want(WORDS("--crash-after-ms", "150", "--exit-code", "7"), with_one);
    assert_true(bench_until(is_ready));
    assert_true(bench_until(is_backing_off));
    assert_true(bench_until(is_ready));
    saw("exit:7", 1);
}

static void what_cannot_be_started_fails_at_once_and_says_why(void **state)
{
    (void)state;
    struct deployment_spec *plain = bench_spec("/no/such/server", WORDS("x"));
    with_one(plain);
    plain->digest = spec_digest(plain);
    configure(plain);
    spec_unref(plain);
    wait_for_a_place(0);
    assert_true(bench_until(was_granted));
    assert_non_null(ticket.why_not);
    assert_true(bench_until(has_failed));
    saw("exec_failed", 1);
}

static void one_that_crashes_at_once_is_given_up(void **state)
{
    (void)state;
    want(WORDS("--exit-at-once", "1"), with_one);
    assert_true(bench_until(has_failed));
}

static bool has_restarted(void)
{
    struct deployment_page *page = deployments_page(desk, TEXT("fake"));
    bool is_so = page && page->view.restarts > 0;
    deployment_page_free(page);
    return is_so;
}

static void one_that_hangs_is_ended_and_started_anew(void **state)
{
    (void)state;
    want(WORDS("--hang-after-ms", "500"), with_one);
    assert_true(bench_until(is_ready));
    assert_true(bench_until(has_restarted));
    saw("probe", 1);
}

static void other_model(struct deployment_spec *spec)
{
    with_one(spec);
    spec->engine = ENGINE_VLLM;
    spec->served_name = TEXT("another");
    spec->probe.start_timeout_us = 2 * BENCH_SECOND;
}

static void a_server_of_another_model_never_takes_a_call(void **state)
{
    (void)state;
    want(WORDS("--model", "wrong"), other_model);
    bench_for(BENCH_SECOND);
    assert_int_equal(slots_figures(slots).ready, 0);
    struct deployment_page *page = deployments_page(desk, TEXT("fake"));
    assert_non_null(strstr(page->replicas[0].words, "another model"));
    deployment_page_free(page);
}

/* Another worker's, or the admin's. */
static void *read_on(void *with)
{
    atomic_bool *stop = with;
    struct buffer out;
    uint64_t next = 0;
    buffer_init(&out, 1 << 20);
    while (!atomic_load(stop)) {
        struct fleet_view view;
        char name[64];
        deployment_page_free(deployments_page(desk, TEXT("fake")));
        deployments_look(desk, TEXT("fake"), &view);
        deployments_logs(desk, TEXT("fake"), TEXT(""), 10, &out);
        deployments_follow(desk, TEXT("fake"), next, &out, &next);
        buffer_clear(&out);
        struct slot slot;
        if (slots_take(slots, &(struct slots_wish){.revision = 0}, &slot)) {
            deployments_served_name(desk, TEXT("fake"), &slot, name, sizeof name);
            slots_give(slots, &slot, SLOT_FINE, 0);
        }
        usleep(500);
    }
    buffer_done(&out);
    return NULL;
}

static void others_read_while_it_works(void **state)
{
    (void)state;
    pthread_t thread;
    atomic_bool stop = false;
    want(WORDS("--crash-after-ms", "200", "--log-every-ms", "5"), with_one);
    assert_int_equal(pthread_create(&thread, NULL, read_on, &stop), 0);
    bool came = bench_until(is_ready) && bench_until(has_restarted) && bench_until(is_ready);
    atomic_store(&stop, true);
    pthread_join(thread, NULL);
    assert_true(came);
}

/* --------------------------------------------------------------------------------- adapters */

static const struct adapter_spec two[] = {{{"legal", 5}, {"/a/legal", 8}},
                                          {{"bad", 3}, {"/a/bad", 6}}};

static void with_adapters(struct deployment_spec *spec)
{
    with_one(spec);
    spec->engine = ENGINE_VLLM;
    spec->adapters = two;
    spec->adapter_count = 2;
}

static bool adapters_are_settled(void)
{
    struct deployment_page *page = deployments_page(desk, TEXT("fake"));
    bool is_so = page && page->adapter_count == 2 && page->adapters[0].ready == 1 &&
                 page->adapters[1].failed == 1;
    deployment_page_free(page);
    return is_so;
}

static void adapters_are_loaded_before_they_are_asked_for_and_a_bad_one_harms_nobody(void **state)
{
    (void)state;
    want(WORDS("--fail-lora", "/a/bad", "--lora-ms", "200"), with_adapters);
    wait_for_a_place(hash_name(TEXT("legal")));
    assert_true(bench_until(was_granted));
    struct adapter_wire wire;
    assert_true(deployments_adapter(desk, TEXT("fake"), &ticket.slot, TEXT("legal"), &wire));
    assert_int_equal(wire.kind, ADAPTER_AS_MODEL);
    assert_true(strncmp(wire.name, "legal__", 7) == 0);
    assert_false(deployments_adapter(desk, TEXT("fake"), &ticket.slot, TEXT("none"), &wire));
    give_it_back();
    assert_true(bench_until(adapters_are_settled));
    saw("adapter_failed", 1);
    assert_true(is_ready());
    assert_true(has_logs("adapter legal__"));
}

static void llama(struct deployment_spec *spec)
{
    with_adapters(spec);
    spec->engine = ENGINE_LLAMA_CPP;
}

static void llama_adapters_have_numbers(void **state)
{
    (void)state;
    want(WORDS("--lora", "/own"), llama);
    wait_for_a_place(hash_name(TEXT("bad")));
    assert_true(bench_until(was_granted));
    struct adapter_wire wire;
    assert_true(deployments_adapter(desk, TEXT("fake"), &ticket.slot, TEXT("bad"), &wire));
    assert_int_equal(wire.kind, ADAPTER_AS_NUMBER);
    assert_int_equal(wire.number, 2);
    give_it_back();
}

/* ------------------------------------------------------------------------------------ sleep */

static void sleepy(struct deployment_spec *spec)
{
    spec->engine = ENGINE_VLLM;
    spec->sleep_first = true;
}

static bool sleeps(void)
{
    struct deployment_page *page = deployments_page(desk, TEXT("fake"));
    bool is_so = page && page->replica_count == 1 && page->replicas[0].state == REPLICA_SLEEPING;
    deployment_page_free(page);
    return is_so;
}

static void one_that_sleeps_is_woken_by_a_call(void **state)
{
    (void)state;
    const char *why;
    want(WORDS("--load-ms", "10"), sleepy);
    wait_for_a_place(0);
    assert_true(bench_until(was_granted));
    give_it_back();
    assert_true(deployments_obey(desk, TEXT("fake"), FLEET_SLEEP, 0, 0, &why));
    assert_true(bench_until(sleeps));
    wait_for_a_place(0);
    assert_true(bench_until(was_granted));
    assert_null(ticket.why_not);
    give_it_back();
}

/* ------------------------------------------------------------------------------------ orders */

static bool is_stopped(void)
{
    return state_now() == DEPLOYMENT_STOPPED;
}

static bool is_gone(void)
{
    return state_now() == DEPLOYMENT_STATES;
}

static void orders_are_obeyed(void **state)
{
    (void)state;
    const char *why = NULL;
    want(WORDS("--load-ms", "10"), with_one);
    assert_true(bench_until(is_ready));
    assert_true(deployments_obey(desk, TEXT("fake"), FLEET_STOP, 0, 0, &why));
    assert_true(bench_until(is_stopped));
    assert_true(bench_until(bench_has_no_children));
    assert_true(deployments_obey(desk, TEXT("fake"), FLEET_START, 0, 0, &why));
    assert_true(bench_until(is_ready));
    assert_false(deployments_obey(desk, TEXT("nobody"), FLEET_START, 0, 0, &why));
    assert_non_null(why);
    deployments_configure(desk, NULL, 0, NULL, 0);
    assert_true(bench_until(is_gone));
    assert_true(bench_until(bench_has_no_children));
    assert_true(has_logs("model loaded")); /* for a day */
}

static bool has_two_revisions_done(void)
{
    struct deployment_page *page = deployments_page(desk, TEXT("fake"));
    bool is_so = page && page->view.state == DEPLOYMENT_READY && page->view.stable == 2;
    deployment_page_free(page);
    return is_so;
}

static void a_new_revision_takes_over_without_a_gap(void **state)
{
    (void)state;
    want(WORDS("--load-ms", "10"), with_one);
    assert_true(bench_until(is_ready));
    want(WORDS("--load-ms", "300"), with_one);
    for (int i = 0; i < 400 && !has_two_revisions_done(); i++) {
        struct slots_wish wish = {.revision = 0};
        struct slot slot;
        assert_true(slots_take(slots, &wish, &slot));
        slots_give(slots, &slot, SLOT_FINE, 0);
        bench_for(20000);
    }
    assert_true(has_two_revisions_done());
}

/* ----------------------------------------------------------------------------- taking over */

static pid_t server_pid(void)
{
    char path[100], line[32];
    snprintf(path, sizeof path, "%s/pid", bench_state);
    FILE *file = fopen(path, "re");
    assert_non_null(file);
    assert_non_null(fgets(line, sizeof line, file));
    fclose(file);
    return (pid_t)strtol(line, NULL, 10);
}

static bool has_told_its_pid(void)
{
    return has_logs("process ");
}

static void be_killed_with_a_server(void)
{
    struct buffer out;
    open_wire();
    open_desk(false);
    want(WORDS("--load-ms", "10"), with_one);
    if (!bench_until(is_ready) ||
        !bench_until(has_told_its_pid)) /* its log may come later than its answer */
        _exit(1);
    buffer_init(&out, 1 << 16);
    deployments_logs(desk, TEXT("fake"), TEXT(""), 100, &out);
    buffer_append(&out, "", 1);
    const char *at = strstr(buffer_text(&out).at, "process ");
    char path[100];
    snprintf(path, sizeof path, "%s/pid", bench_state);
    FILE *file = fopen(path, "we");
    fprintf(file, "%ld\n", strtol(at + 8, NULL, 10));
    fclose(file);
    kill(getpid(), SIGKILL);
}

static void after_a_kill_the_next_one_takes_over_and_starts_none(void **state)
{
    (void)state;
    pid_t child = child_fork();
    if (child == 0)
        be_killed_with_a_server();
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status));
    pid_t server = server_pid();
    assert_int_equal(kill(server, 0), 0);
    open_wire();
    open_desk(false);
    want(WORDS("--load-ms", "10"), with_one);
    assert_true(bench_until(is_ready));
    saw("adopted", 1);
    assert_true(bench_has_no_children());
    assert_int_equal(kill(server, 0), 0);
    close_desk();
    assert_int_equal(process_began(server), 0); /* whoever has to bury it */
    close_wire();
}

static int open_folder(void **state)
{
    (void)state;
    bench_open();
    return 0;
}

static int close_folder(void **state)
{
    (void)state;
    bench_close();
    return bench_has_no_children() ? 0 : -1;
}

static void with_leave_servers_outlive_the_desk_and_are_found_again(void **state)
{
    (void)state;
    open_wire();
    open_desk(true);
    want(WORDS("--load-ms", "10"), with_one);
    assert_true(bench_until(is_ready));
    close_desk();
    assert_int_equal(waitpid(-1, NULL, WNOHANG), 0); /* it lives */
    open_desk(false);
    want(WORDS("--load-ms", "10"), with_one);
    assert_true(bench_until(is_ready));
    saw("adopted", 1);
    close_desk();
    while (waitpid(-1, NULL, WNOHANG) > 0)
        continue;
    close_wire();
}

static void it_ends_in_time_whatever_its_servers_do(void **state)
{
    (void)state;
    open_wire();
    open_desk(false);
    want(WORDS("--ignore-term", "1"), with_one);
    assert_true(bench_until(is_ready));
    uint64_t begun = clock_now_us();
    is_done = false;
    deployments_end(desk, begun + 2 * BENCH_SECOND, on_done, NULL);
    assert_true(bench_until(has_ended));
    assert_true(clock_now_us() - begun < 8 * BENCH_SECOND);
    deployments_free(desk);
    loop_clear(bench_loop);
    while (waitpid(-1, NULL, 0) > 0)
        continue;
    close_wire();
}

#define TEST(name)  cmocka_unit_test_setup_teardown(name, open_bench, close_bench)
#define AFTER(name) cmocka_unit_test_setup_teardown(name, open_folder, close_folder)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_call_that_waits_starts_it_and_idleness_stops_it),
        TEST(who_is_not_asked_any_more_is_stopped),
        TEST(its_page_its_logs_and_its_events_can_be_read),
        TEST(a_server_that_crashes_comes_back_and_in_the_end_is_given_up),
        TEST(what_cannot_be_started_fails_at_once_and_says_why),
        TEST(one_that_crashes_at_once_is_given_up),
        TEST(one_that_hangs_is_ended_and_started_anew),
        TEST(a_server_of_another_model_never_takes_a_call),
        TEST(others_read_while_it_works),
        TEST(adapters_are_loaded_before_they_are_asked_for_and_a_bad_one_harms_nobody),
        TEST(llama_adapters_have_numbers),
        TEST(one_that_sleeps_is_woken_by_a_call),
        TEST(orders_are_obeyed),
        TEST(a_new_revision_takes_over_without_a_gap),
        AFTER(after_a_kill_the_next_one_takes_over_and_starts_none),
        AFTER(with_leave_servers_outlive_the_desk_and_are_found_again),
        AFTER(it_ends_in_time_whatever_its_servers_do),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
