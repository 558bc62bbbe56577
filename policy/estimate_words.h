/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * estimate_words - about how many tokens the inside of a JSON string is, in sixteenths: by its runs
 * of letters, digits, marks, white space and bytes beyond ASCII. Any thread.
 */

#include <stdint.h>

int64_t estimate_words(const char *at, const char *end);

/* The same in plain C, whatever the machine can do (tests). */
int64_t estimate_words_plain(const char *at, const char *end);
