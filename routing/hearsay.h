/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * hearsay - what the processes that share targets tell each other of them. A door of routing.
 *
 * Each writes a record of its own figures now and then, and reads those of the others: who carries
 * them is no matter of this (gateway/hearsay_desk.h). What is read becomes part of the figures that
 * choices are made by:
 *
 *   in flight     added to our own, until the record is old: whole up to HEARSAY_FRESH_US, then
 *                 less and less, nothing after HEARSAY_GONE_US
 *   health        as health_hear() says: Retry-After at once, an open circuit makes us look
 *   what calls    taken over where we have learnt nothing ourselves, and halfway where what the
 *   have taught   others know is HEARSAY_NEWER_US newer than our own
 *   quotas        the provider's latest word, whoever got it
 *
 * Only what was seen by oneself is told, so that no rumour goes in circles. Times are written as
 * ages: no clocks are compared. A record is lines of ASCII:
 *
 *   sluice 1
 *   <identity, 16 hexadecimal digits> <letter><number>,<number>,...  ...
 *
 * a line per target; what the letters stand for says the table in hearsay_record.c. Letters that
 * are not known are passed over. At most HEARSAY_TARGETS_MAX lines, of targets that were used
 * within the last minute. What is read is data, however bad: each number is bounded.
 *
 * One thread owns a `struct hearsay`; figures are relaxed atomics as everywhere.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "routing/target.h"

enum {
    HEARSAY_TARGETS_MAX = 128,
    HEARSAY_NODES_MAX = 64,
    HEARSAY_BYTES_MAX = 64 * 1024,
    HEARSAY_NAME_BYTES = 40,
    HEARSAY_FRESH_US = 1500000,
    HEARSAY_GONE_US = 4000000,
    HEARSAY_NEWER_US = 5000000,
};

/* ------------------------------------------------------------------------------- a record */

/* One class of traffic; learnt_us is its age here. All 0 = nothing. */
struct hearsay_class {
    int64_t calm_us, busy_us, hit_us, p95_us, late_us, token_ns, age_ms;
};

/* A line. Ages and times that are left in milliseconds; -1 = never, or not said. */
struct hearsay_line {
    uint64_t identity;
    int64_t circuit, turned_age_ms; /* enum circuit */
    int64_t cooling_ms;
    int64_t calls, tokens; /* in flight */
    int64_t room_milli;
    int64_t failing_ppm, failed_age_ms;
    int64_t requests, requests_limit, requests_reset_ms; /* limit 0 = not said */
    int64_t quota_tokens, tokens_limit, tokens_reset_ms, said_age_ms;
    struct hearsay_class classes[TRAFFIC_CLASSES];
};

/* Append <line> to the <len> bytes in <out>; returns the new length, or <len> when there is no room
 * for it. */
size_t hearsay_line_write(const struct hearsay_line *line, char *out, size_t len, size_t room);
/* False: it is no line. */
bool hearsay_line_read(struct text text, struct hearsay_line *line);
/* The first line, by which a record is known. */
extern const struct text hearsay_head;

/* ------------------------------------------------------------------------ what is known */

struct hearsay;

struct hearsay *hearsay_new(void);
void hearsay_free(struct hearsay *hearsay);
/* Whose targets are spoken of; borrowed until the next time. What was heard is forgotten. */
void hearsay_set_targets(struct hearsay *hearsay, const struct target *list, size_t count);

/* Write a record of our own figures into <out>, of HEARSAY_BYTES_MAX; returns its length. *sense
 * differs when something has changed but ages. */
size_t hearsay_write(const struct hearsay *hearsay, uint64_t now_us, char *out, uint64_t *sense);
/* <node> has written <record> <age_us> ago. False: it is none, and nothing is heard. */
bool hearsay_read(struct hearsay *hearsay, struct text node, struct text record, int64_t age_us,
                  uint64_t now_us);
/* Count what is in flight elsewhere anew: time has passed. */
void hearsay_fold(struct hearsay *hearsay, uint64_t now_us);
/* How many have told something that still counts, and the age of the oldest of these records. */
unsigned hearsay_nodes(const struct hearsay *hearsay, uint64_t now_us, int64_t *age_us);
