/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * ruling - what the rules of routing, the caller's own words and its tenant's residency say of a
 * call: which model, policy and targets. Inside gateway.
 *
 * Decided once, between admission and the reservation, so that what is held is held for those
 * targets only. Words of a caller narrow what its tenant allows (`may_set`), and never widen it.
 */

#include <stdbool.h>
#include <stdint.h>

#include "routing/route.h"
#include "routing/rule.h"

struct exchange;
struct head;

/* Part of an exchange; all zero = nothing is said. Texts in its arena. */
struct ruling {
    const struct rule *rule;           /* that matched; NULL = none */
    const struct route_policy *policy; /* instead of the model's; NULL = that one */
    unsigned needs;                    /* enum can: what is asked for */
    bool searches;  /* the provider may search for it, and a budget concerns it */
    bool explain;   /* x-sluice-explain, where it may be set */
    bool out_known; /* <out> was looked for, and holds for the exchange's route */
    bool mirrored;
    int64_t input_tokens;       /* as expected; 0 = not looked at */
    int64_t max_cost_nanos;     /* 0 = any */
    uint64_t out;               /* bits of the model's targets that are not meant */
    struct text decision;       /* of the last choice, as JSON */
    struct text first_decision; /* for the access log */
    struct text record;         /* the same in compact form, to be kept (decision.h) */
};

/* Keep what is said in the request's head. */
void ruling_read_head(struct exchange *x, const struct head *head);

/* Find the rule for <x>, whose body was read and whose model is found, and put it in force. False:
 * the fault says why not. */
bool ruling_apply(struct exchange *x);

/* The policy in force; never NULL. */
const struct route_policy *ruling_policy(const struct exchange *x);
/* What is tried after the model's own targets: *count names of models or targets. */
const struct text *ruling_fallback(const struct exchange *x, size_t *count);

/* Why <target> must not get the call, wherever it stands: STRIKE_TAGS, STRIKE_RULE, STRIKE_OFF
 * (what it costs is not known), STRIKE_UNABLE, STRIKE_LONG; or STRIKE_NONE. <falls_back>: after
 * those of the model. */
enum strike ruling_strike(const struct exchange *x, const struct route *route, size_t i,
                          bool falls_back);
/* The same for all targets of <route>, as bits. Those that are too short are among them only where
 * another one, or a fallback, is long enough. */
uint64_t ruling_out(const struct exchange *x, const struct route *route, bool falls_back);
/* May <target> see the call: is it where the tenant's data may go, and has it the rule's tags? */
bool ruling_allows(const struct exchange *x, const struct target *target);
/* Bits of those that the tenant's residency rules out, whatever is asked of them. */
uint64_t ruling_abroad(const struct exchange *x, const struct route *route);
/* For route_call.struck: in the exchange's arena, or NULL when nothing is struck. */
const uint8_t *ruling_struck(struct exchange *x, const struct route *route);

/* No target is left, and none was asked: say what was in the way. False when it was no ruling. */
bool ruling_refuse(struct exchange *x);

/* Is what is considered to be written down? */
bool ruling_notes(const struct exchange *x);
/* Write it down: x->ruling.decision. */
void ruling_note(struct exchange *x, const struct route *route, const struct choice *choice);
/* Keep a record of the first choice; and, once the call is booked as <row>, what became of it. */
void ruling_record(struct exchange *x, const struct route *route, const struct choice *choice);
struct ledger_row;
void ruling_keep(struct exchange *x, const struct ledger_row *row);
/* The same as members of an object, and one candidate. */
struct json_write;
void ruling_write_choice(const struct exchange *x, struct json_write *json,
                         const struct choice *choice);
void ruling_write_candidate(struct json_write *json, const struct candidate *candidate);
/* As the configuration says it. */
const char *ruling_strategy_name(enum strategy strategy);
/* Header lines for the client. */
struct buffer;
void ruling_put_headers(struct exchange *x, struct buffer *out);
