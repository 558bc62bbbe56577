/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * log - what operators read: text on a terminal, one JSON object per line elsewhere.
 *
 * Lines are queued in memory and written by a thread of their own (at most 100 ms later; an error
 * at once), so that a full pipe or a slow disk never stops an event loop. The queue is bounded;
 * what does not fit is counted, and the count is logged. Safe from every thread. Never given a
 * secret: callers log names and hints.
 */

#include <stdbool.h>

#include "gateway/base/text.h"

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR };
enum log_format { LOG_AUTO, LOG_TEXT, LOG_JSON };

/* Open <path> ("stderr" or "stdout" or a file) and start the writer. Before this, lines go to
 * stderr directly. */
void log_open(const char *path, enum log_format format, enum log_level level);
/* Write what is queued and stop the writer. */
void log_close(void);
/* Open the file anew, after logrotate has moved it away. */
void log_reopen(void);
void log_set_level(enum log_level level);
bool log_is_json(void);
bool log_wants(enum log_level level);

/* One line from <component>, e.g. log_line(LOG_WARN, "config", "%s: no key", name). */
void log_line(enum log_level level, const char *component, const char *format, ...)
    __attribute__((format(printf, 3, 4), cold));

/* Queue a finished line (the access log), which must end in a newline. */
void log_raw(struct text line);

/* Append <t> to <out> as the inside of a JSON string; returns the bytes written, never more than
 * <room>. Invalid UTF-8 becomes U+FFFD. Needs at most 6 * t.len. */
size_t log_escape(char *out, size_t room, struct text t);
