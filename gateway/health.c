/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/health.h"

#include "gateway/base/clock.h"
#include "gateway/http/path.h"
#include "gateway/service_state.h"
#include "policy/ledger.h"

enum { STUCK_US = 1000000 }; /* a loop that stays so long in one round does not live */

/* Each check gives NULL when all is well, else why not. */

static const char *check_loops(struct service *service)
{
    const char *problem = NULL;
    uint64_t now = clock_now_us();
    pthread_mutex_lock(&service->lock);
    for (unsigned i = 0; i < service->workers_live && problem == NULL; i++) {
        uint64_t since = loop_busy_since_us(worker_loop(service->workers[i]));
        if (since != 0 && now > since && now - since > STUCK_US)
            problem = "an event loop is stuck";
    }
    pthread_mutex_unlock(&service->lock);
    return problem;
}

static const char *check_drain(struct service *service)
{
    return service_is_draining(service) ? "draining" : NULL;
}

static const char *check_start(struct service *service)
{
    return atomic_load(&service->is_starting) ? "still starting" : NULL;
}

static const char *check_ledger(struct service *service)
{
    return ledger_figures(service->ledger).full ? "the ledger is full" : NULL;
}

static const struct check {
    const char *name;
    const char *(*run)(struct service *service);
    bool is_life; /* counts for /livez too */
} checks[] = {
    {"loops", check_loops, true},
    {"ledger", check_ledger, false},
    {"drain", check_drain, false},
    {"start", check_start, false},
};

static const struct {
    struct text path;
    bool is_life;
} paths[] = {
    {{"/livez", 6}, true},
    {{"/readyz", 7}, false},
    {{"/healthz", 8}, false},
    {{"/health", 7}, false},
    {{"/health/readiness", 17}, false},
    {{"/health/liveliness", 18}, true},
    {{"/health/liveness", 16}, true},
};

/* Index in <paths>, or -1. */
static int find_path(struct text path)
{
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++)
        if (text_equal(path, paths[i].path))
            return (int)i;
    return -1;
}

bool health_is_path(struct text path)
{
    return find_path(path) >= 0;
}

int health_answer(struct service *service, struct text path, struct text query, struct buffer *out)
{
    int at = find_path(path);
    bool only_life = at >= 0 && paths[at].is_life, repeated = false;
    struct text value;
    bool is_verbose =
        text_equal(query, TEXT("verbose")) || query_find(query, TEXT("verbose"), &value, &repeated);
    const char *worst = NULL;
    for (size_t i = 0; i < sizeof checks / sizeof *checks; i++) {
        if (only_life && !checks[i].is_life)
            continue;
        const char *problem = checks[i].run(service);
        if (is_verbose)
            buffer_format(out, "%s %s: %s\n", problem == NULL ? "+" : "-", checks[i].name,
                          problem == NULL ? "ok" : problem);
        if (worst == NULL)
            worst = problem;
    }
    buffer_format(out, "%s\n", worst == NULL ? "ok" : worst);
    return worst == NULL ? 200 : 503;
}
