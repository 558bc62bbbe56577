/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * starved - does somebody who gives no sign wait for the processor, which others have, or for the
 * disk, or is it stuck? To end the first two makes it worse: its successor has less of the
 * processor still, and who waits for the disk cannot even be ended before it has what it waits for.
 *
 * From the states that /proc has of threads, and from the clocks of what they have computed. Where
 * /proc is not there, or hides others' processes, it is not known. For the watchdog and the
 * supervisor; any thread, nothing is owned.
 */

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum starved_state {
    STARVED_UNKNOWN,
    STARVED_WAITS,   /* for something that is not the processor, or has ended */
    STARVED_ON_DISK, /* waits and cannot be interrupted: for a disk that is slow, or frozen */
    STARVED_MAY_RUN,
};

/* A thread of this process, by its number as gettid() has it. */
enum starved_state starved_thread(pid_t thread);
/* The last of these that any thread of process <pid> is in, but <but> (0 = none). */
enum starved_state starved_process(pid_t pid, pid_t but);
/* What process <pid> has computed so far, in microseconds; 0 = not known. */
uint64_t starved_computed_us(pid_t pid);

/* A process that is to give a sign now and then. */
struct starved {
    pid_t pid;
    uint64_t heard_us;    /* when it gave the last; monotonic */
    uint64_t computed_us; /* so much it had computed then */
    uint64_t looked_us;   /* when it was looked at last */
    unsigned waits;       /* looks, one after the other, at which all of its threads waited */
};

/* It has given a sign, or has begun, at <now_us>. */
void starved_heard(struct starved *starved, pid_t pid, uint64_t now_us);
/* When to look, though no sign comes: some times before <silence_us> are over, and behind it. */
uint64_t starved_look_at_us(const struct starved *starved, uint64_t silence_us);
/* Look, at <now_us>: is it to be ended? That is so when it has been silent for <silence_us> and its
 * threads wait, or had the processor for half of that time and gave no sign; and in any case after
 * STARVED_LONG times as long. Where its threads cannot be seen, one that computes nothing waits. */
bool starved_is_stuck(struct starved *starved, uint64_t silence_us, uint64_t now_us);

enum { STARVED_LONG = 12 };
