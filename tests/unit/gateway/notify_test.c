/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "gateway/notify.h"
/* after those above */
#include <cmocka.h>

static int listen_at(const char *path, size_t length)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    memcpy(address.sun_path, path, length);
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address,
                          (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length)),
                     0);
    return fd;
}

static void assert_hears(int fd, const char *words)
{
    char said[256];
    ssize_t length = recv(fd, said, sizeof said - 1, MSG_DONTWAIT);
    assert_int_equal(length, (ssize_t)strlen(words));
    assert_memory_equal(said, words, strlen(words));
}

static void test_send(void **state)
{
    (void)state;
    char path[64], abstract[64];
    snprintf(path, sizeof path, "/tmp/sluice-notify-%d", (int)getpid());
    unlink(path);
    int fd = listen_at(path, strlen(path));
    setenv("NOTIFY_SOCKET", path, 1);
    notify_send("READY=1\nSTATUS=serving");
    assert_hears(fd, "READY=1\nSTATUS=serving");
    close(fd);
    unlink(path);
    int length = snprintf(abstract, sizeof abstract, "@sluice-notify-%d", (int)getpid());
    setenv("NOTIFY_SOCKET", abstract, 1);
    abstract[0] = 0;
    fd = listen_at(abstract, (size_t)length);
    notify_send("STOPPING=1");
    assert_hears(fd, "STOPPING=1");
    close(fd);
    unsetenv("NOTIFY_SOCKET");
    notify_send("READY=1"); /* nobody listens, and nothing happens */
}

/* It would wait for ever. */
static void test_nobody_takes_it(void **state)
{
    (void)state;
    char path[64];
    snprintf(path, sizeof path, "/tmp/sluice-notify-%d", (int)getpid());
    unlink(path);
    int fd = listen_at(path, strlen(path));
    setenv("NOTIFY_SOCKET", path, 1);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    strcpy(address.sun_path, path);
    int filler = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert_int_equal(connect(filler, (struct sockaddr *)&address, sizeof address), 0);
    while (send(filler, "x", 1, 0) == 1)
        ;
    notify_send("WATCHDOG=1");
    assert_hears(fd, "x");
    close(filler);
    close(fd);
    unlink(path);
    unsetenv("NOTIFY_SOCKET");
}

static void test_watchdog(void **state)
{
    (void)state;
    char pid[24];
    unsetenv("WATCHDOG_PID");
    unsetenv("WATCHDOG_USEC");
    assert_int_equal(notify_watchdog_us(), 0);
    setenv("WATCHDOG_USEC", "3000000", 1);
    assert_int_equal(notify_watchdog_us(), 3000000);
    setenv("WATCHDOG_PID", "1", 1); /* meant for another */
    assert_int_equal(notify_watchdog_us(), 0);
    snprintf(pid, sizeof pid, "%d", (int)getpid());
    setenv("WATCHDOG_PID", pid, 1);
    assert_int_equal(notify_watchdog_us(), 3000000);
    setenv("WATCHDOG_USEC", "-1", 1);
    assert_int_equal(notify_watchdog_us(), 0);
}

static void test_sockets(void **state)
{
    (void)state;
    char pid[24];
    unsetenv("LISTEN_PID");
    unsetenv("LISTEN_FDS");
    assert_int_equal(notify_socket(TEXT("api")), -1);
    /* systemd passes them from 3 on */
    int pipes[2], taken3 = dup2(STDIN_FILENO, 3), taken4 = dup2(STDIN_FILENO, 4);
    assert_int_equal(taken3, 3);
    assert_int_equal(taken4, 4);
    assert_int_equal(pipe(pipes), 0);
    dup2(pipes[0], 3);
    dup2(pipes[1], 4);
    snprintf(pid, sizeof pid, "%d", (int)getpid());
    setenv("LISTEN_PID", pid, 1);
    setenv("LISTEN_FDS", "2", 1);
    setenv("LISTEN_FDNAMES", "admin:api", 1);
    assert_int_equal(notify_socket(TEXT("api")), 4);
    assert_int_equal(notify_socket(TEXT("admin")), 3);
    assert_int_equal(notify_socket(TEXT("other")), -1);
    assert_true((fcntl(4, F_GETFD) & FD_CLOEXEC) != 0);
    assert_true((fcntl(4, F_GETFL) & O_NONBLOCK) != 0);
    setenv("LISTEN_FDS", "1", 1);
    unsetenv("LISTEN_FDNAMES"); /* the only one is meant, whatever it is called */
    assert_int_equal(notify_socket(TEXT("api")), 3);
    setenv("LISTEN_PID", "1", 1); /* meant for another */
    assert_int_equal(notify_socket(TEXT("api")), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_send),
        cmocka_unit_test(test_nobody_takes_it),
        cmocka_unit_test(test_watchdog),
        cmocka_unit_test(test_sockets),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
