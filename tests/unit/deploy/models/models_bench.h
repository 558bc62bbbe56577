/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* models_bench - what tests of deploy/models with real servers share: a loop that runs until
 * something is so, an empty state directory, and where the fake model server is. */

#include <dirent.h>
#include <ftw.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "deploy/models/spec.h"
#include "gateway/base/clock.h"
#include "gateway/base/loop.h"
#include "gateway/base/memory.h"

/* cmocka wants the headers above. */
#include <cmocka.h>

enum { BENCH_SECOND = 1000000, BENCH_PATIENCE_US = 60 * BENCH_SECOND };

static struct loop *bench_loop;
static char bench_state[64];

/* ------------------------------------------------------------------------------ running */

struct bench_wish {
    bool (*is_so)(void);
    uint64_t until_us;
    bool came;
    struct timer timer;
};

static inline void bench_on_round(void *with)
{
    struct bench_wish *wish = with;
    if (wish->is_so()) {
        wish->came = true;
        loop_stop(bench_loop);
    }
}

static inline void bench_on_late(struct timer *timer)
{
    (void)timer;
    loop_stop(bench_loop);
}

static inline bool bench_never(void)
{
    return false;
}

/* Run the loop until <is_so>; false when it is not within <us>. */
static inline bool bench_within(bool (*is_so)(void), uint64_t us)
{
    struct bench_wish wish = {.is_so = is_so, .timer.on_time = bench_on_late};
    if (is_so())
        return true;
    list_init(&wish.timer.link);
    timer_set(bench_loop, &wish.timer, clock_now_us() + us);
    loop_run(bench_loop, bench_on_round, &wish);
    timer_stop(&wish.timer);
    return wish.came;
}

static inline bool bench_until(bool (*is_so)(void))
{
    return bench_within(is_so, BENCH_PATIENCE_US);
}

static inline void bench_for(uint64_t us)
{
    bench_within(bench_never, us);
}

/* ------------------------------------------------------------------------------- folders */

static inline int bench_remove_one(const char *path, const struct stat *file, int kind,
                                   struct FTW *walk)
{
    (void)file;
    (void)kind;
    (void)walk;
    return remove(path);
}

static inline void bench_open(void)
{
    snprintf(bench_state, sizeof bench_state, "/tmp/models-XXXXXX");
    assert_non_null(mkdtemp(bench_state));
    bench_loop = loop_new();
}

static inline void bench_close(void)
{
    loop_clear(bench_loop);
    loop_free(bench_loop);
    nftw(bench_state, bench_remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* <build>/tests/fakellm, beside the tests. */
static inline const char *bench_fakellm(void)
{
    static char path[PATH_MAX + 32];
    ssize_t length = readlink("/proc/self/exe", path, PATH_MAX);
    assert_true(length > 0);
    path[length] = 0;
    char *at = strstr(path, "/tests/unit/");
    assert_non_null(at);
    snprintf(at, 32, "/tests/fakellm");
    return path;
}

static inline unsigned bench_descriptors(void)
{
    unsigned count = 0;
    DIR *all = opendir("/proc/self/fd");
    while (readdir(all))
        count++;
    closedir(all);
    return count;
}

/* Nothing that we started is left, neither running nor as a zombie. */
static inline bool bench_has_no_children(void)
{
    return waitpid(-1, NULL, WNOHANG) < 0 && errno == ECHILD;
}

/* ---------------------------------------------------------------------------------- specs */

/* <words>: arguments behind the program's name, up to a NULL. */
static inline struct deployment_spec *bench_spec(const char *program, const char *const *words)
{
    struct text command[32] = {text_of(program)};
    size_t count = 1;
    for (; *words && count < 32; words++)
        command[count++] = text_of(*words);
    struct deployment_spec plain = {
        .name = TEXT("fake"),
        .id = TEXT("fake"),
        .launcher = LAUNCH_BY_PROCESS,
        .command = command,
        .command_count = count,
        .engine = ENGINE_OPENAI,
        .probe = {TEXT("/health"), BENCH_SECOND / 20, BENCH_SECOND / 5, 10 * BENCH_SECOND, 3},
        .scaling = {0, 1, 4, 700, 6 * BENCH_SECOND, 5 * BENCH_SECOND, 0},
        .hold = {64, 1 << 20, 10 * BENCH_SECOND, HOLD_WAIT},
        .restart = {BENCH_SECOND / 10, BENCH_SECOND, 3},
        .rollout = {.strategy = ROLL_ROLLING,
                    .surge = 1,
                    .auto_rollback = true,
                    .deadline_us = 20 * BENCH_SECOND},
        .stop = {BENCH_SECOND, BENCH_SECOND},
    };
    return spec_copy(&plain);
}
