/* SPDX-License-Identifier: Apache-2.0 */
/* What is handed to a program that is executed, and how an upgrade is said to have gone. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* cmocka wants the headers above. */
#include <cmocka.h>

#include "gateway/base/memory.h"
#include "gateway/handoff.h"
#include "gateway/upgrade_outcome.h"

enum { LISTENERS = 2, WORKERS = 3 };

static int descriptor(void)
{
    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    return fd;
}

static bool closes(int fd)
{
    return (fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0;
}

static void what_is_written_is_read(void **state)
{
    (void)state;
    int fds[LISTENERS * WORKERS];
    char first[] = "127.0.0.1:8080", second[] = "unix:/run/with a blank.sock";
    char one[] = "/run/with a blank.sock", two[] = "/state/admin.sock";
    char place[] = "/var/lib/a state", database[] = "/d.db", ledger[] = "/l";
    char *addresses[] = {first, second}, *paths[] = {one, two, NULL};
    struct fault fault;
    for (int i = 0; i < LISTENERS * WORKERS; i++)
        fds[i] = descriptor();
    struct handoff out = {.to_supervisor = true,
                          .lock = descriptor(),
                          .underway = descriptor(),
                          .sockets = {LISTENERS, WORKERS, fds, descriptor(), paths, 2},
                          .addresses = addresses,
                          .channel = -1,
                          .link = -1,
                          .child = 4711,
                          .elder = 0,
                          .child_channel = descriptor(),
                          .elder_channel = -1,
                          .elder_until_us = 5000000000000,
                          .state = place,
                          .database = database,
                          .ledger_path = ledger,
                          .admin_socket = NULL};
    assert_false(handoff_is_there());
    assert_true(handoff_write(&out));
    assert_true(handoff_is_there());
    assert_false(closes(out.lock) || closes(out.underway) || closes(fds[0]) || closes(fds[5]) ||
                 closes(out.sockets.admin) || closes(out.child_channel));

    struct handoff *in = handoff_read(&fault);
    assert_non_null(in);
    assert_false(handoff_is_there());
    assert_true(closes(out.lock) && closes(out.underway) && closes(fds[0]) && closes(fds[5]) &&
                closes(out.sockets.admin));
    assert_true(in->to_supervisor);
    assert_int_equal(in->lock, out.lock);
    assert_int_equal(in->underway, out.underway);
    assert_int_equal(in->sockets.admin, out.sockets.admin);
    assert_int_equal(in->sockets.listeners, LISTENERS);
    assert_int_equal(in->sockets.workers, WORKERS);
    assert_memory_equal(in->sockets.fds, fds, sizeof fds);
    assert_string_equal(in->addresses[1], addresses[1]);
    assert_int_equal(in->sockets.path_count, 2);
    assert_string_equal(in->sockets.paths[0], paths[0]);
    assert_int_equal(in->child, 4711);
    assert_int_equal(in->elder, 0);
    assert_int_equal(in->child_channel, out.child_channel);
    assert_int_equal(in->elder_channel, -1);
    assert_int_equal(in->elder_until_us, 5000000000000);
    assert_string_equal(in->state, out.state);
    assert_true(!in->admin_socket || !*in->admin_socket);

    struct listener_settings listeners[LISTENERS] = {{.address = addresses[0]},
                                                     {.address = addresses[1]}};
    struct config config = {.state = out.state,
                            .database = out.database,
                            .ledger_path = out.ledger_path,
                            .workers = WORKERS,
                            .listeners = listeners,
                            .listener_count = LISTENERS};
    assert_true(handoff_suits(in, &config, &fault));
    listeners[1].address = "127.0.0.1:1";
    assert_false(handoff_suits(in, &config, &fault));
    assert_non_null(strstr(fault.text, "127.0.0.1:1"));
    config.listener_count = 1;
    assert_false(handoff_suits(in, &config, &fault));
    config.listener_count = LISTENERS;
    config.workers = 4;
    assert_false(handoff_suits(in, &config, &fault));
    assert_non_null(strstr(fault.text, "workers"));
    config.database = "/e.db";
    assert_false(handoff_suits(in, &config, &fault));
    assert_non_null(strstr(fault.text, "store.embedded.path"));
    handoff_free(in);
    for (int i = 0; i < LISTENERS * WORKERS; i++)
        close(fds[i]);
    close(out.lock);
    close(out.underway);
    close(out.sockets.admin);
    close(out.child_channel);
}

static void what_was_not_executed_closes_again(void **state)
{
    (void)state;
    struct handoff out = {.lock = descriptor(),
                          .sockets = {.workers = 1, .admin = -1},
                          .channel = -1,
                          .link = -1,
                          .child_channel = -1,
                          .elder_channel = -1};
    assert_true(handoff_write(&out));
    assert_false(closes(out.lock));
    handoff_forget(&out);
    assert_true(closes(out.lock));
    assert_false(handoff_is_there());
    close(out.lock);
}

/* <words> as the file. */
static struct handoff *read_words(const char *words, struct fault *fault)
{
    char number[16];
    int file = memfd_create("words", 0);
    assert_true(write(file, words, strlen(words)) == (ssize_t)strlen(words));
    snprintf(number, sizeof number, "%d", file);
    setenv("SLUICE_HANDOFF", number, 1);
    return handoff_read(fault);
}

static void what_is_not_whole_is_refused(void **state)
{
    (void)state;
    static const char *const broken[] = {
        "nonsense",
        "format 1\n",
        "format 1\nworkers 1\nlisteners 0\n",                     /* no end */
        "format 2\nworkers 1\nlisteners 0\nend 0\n",              /* of a later version */
        "format 1\nworkers 1\nlisteners 1\nend 0\n",              /* no address */
        "format 1\nworkers 0\nlisteners 0\nend 0\n",              /* nobody */
        "format 1\nworkers 1\nlisteners 99999999999\nend 0\n",    /* too many */
        "format 1\nworkers 1\nlisteners 0\nlisteners 0\nend 0\n", /* twice */
        "format 1\nworkers 1\nlisteners 1\naddress x\nend 0\n",   /* no socket */
    };
    struct fault fault;
    for (size_t i = 0; i < sizeof broken / sizeof *broken; i++)
        assert_null(read_words(broken[i], &fault));
    struct handoff *good =
        read_words("format 1\nof later versions\nworkers 1\nlisteners 0\nend 0\n", &fault);
    assert_non_null(good);
    assert_int_equal(good->underway, -1);
    handoff_free(good);
    setenv("SLUICE_HANDOFF", "9999", 1);
    assert_null(handoff_read(&fault));
}

static void an_outcome_is_read_as_it_was_written(void **state)
{
    (void)state;
    char folder[] = "/tmp/sluice-outcome-XXXXXX";
    struct upgrade_outcome in, out = {.id = 7,
                                      .state = UPGRADE_FAILED,
                                      .pid = 4711,
                                      .began_us = INT64_C(1772323200000000),
                                      .from = "1.0.0",
                                      .reason = "a \"quote\", a \\, a\nline"};
    assert_non_null(mkdtemp(folder));
    assert_false(upgrade_outcome_read(folder, &in));
    assert_true(upgrade_outcome_write(folder, &out));
    assert_true(upgrade_outcome_read(folder, &in));
    assert_int_equal(in.id, 7);
    assert_int_equal(in.state, UPGRADE_FAILED);
    assert_int_equal(in.pid, 4711);
    assert_true(in.began_us == out.began_us && in.ended_us > 0);
    assert_string_equal(in.from, "1.0.0");
    assert_string_equal(in.to, "");
    assert_string_equal(in.reason, out.reason);
    out.id++;
    out.state = UPGRADE_RUNNING;
    assert_true(upgrade_outcome_write(folder, &out));
    assert_true(upgrade_outcome_read(folder, &in));
    assert_int_equal(in.id, 8);
    assert_int_equal(in.ended_us, 0);
    char *path = memory_format("%s/upgrade.json", folder);
    unlink(path);
    memory_free(path);
    assert_false(upgrade_outcome_write("/no/such/place", &out));
    assert_int_equal(errno, ENOENT);
    rmdir(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_written_is_read),
        cmocka_unit_test(what_was_not_executed_closes_again),
        cmocka_unit_test(what_is_not_whole_is_refused),
        cmocka_unit_test(an_outcome_is_read_as_it_was_written),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
