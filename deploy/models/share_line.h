/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * share_line - what the nodes of a cluster tell each other of deployments: a record is lines of
 * ASCII, each a letter, a name, as many numbers as the letter stands for, and what is left.
 *
 *   <letter> <name> <number> … <rest of the line>
 *
 * Pure. What is read is data, however bad: lines that cannot be read, and letters that are not
 * known, are passed over.
 */

#include <stdbool.h>
#include <stdint.h>

#include "gateway/base/buffer.h"
#include "gateway/base/text.h"

enum {
    SHARE_NUMBERS_MAX = 16,
    SHARE_NAME_MAX = 255,
    SHARE_VERSION = 1,
};

/* The letters, and which number is which. The name is the deployment's, but for those that say
 * otherwise. */
enum share_kind {
    SHARE_HEAD = 'h',    /* first; name: the machine; see share_head */
    SHARE_ACK = 's',     /* name: a node; 0: the number of its last record that was read */
    SHARE_DEMAND = 'd',  /* see share_demand */
    SHARE_FIGURES = 'f', /* see share_figures */
    SHARE_REPLICA = 'r', /* one of the teller's own; see share_replica; rest: its host or path */
    SHARE_ADAPTER = 'a', /* name: an adapter that the last replica has loaded */
    SHARE_CALLS = 'c',   /* 0: the number of another's replica, 1: calls on it from here */
    SHARE_LEAD = 'l',    /* how it stands, by the leader; see share_lead; rest: why */
    SHARE_END = 'e',     /* the leader wishes the end of another's replica; 0: its number */
    SHARE_LEAVE = 'x',   /* name: the node that tells: it is ending, and takes nothing over */
};
enum share_head { HEAD_VERSION, HEAD_NUMBER, HEAD_TOKEN, HEAD_NUMBERS };
enum share_demand {
    DEMAND_HELD,
    DEMAND_IN_FLIGHT,
    DEMAND_JOBS,
    DEMAND_OLDEST_MS,
    DEMAND_KNOCKS,
    DEMAND_NUMBERS
};
/* Since the teller began. (A knock is told for a moment only: another number is a new one.) */
enum share_figures {
    FIGURES_REVISION,
    FIGURES_CALLS,
    FIGURES_FAILURES,
    FIGURES_TIMED, /* and the two sums of their times: trial.h */
    FIGURES_LOGS,
    FIGURES_SQUARES,
    FIGURES_NUMBERS
};
enum share_replica {
    SERVER_NUMBER,
    SERVER_STATE, /* enum replica_state */
    SERVER_OPEN,  /* may calls be sent to it? */
    SERVER_REVISION,
    SERVER_PARALLEL,
    SERVER_PROGRESS, /* permille; -1 = not known */
    SERVER_SINCE_MS,
    SERVER_RESTARTS,
    SERVER_DIGEST,
    SERVER_PORT,
    SERVER_IS_UNIX,
    SERVER_LAUNCHER, /* enum launcher_word */
    SERVER_MEMORY,
    SERVER_NUMBERS
};
enum share_lead {
    LEAD_STATE, /* enum deployment_state */
    LEAD_REVISION,
    LEAD_STABLE,
    LEAD_STABLE_DIGEST,
    LEAD_NEXT_DIGEST,
    LEAD_SHARE_STABLE,
    LEAD_SHARE_CANARY,
    LEAD_PERMILLE,
    LEAD_WANTED,
    LEAD_READY,
    LEAD_MIN,
    LEAD_MAX,
    LEAD_PROGRESS,
    LEAD_ETA_US,
    LEAD_RESTARTS,
    LEAD_NUMBERS
};

struct share_line {
    enum share_kind kind;
    struct text name, rest;
    int64_t numbers[SHARE_NUMBERS_MAX];
};

/* Append <line>; what has no room is left out, whole. Bytes of the rest that would end the line
 * become spaces. */
void share_line_write(struct buffer *out, const struct share_line *line);
/* The next line of <record> that can be read; false at the end. Texts borrow from <record>. */
bool share_line_next(struct text *record, struct share_line *line);
