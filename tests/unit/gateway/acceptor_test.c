/* SPDX-License-Identifier: Apache-2.0 */
/* What happens when nobody can be accepted, and who gives way when descriptors are short. */
#include <arpa/inet.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "gateway/acceptor.h"
#include "gateway/base/descriptors.h"
#include "gateway/base/memory.h"
#include "gateway/client.h"
#include "gateway/worker_inside.h"

/* cmocka wants the headers above. */
#include <cmocka.h>

/* --------------------------------------------------------- what stands for the rest of a worker */

static unsigned let_in, closed;
static bool (*make_room)(void *with);

void client_new(struct worker *worker, struct worker_listener *listener, int fd,
                const struct sockaddr_storage *from)
{
    (void)listener, (void)from;
    let_in++;
    close(fd);
    loop_stop(worker->loop);
}

bool client_is_idle(const struct client *client)
{
    return client->state == CLIENT_HEAD;
}

/* As of those whose request has come: <resumed> says that it has. */
bool client_close_idle(struct client *client)
{
    if (client->resumed) {
        client->unread = true;
        return false;
    }
    client->state = CLIENT_CLOSED;
    closed++;
    return true;
}

void upstreams_on_full(struct upstreams *upstreams, bool (*room)(void *with), void *with)
{
    (void)upstreams, (void)with;
    make_room = room;
}

bool upstreams_close_idle(struct upstreams *upstreams, uint64_t before_us)
{
    (void)upstreams, (void)before_us;
    return false;
}

void metrics_count(struct metrics_worker *metrics, enum metric_counter counter, uint64_t n)
{
    (void)metrics, (void)counter, (void)n;
}

/* --------------------------------------------------------------------- an accept4() that fails */

static int fails_with;
static unsigned tries, fails_for;

int accept_or_fail(int fd, struct sockaddr *from, socklen_t *length, int flags) __asm__("accept4");

int accept_or_fail(int fd, struct sockaddr *from, socklen_t *length, int flags)
{
    tries++;
    if (fails_for > 0) {
        fails_for--;
        errno = fails_with;
        return -1;
    }
    return (int)syscall(SYS_accept4, fd, from, length, flags);
}

/* ------------------------------------------------------------------------------- one listener */

static struct worker *worker;
static struct worker_listener listener;
static struct config config = {.workers = 1};
static struct snapshot snapshot = {.config = &config};
static int caller;

static int open_listener(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof(address);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, length), 0);
    assert_int_equal(listen(fd, 8), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &length), 0);
    caller = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(caller, (struct sockaddr *)&address, length), 0);
    return fd;
}

static int setup(void **state)
{
    (void)state;
    config.limits.max_connections = 100;
    let_in = closed = tries = fails_for = 0;
    worker = memory_new(sizeof(*worker));
    worker->loop = loop_new();
    worker->now = &snapshot;
    worker->listeners = &listener;
    worker->listener_count = 1;
    worker->accepting = true;
    list_init(&worker->clients);
    listener = (struct worker_listener){0};
    acceptor_init(worker);
    acceptor_add(worker, &listener, open_listener());
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    timer_stop(&worker->accept_timer);
    loop_free(worker->loop);
    memory_free(worker);
    close(listener.watch.fd);
    close(caller);
    descriptors_done();
    return 0;
}

/* ------------------------------------------------------------------------------------------ */

static void the_listeners_rest_when_nobody_can_be_accepted(void **state)
{
    (void)state;
    static const int errors[] = {ENOMEM, ENOBUFS, EPERM};
    for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
        fails_with = errors[i];
        fails_for = 1;
        tries = 0;
        listener.watch.on_event(&listener.watch, LOOP_READ);
        assert_int_equal(tries, 1);
        assert_false(worker->accepting);
        assert_true(worker->accept_timer.due_us > loop_now_us(worker->loop));
        timer_stop(&worker->accept_timer);
        worker->accept_timer.on_time(&worker->accept_timer);
        assert_true(worker->accepting);
    }
    assert_int_equal(descriptors_kept(), 0); /* there is no lack of those */
    loop_run(worker->loop, NULL, NULL);
    assert_int_equal(let_in, 1);
}

static void one_that_was_gone_before_is_no_reason_to_rest(void **state)
{
    (void)state;
    fails_with = ECONNABORTED;
    fails_for = 3;
    listener.watch.on_event(&listener.watch, LOOP_READ);
    assert_true(worker->accepting);
    assert_int_equal(let_in, 1);
    assert_int_equal(tries, 5);
}

enum { CROWD = 40 };

static void add_clients(struct client crowd[CROWD])
{
    for (unsigned i = 0; i < CROWD; i++) {
        crowd[i] =
            (struct client){.state = CLIENT_HEAD, .listener = &listener, .since_us = 1000 - i};
        list_push_back(&worker->clients, &crowd[i].link);
    }
}

/* The last of the crowd are idle for longest. */
static void who_has_asked_again_does_not_keep_others_from_giving_way(void **state)
{
    (void)state;
    struct client crowd[CROWD];
    add_clients(crowd);
    for (unsigned i = 1; i < CROWD; i++)
        crowd[i].resumed = true;
    assert_true(make_room(worker));
    assert_int_equal(closed, 1);
    assert_int_equal(crowd[0].state, CLIENT_CLOSED);
    assert_false(make_room(worker)); /* the others have all asked */
}

static void the_longest_idle_gives_way_first(void **state)
{
    (void)state;
    struct client crowd[CROWD];
    add_clients(crowd);
    crowd[CROWD - 1].resumed = true;
    crowd[CROWD - 2].state = CLIENT_BUSY;
    assert_true(make_room(worker));
    assert_true(make_room(worker));
    assert_int_equal(closed, 2);
    assert_int_equal(crowd[CROWD - 3].state, CLIENT_CLOSED);
    assert_int_equal(crowd[CROWD - 4].state, CLIENT_CLOSED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_listeners_rest_when_nobody_can_be_accepted, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(one_that_was_gone_before_is_no_reason_to_rest, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(who_has_asked_again_does_not_keep_others_from_giving_way,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(the_longest_idle_gives_way_first, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
