/* SPDX-License-Identifier: Apache-2.0 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "gateway/base/memory.h"
#include "gateway/webhook.h"

/* cmocka wants the headers above. */
#include <cmocka.h>

/* ------------------------------------------------------------------------- the other side */

/* Answers each question with the next of its words: a body, or something out of the ordinary. */
struct server {
    pthread_t thread;
    int fd;
    uint16_t port;
    const char *const *answers; /* NULL behind the last */
    char seen[16384];           /* all questions, one after the other */
    unsigned connections;
};

static size_t read_question(int fd, char *into, size_t room)
{
    size_t len = 0;
    for (;;) {
        into[len] = '\0';
        const char *end = strstr(into, "\r\n\r\n"), *length = strstr(into, "Content-Length: ");
        if (end && length) {
            size_t body = (size_t)(end + 4 - into) + (size_t)atol(length + 16);
            if (len >= body)
                return len;
        }
        ssize_t got = read(fd, into + len, room - len - 1);
        if (got <= 0)
            return 0;
        len += (size_t)got;
    }
}

static void send_answer(int fd, const char *body)
{
    static const char failed[] = "HTTP/1.1 500 Oops\r\nContent-Length: 2\r\n\r\n{}";
    char head[100];
    if (strcmp(body, "500") == 0) {
        assert_true(write(fd, failed, sizeof(failed) - 1) > 0);
        return;
    }
    int len = snprintf(head, sizeof(head), "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n",
                       strlen(body));
    assert_true(write(fd, head, (size_t)len) == len);
    (void)!write(fd, body, strlen(body)); /* a long one is not read to its end */
}

static void *serve(void *with)
{
    struct server *server = with;
    size_t at = 0, seen = 0;
    while (server->answers[at]) {
        int fd = accept(server->fd, NULL, NULL);
        if (fd < 0)
            return NULL;
        server->connections++;
        size_t len;
        bool cut = false;
        while (!cut && server->answers[at] &&
               (len = read_question(fd, server->seen + seen, sizeof(server->seen) - seen))) {
            const char *answer = server->answers[at++];
            seen += len;
            cut = strcmp(answer, "cut") == 0;
            if (strcmp(answer, "silence") == 0)
                usleep(300000);
            else if (!cut)
                send_answer(fd, answer);
        }
        close(fd);
    }
    return NULL;
}

static void server_start(struct server *server, const char *const *answers)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t len = sizeof(address);
    *server = (struct server){.answers = answers};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    server->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(server->fd, (struct sockaddr *)&address, len), 0);
    assert_int_equal(listen(server->fd, 16), 0);
    assert_int_equal(getsockname(server->fd, (struct sockaddr *)&address, &len), 0);
    server->port = ntohs(address.sin_port);
    assert_int_equal(pthread_create(&server->thread, NULL, serve, server), 0);
}

static void server_stop(struct server *server)
{
    shutdown(server->fd, SHUT_RDWR);
    pthread_join(server->thread, NULL);
    close(server->fd);
}

/* ------------------------------------------------------------------------------ our side */

struct asking {
    struct webhook_call call;
    struct loop *loop;
    struct webhooks *webhooks;
    unsigned times;
    bool done;
    struct timer giving_up;
};

static void start(struct asking *asking);

static void on_done(struct webhook_call *call)
{
    struct asking *asking = LIST_MEMBER(call, struct asking, call);
    assert_false(asking->done);
    if (--asking->times) {
        webhook_forget(call);
        start(asking);
        return;
    }
    asking->done = true;
    loop_stop(asking->loop);
}

static void on_give_up(struct timer *timer)
{
    struct asking *asking = LIST_MEMBER(timer, struct asking, giving_up);
    webhook_forget(&asking->call);
    loop_stop(asking->loop);
}

#define BODY "{\"messages\":[{\"content\":\"one\"},{\"content\":\"t\\u0077o\"}]}"

static char url[64];

static struct guard_rule rule_at(uint16_t port)
{
    snprintf(url, sizeof(url), "http://127.0.0.1:%u/check", port);
    return (struct guard_rule){
        .name = TEXT("hook"), .type = GUARD_WEBHOOK, .url = text_of(url), .timeout_us = 100000};
}

static void start(struct asking *asking)
{
    asking->call = (struct webhook_call){.webhooks = asking->webhooks,
                                         .rules = UINT64_MAX,
                                         .form = GUARD_FORM_REQUEST,
                                         .body = TEXT(BODY),
                                         .tenant = TEXT("acme"),
                                         .key = TEXT("ci"),
                                         .model = TEXT("fa\"st"),
                                         .request_id = TEXT("req_1"),
                                         .done = on_done};
    webhook_ask(&asking->call);
}

