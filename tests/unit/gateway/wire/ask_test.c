/* SPDX-License-Identifier: Apache-2.0 */
/* What is asked, and what becomes of it; the other side is the end of a socket that is at hand. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "gateway/base/memory.h"
#include "gateway/base/version.h"
#include "gateway/wire/ask.h"

/* cmocka wants the headers above. */
#include <cmocka.h>

enum { PATIENCE_US = 10000000, MOMENT_US = 20000, ENDS = 4 };

struct side {
    struct loop *loop;
    struct dns *dns;
    struct upstreams *upstreams;
    struct upstream_pool *pool;
    struct ask ask;
    const char *says[ENDS]; /* on each connection, as soon as there is one; NULL = nothing */
    int ends[ENDS];
    unsigned connections, over, heads;
    char problem[128];
    struct timer giving_up;
};

static int on_connect(void *with)
{
    struct side *side = with;
    int pair[2];
    assert_true(side->connections < ENDS);
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) != 0)
        return -1;
    const char *says = side->says[side->connections];
    side->ends[side->connections++] = pair[1];
    if (says)
        assert_int_equal(write(pair[1], says, strlen(says)), strlen(says));
    return pair[0];
}

static void on_head(struct ask *ask, const struct head *head)
{
    LIST_MEMBER(ask, struct side, ask)->heads++;
    assert_int_equal(ask->status, head->status);
}

static void on_over(struct ask *ask, const char *problem)
{
    struct side *side = LIST_MEMBER(ask, struct side, ask);
    side->over++;
    assert_false(ask_is_busy(ask));
    strncpy(side->problem, problem ? problem : "", sizeof(side->problem) - 1);
    loop_stop(side->loop);
}

static void on_give_up(struct timer *timer)
{
    struct side *side = LIST_MEMBER(timer, struct side, giving_up);
    ask_stop(&side->ask);
    loop_stop(side->loop);
}

static int set_up(void **state)
{
    struct side *side = memory_new(sizeof(*side));
    struct fault fault;
    struct upstream_place place = {.host = "there",
                                   .port = 80,
                                   .connect_us = PATIENCE_US,
                                   .idle_us = PATIENCE_US,
                                   .max_connections = 1,
                                   .max_idle = 1,
                                   .connect = on_connect,
                                   .with = side};
    side->loop = loop_new();
    side->dns = dns_new(side->loop);
    side->upstreams = upstreams_new(side->loop, side->dns);
    side->pool = upstream_pool_ref(side->upstreams, &place, &fault);
    side->giving_up.on_time = on_give_up;
    side->ask = (struct ask){.loop = side->loop,
                             .timeout_us = PATIENCE_US,
                             .answer_max = 8,
                             .on_head = on_head,
                             .on_over = on_over};
    assert_non_null(side->pool);
    *state = side;
    return 0;
}

static int tear_down(void **state)
{
    struct side *side = *state;
    ask_done(&side->ask);
    timer_stop(&side->giving_up);
    upstream_pool_unref(side->pool);
    loop_clear(side->loop);
    upstreams_free(side->upstreams);
    dns_free(side->dns);
    loop_clear(side->loop);
    loop_free(side->loop);
    for (unsigned i = 0; i < side->connections; i++)
        close(side->ends[i]);
    memory_free(side);
    return 0;
}

static void run(struct side *side)
{
    ask_begin(&side->ask, side->pool, TEXT("POST / HTTP/1.1\r\n\r\n"), TEXT("body"));
    if (side->ask.busy)
        loop_run(side->loop, NULL, NULL);
    else
        loop_clear(side->loop);
}

static void assert_asked(struct side *side, unsigned connection)
{
    char asked[64] = "";
    assert_true(read(side->ends[connection], asked, sizeof(asked) - 1) > 0);
    assert_string_equal(asked, "POST / HTTP/1.1\r\n\r\nbody");
}

#define HEAD(length) "HTTP/1.1 200 OK\r\nContent-Length: " length "\r\n\r\n"

static void an_answer_is_whole(void **state)
{
    struct side *side = *state;
    side->says[0] = HEAD("8") "12345678";
    run(side);
    assert_int_equal(side->over, 1);
    assert_string_equal(side->problem, "");
    assert_int_equal(side->ask.status, 200);
    assert_true(text_equal(buffer_text(&side->ask.answer), TEXT("12345678")));
    assert_asked(side, 0);
    const char again[] = HEAD("2") "ok"; /* over the same connection */
    ask_begin(&side->ask, side->pool, TEXT("GET /2 HTTP/1.1\r\n\r\n"), TEXT(""));
    assert_int_equal(write(side->ends[0], again, sizeof(again) - 1), sizeof(again) - 1);
    loop_run(side->loop, NULL, NULL);
    assert_int_equal(side->over, 2);
    assert_int_equal(side->heads, 2);
    assert_int_equal(side->connections, 1);
    assert_true(text_equal(buffer_text(&side->ask.answer), TEXT("ok")));
}

