/* SPDX-License-Identifier: Apache-2.0 */
/* Whom a drain closes, and who is asked to give way: nobody whose request has come. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <unistd.h>

#include "gateway/base/memory.h"
#include "gateway/carrier.h"
#include "gateway/client_inside.h"

/* cmocka wants the headers above. */
#include <cmocka.h>

/* ------------------------------------------------------ what stands for the rest of a connection
 */

void client_on_event(struct watch *watch, unsigned events)
{
    (void)watch, (void)events;
}

void client_send_put_off(struct put_off *put_off)
{
    (void)put_off;
}

bool client_send_queued(struct client *client)
{
    (void)client;
    return true;
}

void client_refuse_head(struct client *client, const struct fault *fault, struct text bytes)
{
    (void)client, (void)fault, (void)bytes;
}

void carrier_end(struct carrier *carrier)
{
    (void)carrier;
}

void carrier_leave(struct carrier *carrier)
{
    (void)carrier;
}

void carrier_drain(struct carrier *carrier)
{
    (void)carrier;
}

bool carrier_is_idle(const struct carrier *carrier)
{
    (void)carrier;
    return true;
}

void exchange_abandon(struct exchange *x)
{
    (void)x;
}

void exchange_body_bad(struct exchange *x, const struct fault *fault)
{
    (void)x, (void)fault;
}

void metrics_gauge(struct metrics_worker *metrics, enum metric_gauge gauge, int change)
{
    (void)metrics, (void)gauge, (void)change;
}

void worker_check_idle(struct worker *worker)
{
    (void)worker;
}

/* -------------------------------------------------------------------------------- one client */

static struct worker *worker;
static struct worker_listener listener;
static struct config config;
static struct snapshot snapshot = {.config = &config};
static struct client *client;
static int peer;

static int setup(void **state)
{
    (void)state;
    int ends[2];
    worker = memory_new(sizeof(*worker));
    worker->loop = loop_new();
    worker->now = &snapshot;
    list_init(&worker->clients);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends), 0);
    peer = ends[1];
    client_new(worker, &listener, ends[0], &(struct sockaddr_storage){.ss_family = AF_UNIX});
    client = LIST_MEMBER(worker->clients.next, struct client, link);
    assert_true(client_is_idle(client));
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    client_close(client);
    loop_free(worker->loop);
    memory_free(worker);
    close(peer);
    return 0;
}

/* ------------------------------------------------------------------------------------------ */

static void one_that_is_silent_is_closed(void **state)
{
    (void)state;
    client_drain(client);
    assert_int_equal(client->state, CLIENT_CLOSED);
}

static void one_whose_request_has_come_is_not(void **state)
{
    (void)state;
    assert_int_equal(send(peer, "G", 1, 0), 1);
    client_drain(client);
    assert_int_equal(client->state, CLIENT_HEAD);
    assert_false(client_close_idle(client));
    assert_true(client->unread);
}

/* With the one before it, which is answered. */
static void nor_one_whose_next_request_was_read_already(void **state)
{
    (void)state;
    buffer_append_text(&client->in, TEXT("GET / HTTP/1.1\r\n"));
    assert_false(client_is_idle(client));
    client_drain(client);
    assert_int_equal(client->state, CLIENT_HEAD);
}

static void one_that_has_left_is_closed(void **state)
{
    (void)state;
    shutdown(peer, SHUT_WR);
    assert_true(client_close_idle(client));
    assert_int_equal(client->state, CLIENT_CLOSED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(one_that_is_silent_is_closed, setup, teardown),
        cmocka_unit_test_setup_teardown(one_whose_request_has_come_is_not, setup, teardown),
        cmocka_unit_test_setup_teardown(nor_one_whose_next_request_was_read_already, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(one_that_has_left_is_closed, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