/* Ask <count> rules about BODY, several times one after the other; <asking> is the last. */
static void ask(const struct guard_rule *rules, size_t count, unsigned times, int64_t give_up_us,
                struct asking *asking)
{
    struct fault fault;
    struct loop *loop = loop_new();
    struct dns *dns = dns_new(loop);
    struct upstreams *upstreams = upstreams_new(loop, dns);
    struct guard *guard = guard_new(rules, count, &fault);
    assert_non_null(guard);
    struct webhooks *webhooks = webhooks_new(loop, upstreams, guard);
    *asking = (struct asking){.loop = loop, .webhooks = webhooks, .times = times};
    asking->giving_up.on_time = on_give_up;
    if (give_up_us)
        timer_set(loop, &asking->giving_up, loop_now_us(loop) + (uint64_t)give_up_us);
    start(asking);
    loop_run(loop, NULL, NULL); /* ends at once when it is done already */
    timer_stop(&asking->giving_up);
    webhooks_free(webhooks);
    loop_clear(loop);
    upstreams_free(upstreams);
    dns_free(dns);
    loop_free(loop);
    if (asking->call.verdict.rule)
        assert_string_equal(asking->call.verdict.rule, "hook");
    asking->call.verdict.rule = NULL;
    guard_free(guard);
}

static void the_question_is_what_was_promised(void **state)
{
    (void)state;
    struct server server;
    struct asking asking;
    server_start(&server, (const char *const[]){"{\"action\":\"allow\"}", NULL});
    struct guard_rule rule = rule_at(server.port);
    ask(&rule, 1, 1, 0, &asking);
    server_stop(&server);
    assert_true(asking.done && !asking.call.verdict.blocks && !asking.call.verdict.matched);
    assert_non_null(strstr(server.seen, "POST /check HTTP/1.1\r\nHost: 127.0.0.1:"));
    assert_non_null(strstr(server.seen, "Content-Type: application/json\r\n"));
    assert_non_null(strstr(server.seen,
                           "\r\n\r\n{\"stage\":\"request\",\"tenant\":\"acme\",\"key\":\"ci\","
                           "\"model\":\"fa\\\"st\",\"request_id\":\"req_1\",\"texts\":[\"one\","
                           "\"two\"]}"));
    webhook_forget(&asking.call);
}

static void verdicts(void **state)
{
    (void)state;
    static const struct {
        const char *answer;
        bool matched, blocks, failed, changed;
        const char *message;
    } cases[] = {
        {"{\"action\":\"allow\",\"more\":[1]}", false, false, false, false, ""},
        {"{\"action\":\"flag\"}", true, false, false, false, ""},
        {"{\"action\":\"block\",\"message\":\"not \\u00e4 this\\nway\"}", true, true, false, false,
         "not ä this"},
        {"{\"action\":\"block\"}", true, true, false, false, ""},
        {"{\"action\":\"redact\",\"texts\":[\"one\",\"x\"]}", true, false, false, true, ""},
        {"{\"action\":\"redact\",\"texts\":[\"one\"]}", true, true, true, false, NULL},
        {"{\"action\":\"redact\",\"texts\":[\"one\",2]}", true, true, true, false, NULL},
        {"{\"action\":\"redact\"}", true, true, true, false, NULL},
        {"{\"action\":\"explode\"}", true, true, true, false, NULL},
        {"{\"action\":null}", true, true, true, false, NULL},
        {"[]", true, true, true, false, NULL},
        {"{\"action\":\"allow\"", true, true, true, false, NULL},
        {"500", true, true, true, false, NULL},
        {"silence", true, true, true, false, NULL},
        {"cut", true, true, true, false, NULL},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct server server;
        struct asking asking;
        server_start(&server, (const char *const[]){cases[i].answer, NULL});
        struct guard_rule rule = rule_at(server.port);
        ask(&rule, 1, 1, 0, &asking);
        server_stop(&server);
        const struct guard_verdict *verdict = &asking.call.verdict;
        print_message("%s -> '%s'\n", cases[i].answer, asking.call.message);
        assert_true(asking.done);
        assert_int_equal(verdict->matched, cases[i].matched);
        assert_int_equal(verdict->blocks, cases[i].blocks);
        assert_int_equal(asking.call.failed, cases[i].failed);
        assert_int_equal(verdict->changed, cases[i].changed);
        if (cases[i].message)
            assert_string_equal(asking.call.message, cases[i].message);
        if (verdict->changed)
            assert_true(
                text_equal(buffer_text(&asking.call.out),
                           TEXT("{\"messages\":[{\"content\":\"one\"},{\"content\":\"x\"}]}")));
        webhook_forget(&asking.call);
        webhook_forget(&asking.call);
    }
}

static void a_failure_may_be_allowed(void **state)
{
    (void)state;
    struct server server;
    struct asking asking;
    server_start(&server, (const char *const[]){"500", "silence", NULL});
    struct guard_rule rule = rule_at(server.port);
    rule.allow_on_error = true;
    ask(&rule, 1, 2, 0, &asking);
    server_stop(&server);
    assert_true(asking.done && !asking.call.verdict.blocks && !asking.call.failed);
    webhook_forget(&asking.call);
    /* Nobody listens any more. */
    ask(&rule, 1, 1, 0, &asking);
    assert_true(asking.done && !asking.call.verdict.blocks);
    webhook_forget(&asking.call);
    rule.allow_on_error = false;
    ask(&rule, 1, 1, 0, &asking);
    assert_true(asking.done && asking.call.verdict.blocks && asking.call.failed);
    webhook_forget(&asking.call);
}

