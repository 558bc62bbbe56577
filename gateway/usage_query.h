/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* usage_query - what is asked of the ledger, by `sluice usage` and by the admin API alike. */

#include <stdio.h>

#include "gateway/base/json_write.h"
#include "gateway/config/config.h"
#include "policy/ledger.h"

struct usage_query {
    enum usage_by by[USAGE_BYS];
    size_t by_count;
    int64_t since_us, until_us;       /* wall clock */
    const struct call_filter *filter; /* NULL = all calls */
    size_t rows_max;                  /* 0 = any number */
    struct ledger *with_others;       /* NULL: of this node only */
};

/*
 * Read "tenant,model" (empty: just that), and two times: "7d", "12h", "30m", "90s" before <now_us>,
 * a date "2026-11-23", a time "2026-11-23T18:00:00Z", or "now"; empty: 30 days ago, and now. All
 * times are UTC. False and *fault with a suggestion; its param says which is wrong.
 */
bool usage_query_read(struct text by, struct text since, struct text until, int64_t now_us,
                      struct usage_query *query, struct fault *fault);

/* One such time. */
bool usage_time_read(const char *what, struct text t, int64_t now_us, int64_t *us,
                     struct fault *fault);

/* The report, or NULL and *fault. Reads files; may take a while. */
struct usage_report *usage_query_run(const struct usage_query *query, const struct config *config,
                                     struct fault *fault);

/* An array of rows {<by…>, requests, input_tokens, …}. */
void usage_write_json(const struct usage_query *query, const struct usage_report *report,
                      struct json_write *json);

/* One call as an object, for `export` and the admin API. */
void call_write_json(const struct ledger_row *row, struct json_write *json);
/* Its members, in an object that is open. */
void call_write_members(const struct ledger_row *row, struct json_write *json);
