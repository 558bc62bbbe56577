/* SPDX-License-Identifier: Apache-2.0 */
/* Who makes a call that has an Idempotency-Key, among processes. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "policy/underway.h"

/* cmocka wants the headers above. */
#include <cmocka.h>

enum { MANY = 5000, ROUNDS = 20000, KEYS = 7 };

static struct digest digest_of(unsigned number)
{
    char words[24];
    return hash_sha256((struct text){words, (size_t)snprintf(words, sizeof words, "%u", number)});
}

static enum underway_result take(struct underway *underway, unsigned name, unsigned body)
{
    struct digest one = digest_of(name), other = digest_of(body);
    return underway_take(underway, &one, &other);
}

static void give_back(struct underway *underway, unsigned name)
{
    struct digest one = digest_of(name);
    underway_give_back(underway, &one);
}

/* <what> in a process of its own; its pid, when it has ended. */
static pid_t elsewhere(int fd, void (*what)(struct underway *underway))
{
    int status;
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        struct underway *underway = underway_open(fd);
        what(underway);
        underway_close(underway);
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return pid;
}

static void one_at_a_time_has_it(void **state)
{
    (void)state;
    int fd = underway_make();
    struct underway *underway = underway_open(fd);
    assert_non_null(underway);
    assert_int_equal(take(underway, 1, 1), UNDERWAY_OURS);
    assert_int_equal(take(underway, 1, 1), UNDERWAY_THEIRS);
    assert_int_equal(take(underway, 1, 2), UNDERWAY_OTHER_BODY);
    assert_int_equal(take(underway, 2, 1), UNDERWAY_OURS);
    give_back(underway, 1);
    give_back(underway, 1);
    assert_int_equal(take(underway, 2, 1), UNDERWAY_THEIRS);
    assert_int_equal(take(underway, 1, 2), UNDERWAY_OURS);
    underway_close(underway);
    close(fd);
}

static void take_many(struct underway *underway)
{
    for (unsigned i = 0; i < MANY; i++)
        if (take(underway, i, 0) != UNDERWAY_OURS)
            _exit(1);
    for (unsigned i = 0; i < MANY; i += 2)
        give_back(underway, i);
}

static void what_the_dead_held_is_nobodys(void **state)
{
    (void)state;
    int fd = underway_make();
    struct underway *underway = underway_open(fd);
    assert_int_equal(take(underway, MANY, 0), UNDERWAY_OURS);
    pid_t pid = elsewhere(fd, take_many);
    for (unsigned i = 0; i < MANY; i++)
        assert_int_equal(take(underway, i, 0), i % 2 ? UNDERWAY_THEIRS : UNDERWAY_OURS);
    give_back(underway, 1); /* which is not ours */
    assert_int_equal(take(underway, 1, 0), UNDERWAY_THEIRS);
    underway_bury(underway, pid);
    for (unsigned i = 0; i < MANY; i++)
        assert_int_equal(take(underway, i, 0), i % 2 ? UNDERWAY_OURS : UNDERWAY_THEIRS);
    assert_int_equal(take(underway, MANY, 0), UNDERWAY_THEIRS);
    underway_close(underway);
    close(fd);
}

static void there_is_an_end_to_it(void **state)
{
    (void)state;
    int fd = underway_make();
    struct underway *underway = underway_open(fd);
    for (unsigned i = 0; i < UNDERWAY_MAX; i++)
        assert_int_equal(take(underway, i, 0), UNDERWAY_OURS);
    assert_int_equal(take(underway, UNDERWAY_MAX, 0), UNDERWAY_FULL);
    give_back(underway, 7);
    assert_int_equal(take(underway, UNDERWAY_MAX, 0), UNDERWAY_OURS);
    underway_close(underway);
    close(fd);
}

static void change_for_ever(struct underway *underway)
{
    for (unsigned i = 0;; i++) {
        take(underway, i % KEYS, 0);
        give_back(underway, i % KEYS);
    }
}

/* Killed at any moment, in the middle of a change, too. */
static void a_death_in_between_leaves_it_whole(void **state)
{
    (void)state;
    int fd = underway_make();
    struct underway *underway = underway_open(fd);
    for (unsigned round = 0; round < 50; round++) {
        pid_t pid = fork();
        if (pid == 0) {
            change_for_ever(underway_open(fd));
            _exit(0);
        }
        for (unsigned i = 0; i < ROUNDS / 50; i++) {
            take(underway, MANY + i % KEYS, 0);
            give_back(underway, MANY + i % KEYS);
        }
        kill(pid, SIGKILL);
        assert_int_equal(waitpid(pid, NULL, 0), pid);
        underway_bury(underway, pid);
        for (unsigned i = 0; i < KEYS; i++) {
            assert_int_equal(take(underway, i, 0), UNDERWAY_OURS);
            assert_int_equal(take(underway, i, 0), UNDERWAY_THEIRS);
        }
        for (unsigned i = 0; i < KEYS; i++)
            give_back(underway, i);
    }
    underway_close(underway);
    close(fd);
}

static void what_is_none_of_ours_is_not_used(void **state)
{
    (void)state;
    int empty = memfd_create("none", MFD_CLOEXEC), fd = underway_make();
    assert_null(underway_open(-1));
    assert_null(underway_open(empty));
    uint32_t version = 2; /* of a later one */
    assert_int_equal(pwrite(fd, &version, sizeof version, 8), sizeof version);
    assert_null(underway_open(fd));
    close(empty);
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_at_a_time_has_it),
        cmocka_unit_test(what_the_dead_held_is_nobodys),
        cmocka_unit_test(there_is_an_end_to_it),
        cmocka_unit_test(a_death_in_between_leaves_it_whole),
        cmocka_unit_test(what_is_none_of_ours_is_not_used),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