static void a_rule_that_flags_stops_nothing(void **state)
{
    (void)state;
    struct server server;
    struct asking asking;
    server_start(&server, (const char *const[]){"{\"action\":\"redact\",\"texts\":[\"a\",\"b\"]}",
                                                "{\"action\":\"block\",\"message\":\"no\"}", NULL});
    struct guard_rule rule = rule_at(server.port);
    rule.action = GUARD_FLAG;
    ask(&rule, 1, 2, 0, &asking);
    server_stop(&server);
    assert_true(asking.call.verdict.matched == 1 && !asking.call.verdict.blocks &&
                !asking.call.verdict.changed);
    webhook_forget(&asking.call);
}

static void the_next_rule_sees_what_the_one_before_made(void **state)
{
    (void)state;
    struct server server;
    struct asking asking;
    server_start(&server, (const char *const[]){
                              "{\"action\":\"redact\",\"texts\":[\"one\",\"hidden\"]}",
                              "{\"action\":\"redact\",\"texts\":[\"first\",\"hidden\"]}", NULL});
    struct text pattern = TEXT("one");
    struct guard_rule rules[] = {rule_at(server.port),
                                 {.name = TEXT("re"), .patterns = &pattern, .pattern_count = 1},
                                 rule_at(server.port)};
    ask(rules, 3, 1, 0, &asking);
    server_stop(&server);
    assert_int_equal(asking.call.verdict.matched, 5);
    assert_non_null(strstr(server.seen, "\"texts\":[\"one\",\"hidden\"]"));
    assert_int_equal(server.connections, 1);
    assert_true(
        text_equal(buffer_text(&asking.call.out),
                   TEXT("{\"messages\":[{\"content\":\"first\"},{\"content\":\"hidden\"}]}")));
    webhook_forget(&asking.call);
}

static void a_stale_connection_is_tried_anew(void **state)
{
    (void)state;
    struct server server;
    struct asking asking;
    server_start(&server, (const char *const[]){"{\"action\":\"allow\"}", "cut",
                                                "{\"action\":\"allow\"}", NULL});
    struct guard_rule rule = rule_at(server.port);
    ask(&rule, 1, 2, 0, &asking);
    server_stop(&server);
    assert_true(asking.done && !asking.call.verdict.blocks);
    assert_int_equal(server.connections, 2);
    webhook_forget(&asking.call);
}

static void it_can_be_given_up(void **state)
{
    (void)state;
    struct server server;
    struct asking asking;
    server_start(&server, (const char *const[]){"silence", NULL});
    struct guard_rule rule = rule_at(server.port);
    rule.timeout_us = 10000000;
    ask(&rule, 1, 1, 30000, &asking);
    server_stop(&server);
    assert_false(asking.done);
}

static void an_answer_has_its_bounds(void **state)
{
    (void)state;
    struct server server;
    struct asking asking;
    size_t len = WEBHOOK_ANSWER_MAX + 100;
    char *answer = malloc(len + 1);
    memset(answer, ' ', len);
    memcpy(answer, "{\"action\":\"allow\"}", 18);
    answer[len] = '\0';
    signal(SIGPIPE, SIG_IGN);
    server_start(&server, (const char *const[]){answer, NULL});
    struct guard_rule rule = rule_at(server.port);
    rule.timeout_us = 5000000;
    ask(&rule, 1, 1, 0, &asking);
    server_stop(&server);
    assert_true(asking.call.verdict.blocks && asking.call.failed);
    webhook_forget(&asking.call);
    free(answer);
}

static void nobody_is_sent_to_the_metadata_service(void **state)
{
    (void)state;
    struct guard_rule rule = {.name = TEXT("hook"), .type = GUARD_WEBHOOK};
    struct asking asking;
    rule.url = TEXT("http://169.254.169.254/latest");
    rule.timeout_us = 5000000;
    ask(&rule, 1, 1, 0, &asking);
    assert_true(asking.call.verdict.blocks && asking.call.failed);
    webhook_forget(&asking.call);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_question_is_what_was_promised),
        cmocka_unit_test(verdicts),
        cmocka_unit_test(a_failure_may_be_allowed),
        cmocka_unit_test(a_rule_that_flags_stops_nothing),
        cmocka_unit_test(the_next_rule_sees_what_the_one_before_made),
        cmocka_unit_test(a_stale_connection_is_tried_anew),
        cmocka_unit_test(it_can_be_given_up),
        cmocka_unit_test(an_answer_has_its_bounds),
        cmocka_unit_test(nobody_is_sent_to_the_metadata_service),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
