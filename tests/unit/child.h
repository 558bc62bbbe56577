/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * child - fork() for a test. An assertion that fails in the child, or a crash, ends the child:
 * cmocka would go on with the tests behind it, as a second test program that nobody waits for.
 *
 * Returns what fork() does, with errno.
 */

#include <stdlib.h>
#include <unistd.h>

static inline pid_t child_fork(void)
{
    pid_t child = fork();
    if (child == 0)
        setenv("CMOCKA_TEST_ABORT", "1", 1); /* cmocka's own switch for that */
    return child;
}
