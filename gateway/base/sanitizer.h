/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* sanitizer - is this built with one? They report crashes in their own way, and look for leaks
 * with ptrace, which a process that is not dumpable forbids. */

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZER_FOUND 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZER_FOUND 1
#endif

#ifdef SANITIZER_FOUND
enum { UNDER_SANITIZER = 1 };
#else
enum { UNDER_SANITIZER = 0 };
#endif