static void a_long_one_is_a_problem(void **state)
{
    struct side *side = *state;
    side->says[0] = HEAD("9") "123456789";
    run(side);
    assert_int_equal(side->over, 1);
    assert_string_equal(side->problem, "the answer is too long");
}

static void or_is_cut(void **state)
{
    struct side *side = *state;
    side->ask.when_long = ASK_CUT;
    side->says[0] = HEAD("1000") "123456789"; /* the rest is not waited for */
    run(side);
    assert_int_equal(side->over, 1);
    assert_string_equal(side->problem, "");
    assert_true(text_equal(buffer_text(&side->ask.answer), TEXT("12345678")));
}

static void a_status_may_be_enough(void **state)
{
    struct side *side = *state;
    side->ask.when_long = ASK_CUT;
    side->ask.answer_max = 0;
    side->says[0] = "HTTP/1.1 503 No\r\nContent-Length: 1000\r\n\r\n";
    run(side);
    assert_int_equal(side->over, 1);
    assert_string_equal(side->problem, "");
    assert_int_equal(side->ask.status, 503);
}

static void all_of_it_has_one_deadline(void **state)
{
    struct side *side = *state;
    side->ask.timeout_us = MOMENT_US;
    side->says[0] = HEAD("8") "1234";
    run(side);
    assert_int_equal(side->over, 1);
    assert_string_equal(side->problem, "it did not answer in time");
}

static void what_breaks_off_is_a_problem(void **state)
{
    struct side *side = *state;
    side->says[0] = "HTTP/1.1 nonsense\r\n\r\n";
    run(side);
    assert_int_equal(side->over, 1);
    assert_true(side->problem[0]);
    assert_false(side->ask.is_ours);
}

/* The other side closes a connection that was kept, at the moment that it is used again. */
static void a_stale_connection_is_no_problem(void **state)
{
    struct side *side = *state;
    side->says[0] = HEAD("1") "1";
    side->says[1] = HEAD("1") "2";
    run(side);
    shutdown(side->ends[0], SHUT_RDWR);
    run(side);
    assert_int_equal(side->over, 2);
    assert_int_equal(side->connections, 2);
    assert_string_equal(side->problem, "");
    assert_true(text_equal(buffer_text(&side->ask.answer), TEXT("2")));
    assert_asked(side, 1);
}

static void who_stops_hears_no_more(void **state)
{
    struct side *side = *state;
    side->says[0] = NULL;
    timer_set(side->loop, &side->giving_up, loop_now_us(side->loop) + MOMENT_US);
    run(side);
    assert_int_equal(side->over, 0);
    assert_false(ask_is_busy(&side->ask));
    side->says[1] = HEAD("1") "2";
    run(side);
    assert_int_equal(side->over, 1);
}

static void assert_head(const char *address, const struct text *path, const char *expected)
{
    struct url url;
    const char *problem;
    struct buffer out;
    assert_true(url_read(text_of(address), &url, &problem));
    buffer_init(&out, 4096);
    ask_put_head(&out, "GET", &url, path, NULL);
    char *words = memory_string(buffer_text(&out));
    assert_string_equal(words, expected);
    memory_free(words);
    buffer_done(&out);
}

#define AGENT "\r\nUser-Agent: sluice/" PROGRAM_VERSION "\r\n"

static void heads_name_their_host(void **state)
{
    (void)state;
    struct text query = TEXT("/a?b=c"), bare = TEXT("?b=c");
    assert_head("http://a.test", NULL, "GET / HTTP/1.1\r\nHost: a.test" AGENT);
    assert_head("http://a.test:81/x", NULL, "GET /x HTTP/1.1\r\nHost: a.test:81" AGENT);
    assert_head("https://a.test:443/x", &query, "GET /a?b=c HTTP/1.1\r\nHost: a.test" AGENT);
    assert_head("http://[::1]:81", &bare, "GET /?b=c HTTP/1.1\r\nHost: [::1]:81" AGENT);
    assert_head("http+unix:///run/a:/v1", NULL, "GET /v1 HTTP/1.1\r\nHost: localhost" AGENT);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(an_answer_is_whole),
        TEST(a_long_one_is_a_problem),
        TEST(or_is_cut),
        TEST(a_status_may_be_enough),
        TEST(all_of_it_has_one_deadline),
        TEST(what_breaks_off_is_a_problem),
        TEST(a_stale_connection_is_no_problem),
        TEST(who_stops_hears_no_more),
        cmocka_unit_test(heads_name_their_host),
    };
    return cmocka_run_group_tests_name("ask", tests, NULL, NULL);
}
