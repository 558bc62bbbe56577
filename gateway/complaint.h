/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* complaint - what is said on stderr to who called the program, and how it ends then. */

enum exit_code {
    EXIT_GOOD = 0,
    EXIT_FAILED = 1, /* also: an invalid configuration in `check`, unhealthy in `healthcheck` */
    EXIT_USAGE = 2,
    EXIT_WARNINGS = 3, /* under check --strict */
    EXIT_UNREACHABLE = 4,
    EXIT_NOT_FOUND = 5,   /* or not allowed */
    EXIT_BAD_CONFIG = 78, /* in `run`; EX_CONFIG of sysexits.h */
};

/* Say "sluice: …" on stderr. */
void complaint_print(const char *format, ...) __attribute__((format(printf, 1, 2)));
