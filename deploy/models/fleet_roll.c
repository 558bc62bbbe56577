/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Revisions. The stable one serves until the next one is ready; one that does not get ready never
 * has a call, and is dropped at the deadline, or at once when its reason is final. A canary has a
 * share of the calls, step by step, and is dropped when too many of them fail or begin too late.
 */
#include <stdio.h>

#include "deploy/models/fleet_inside.h"

enum {
    CANARY_PERMILLE = 100, /* where no steps are given */
    CANARY_STEP_US = MINUTE_US,
    CANARY_PATIENCE = 10, /* so many steps' time, when there are too few calls */
    HOPELESS_CRASHES = 2, /* nothing else serves, and somebody waits */
};

struct revision *roll_revision(struct fleet_deployment *deployment, unsigned number)
{
    if (deployment->stable.spec && deployment->stable.number == number)
        return &deployment->stable;
    if (deployment->next.spec && deployment->next.number == number)
        return &deployment->next;
    return NULL;
}

static void tell_share(struct fleet *fleet, struct fleet_deployment *deployment, unsigned stable,
                       unsigned canary, unsigned permille)
{
    if (deployment->share.stable == stable && deployment->share.canary == canary &&
        deployment->share.permille == permille)
        return;
    deployment->share.stable = stable;
    deployment->share.canary = canary;
    deployment->share.permille = permille;
    fleet->hands.share(fleet->hands.with, deployment_text(deployment), stable, canary, permille);
}

static void begin_step(struct fleet_deployment *deployment, unsigned step)
{
    deployment->step = step;
    deployment->step_begun = false;
    memset(&deployment->canary, 0, sizeof(deployment->canary));
    memset(&deployment->steady, 0, sizeof(deployment->steady));
}

static void drop_next(struct fleet *fleet, struct fleet_deployment *deployment, const char *reason,
                      uint64_t now_us)
{
    scale_retire_all(fleet, deployment, deployment->next.number, reason, now_us);
    spec_unref(deployment->next.spec);
    deployment->next = (struct revision){0};
    deployment->phase = ROLL_NONE;
    deployment->paused = false;
    tell_share(fleet, deployment, 0, 0, 0);
}

static void set_earlier(struct fleet_deployment *deployment, struct deployment_spec *spec)
{
    spec_unref(deployment->earlier);
    deployment->earlier = spec ? spec_ref(spec) : NULL;
}

static void begin_rollout(struct fleet_deployment *deployment)
{
    bool tries = deployment->next.spec->rollout.strategy == ROLL_CANARY;
    deployment->phase = tries ? ROLL_CANARIES : ROLL_FORWARD;
    deployment->roll_us = 0;
    deployment->roll_ready = 0;
    begin_step(deployment, 0);
}

void roll_to(struct fleet *fleet, struct fleet_deployment *deployment, struct deployment_spec *spec,
             const char *reason, uint64_t now_us)
{
    struct revision next = {++deployment->last_number, spec_ref(spec), false};
    if (deployment->next.spec)
        drop_next(fleet, deployment, "superseded", now_us);
    set_earlier(deployment, NULL);
    fleet_event(fleet, deployment, 0, reason, "");
    if (!deployment->stable.proven &&
        fleet_census(deployment, deployment->stable.number).ready == 0) {
        scale_retire_all(fleet, deployment, deployment->stable.number, "superseded", now_us);
        spec_unref(deployment->stable.spec);
        deployment->stable = next; /* nothing that would have to be kept */
        deployment->failed = deployment->last_try = false;
        return;
    }
    deployment->next = next;
    begin_rollout(deployment);
}

void roll_declared(struct fleet *fleet, struct fleet_deployment *deployment, const char *reason,
                   uint64_t now_us)
{
    struct deployment_spec *spec = deployment->spec;
    deployment->rejected_digest = 0;
    if (fleet->leads || fleet_census(deployment, 0).live > 0) {
        roll_to(fleet, deployment, spec, reason, now_us);
        return;
    }
    if (deployment->next.spec) /* nothing of it is ours: no rollout either */
        drop_next(fleet, deployment, "superseded", now_us);
    set_earlier(deployment, NULL);
    spec_unref(deployment->stable.spec);
    deployment->stable = (struct revision){++deployment->last_number, spec_ref(spec), false};
}

void roll_reject(struct fleet_deployment *deployment, uint64_t digest, const char *reason)
{
    deployment->rejected_digest = digest;
    snprintf(deployment->rejected_for, sizeof(deployment->rejected_for), "%s", reason);
}

void roll_back(struct fleet *fleet, struct fleet_deployment *deployment, const char *reason,
               uint64_t now_us)
{
    char words[64 + FLEET_REASON_MAX];
    snprintf(words, sizeof(words), "revision %u is dropped, %u stays: %s", deployment->next.number,
             deployment->stable.number, reason);
    if (deployment->next.spec->digest != deployment->stable.spec->digest) /* no restart */
        roll_reject(deployment, deployment->next.spec->digest, reason);
    drop_next(fleet, deployment, reason, now_us);
    fleet_event(fleet, deployment, 0, "rolled_back", words);
    deployment_say(deployment, reason, words);
}

/* The next one has taken over. */
static void complete(struct fleet *fleet, struct fleet_deployment *deployment, uint64_t now_us)
{
    unsigned old = deployment->stable.number;
    spec_unref(deployment->previous.spec);
    deployment->previous = deployment->stable;
    deployment->stable = deployment->next;
    deployment->next = (struct revision){0};
    deployment->phase = ROLL_NONE;
    deployment->failed = deployment->last_try = false;
    if (deployment->stable.spec->digest == deployment->spec->digest)
        deployment->rejected_digest = 0; /* else an order has taken back what is declared */
    tell_share(fleet, deployment, 0, 0, 0);
    scale_retire_all(fleet, deployment, old, "rollout", now_us);
    fleet_event(fleet, deployment, 0, "rolled_out", "");
}

/* ---------------------------------------------------------------------- what holds on */

/* What serves in the place of what is declared; NULL = nothing else does. */
static struct deployment_spec *served(const struct fleet_deployment *deployment)
{
    uint64_t declared = deployment->spec->digest;
    struct deployment_spec *next = deployment->next.spec, *spec = NULL;
    if (deployment->rejected_digest == declared)
        spec = next ? next : deployment->stable.spec;
    else if (next && next->digest == declared)
        spec = deployment->stable.spec;
    else if (!next && !deployment->stable.proven && deployment->stable.spec->digest == declared)
        spec = deployment->earlier;
    return spec && spec->digest != declared ? spec : NULL;
}

uint64_t roll_sense(const struct fleet_deployment *deployment)
{
    const struct deployment_spec *other = served(deployment);
    uint64_t declared = deployment->spec->digest;
    if (!other)
        return 0;
    return (other->digest ^ declared << 1 ^ (deployment->rejected_digest == declared)) | 1 << 1;
}

bool fleet_verdict(const struct fleet *fleet, size_t index, struct fleet_verdict *verdict)
{
    if (index >= fleet->count)
        return false;
    const struct fleet_deployment *deployment = fleet->deployments[index];
    bool rejected = deployment->rejected_digest == deployment->spec->digest;
    *verdict = (struct fleet_verdict){.name = deployment_text(deployment),
                                      .declared = deployment->spec->digest,
                                      .rejected = rejected,
                                      .served = deployment->removed ? NULL : served(deployment)};
    if (rejected)
        snprintf(verdict->reason, sizeof(verdict->reason), "%s", deployment->rejected_for);
    return true;
}

/* It has served: whatever is tried, it is kept. */
static struct revision served_before(struct fleet_deployment *deployment,
                                     struct deployment_spec *spec)
{
    return (struct revision){++deployment->last_number, spec_ref(spec), true};
}

static void hold_back(struct fleet *fleet, struct fleet_deployment *deployment,
                      const struct fleet_verdict *verdict, uint64_t now_us)
{
    char words[64 + FLEET_REASON_MAX];
    if (deployment->rejected_digest == verdict->declared)
        return;
    snprintf(words, sizeof(words), "what is declared was dropped before, what served stays: %s",
             verdict->reason);
    if (deployment->next.spec)
        drop_next(fleet, deployment, "rolled_back", now_us);
    if (deployment->stable.spec->digest != verdict->served->digest) {
        scale_retire_all(fleet, deployment, deployment->stable.number, "rolled_back", now_us);
        spec_unref(deployment->stable.spec);
        deployment->stable = served_before(deployment, verdict->served);
        deployment->failed = deployment->last_try = false;
    }
    roll_reject(deployment, verdict->declared, verdict->reason);
    fleet_event(fleet, deployment, 0, "rolled_back", words);
    deployment_say(deployment, verdict->reason, words);
}

void fleet_recall_verdict(struct fleet *fleet, const struct fleet_verdict *verdict, uint64_t now_us)
{
    struct fleet_deployment *deployment = fleet_find(fleet, verdict->name);
    if (!deployment || deployment->removed || verdict->declared != deployment->spec->digest)
        return;
    set_earlier(deployment, verdict->rejected ? NULL : verdict->served);
    if (verdict->served && verdict->rejected)
        hold_back(fleet, deployment, verdict, now_us);
    else if (deployment->rejected_digest == verdict->declared)
        roll_declared(fleet, deployment, "revised", now_us);
    fleet->due_us = now_us;
}

/* What served before is there yet: what has not been ready yet is its next one, and no more. */
static void go_on_trying(struct fleet_deployment *deployment)
{
    deployment->next = deployment->stable;
    deployment->stable = served_before(deployment, deployment->earlier);
    begin_rollout(deployment);
}

struct revision *roll_find(struct fleet_deployment *deployment, uint64_t digest)
{
    if (deployment->stable.spec->digest == digest)
        return &deployment->stable;
    if (deployment->next.spec)
        return deployment->next.spec->digest == digest ? &deployment->next : NULL;
    if (!deployment->earlier || deployment->earlier->digest != digest ||
        deployment->stable.proven || deployment->stable.spec->digest != deployment->spec->digest)
        return NULL;
    go_on_trying(deployment);
    return &deployment->stable;
}

void roll_inherit(struct fleet *fleet, struct fleet_deployment *deployment)
{
    if (!deployment->next.spec)
        return;
    deployment->roll_us = 0;
    deployment->step_begun = false;
    if (fleet_census(deployment, 0).live > 0)
        return;
    spec_unref(deployment->stable.spec);
    deployment->stable = deployment->next;
    deployment->next = (struct revision){0};
    deployment->phase = ROLL_NONE;
    deployment->paused = false;
    tell_share(fleet, deployment, 0, 0, 0);
}

void roll_promote(struct fleet *fleet, struct fleet_deployment *deployment, uint64_t now_us)
{
    deployment->phase = ROLL_FORWARD;
    deployment->paused = false;
    deployment->roll_us = now_us;
    tell_share(fleet, deployment, 0, 0, 0);
}

static void stop_or_wait(struct fleet *fleet, struct fleet_deployment *deployment,
                         const char *reason, uint64_t now_us)
{
    if (deployment->next.spec->rollout.auto_rollback) {
        roll_back(fleet, deployment, reason, now_us);
        return;
    }
    deployment->paused = true;
    if (deployment->phase == ROLL_CANARIES)
        tell_share(fleet, deployment, deployment->stable.number, 0, 0);
    deployment_say(deployment, reason, "the rollout waits for an order");
    fleet_event(fleet, deployment, 0, reason, "the rollout waits for an order");
}

void roll_failed(struct fleet *fleet, struct fleet_deployment *deployment, unsigned revision,
                 const char *reason, uint64_t now_us)
{
    if (deployment->next.spec && deployment->next.number == revision)
        stop_or_wait(fleet, deployment, reason, now_us);
    else if (deployment->stable.number == revision)
        deployment_fail(fleet, deployment, reason, now_us);
}

/* --------------------------------------------------------------------------------- canary */

static uint64_t step_lasts_us(const struct fleet_deployment *deployment)
{
    int64_t us = deployment->next.spec->rollout.step_us;
    return us > 0 ? (uint64_t)us : CANARY_STEP_US;
}

/* A step begins with prompts that only the old ones have in their caches: of its first quarter, at
 * most a minute, no times are taken. */
static bool is_warm(const struct fleet_deployment *deployment, uint64_t now_us)
{
    uint64_t cold_us = step_lasts_us(deployment) / 4;
    cold_us = cold_us < MINUTE_US ? cold_us : MINUTE_US;
    return now_us - deployment->step_us >= cold_us;
}

void fleet_record(struct fleet *fleet, struct text name, unsigned revision, const struct trial *its,
                  uint64_t now_us)
{
    struct fleet_deployment *deployment = fleet_find(fleet, name);
    struct trial counted = *its;
    if (!deployment)
        return;
    window_count(&deployment->uses, its->calls, now_us);
    if (!deployment->next.spec || !deployment->step_begun)
        return;
    if (!is_warm(deployment, now_us))
        counted.timed = counted.logs = counted.squares = 0;
    if (revision == deployment->next.number)
        trial_add(&deployment->canary, &counted);
    else if (revision == deployment->stable.number)
        trial_add(&deployment->steady, &counted);
}

/* More fail than may, and more than of the stable one. So many failures that it would be too many
 * even if all calls up to the least number were good need no more calls. */
static bool is_bad(const struct fleet_deployment *deployment)
{
    const struct deployment_spec *spec = deployment->next.spec;
    uint64_t least = spec->rollout.min_requests ? spec->rollout.min_requests : 1;
    uint64_t calls = deployment->canary.calls, failures = deployment->canary.failures;
    calls = calls > least ? calls : least;
    if (failures * 1000 <= spec->rollout.max_errors_permille * calls)
        return false;
    return deployment->steady.calls < least ||
           failures * deployment->steady.calls > deployment->steady.failures * calls;
}

/* NULL = it is as good as the old one. */
static const char *canary_fault(const struct fleet_deployment *deployment)
{
    if (is_bad(deployment))
        return "canary_errors";
    if (trial_is_later(&deployment->canary, &deployment->steady,
                       deployment->next.spec->rollout.max_slowdown_permille))
        return "canary_slow";
    return NULL;
}

static unsigned step_permille(const struct fleet_deployment *deployment)
{
    const struct deployment_spec *spec = deployment->next.spec;
    unsigned permille = deployment->step < spec->rollout.step_count
                            ? spec->rollout.step_permille[deployment->step]
                            : CANARY_PERMILLE;
    return permille < 1000 ? permille : 1000;
}

static void step_on(struct fleet *fleet, struct fleet_deployment *deployment, uint64_t now_us)
{
    const struct deployment_spec *spec = deployment->next.spec;
    uint64_t lasts_us = step_lasts_us(deployment), since_us = now_us - deployment->step_us;
    const char *fault = canary_fault(deployment);
    if (fault && (!deployment->paused || spec->rollout.auto_rollback)) {
        stop_or_wait(fleet, deployment, fault, now_us);
        return;
    }
    if (deployment->paused || since_us < lasts_us ||
        (deployment->canary.calls < spec->rollout.min_requests &&
         since_us < lasts_us * CANARY_PATIENCE))
        return;
    if (deployment->step + 1 >= spec->rollout.step_count) {
        roll_promote(fleet, deployment, now_us);
        return;
    }
    begin_step(deployment, deployment->step + 1);
    fleet_event(fleet, deployment, 0, "canary_step", "");
}

static void canary(struct fleet *fleet, struct fleet_deployment *deployment, uint64_t now_us)
{
    unsigned wanted = deployment->wanted;
    struct census old = fleet_census(deployment, deployment->stable.number);
    struct census next = fleet_census(deployment, deployment->next.number);
    unsigned permille = step_permille(deployment), stable = old.ready;
    unsigned want = stable ? (wanted * permille + 999) / 1000 : next.counted;
    want = wanted && stable && want == 0 ? 1 : want;
    want = want < wanted ? want : wanted;
    if (deployment->paused && want > next.counted)
        want = next.counted;
    if (deployment->paused && stable == 0 && old.pending)
        want = 0; /* it gets no calls, and may be in the way of who would */
    scale_converge(fleet, deployment, &deployment->stable, wanted, now_us);
    scale_converge(fleet, deployment, &deployment->next, want, now_us);
    if (next.ready == 0) {
        tell_share(fleet, deployment, deployment->stable.number, 0, 0);
        deployment->step_begun = false;
        return;
    }
    if (!deployment->step_begun) {
        begin_step(deployment, deployment->step);
        deployment->step_begun = true;
        deployment->step_us = now_us;
    }
    if (!deployment->paused)
        tell_share(fleet, deployment, deployment->stable.number, deployment->next.number, permille);
    step_on(fleet, deployment, now_us);
}

/* -------------------------------------------------------------------------------- forward */

static void forward_paused(struct fleet *fleet, struct fleet_deployment *deployment,
                           uint64_t now_us)
{
    struct census next = fleet_census(deployment, deployment->next.number);
    unsigned wanted = deployment->wanted;
    unsigned keep = wanted > next.ready ? wanted - next.ready : 0;
    scale_shrink(fleet, deployment, deployment->next.number, wanted, NULL, now_us);
    scale_converge(fleet, deployment, &deployment->stable, keep, now_us);
}

static void forward_recreate(struct fleet *fleet, struct fleet_deployment *deployment,
                             uint64_t now_us)
{
    scale_shrink(fleet, deployment, deployment->stable.number, 0, "rollout", now_us);
    if (fleet_census(deployment, deployment->stable.number).live == 0)
        scale_converge(fleet, deployment, &deployment->next, deployment->wanted, now_us);
}

/* As many of the stable one stay as there are not ready ones of the next; without surge one less,
 * so that there is room for one. */
static void forward_rolling(struct fleet *fleet, struct fleet_deployment *deployment,
                            uint64_t now_us)
{
    struct census next = fleet_census(deployment, deployment->next.number);
    unsigned wanted = deployment->wanted, surge = deployment->next.spec->rollout.surge;
    unsigned keep = wanted > next.ready ? wanted - next.ready : 0;
    if (surge == 0) {
        keep = wanted > next.counted ? wanted - next.counted : 0;
        if (next.counted == next.ready && keep > 0)
            keep--;
    }
    scale_shrink(fleet, deployment, deployment->stable.number, keep, "rollout", now_us);
    unsigned old = fleet_census(deployment, deployment->stable.number).counted;
    unsigned want = wanted + surge > old ? wanted + surge - old : 0;
    want = want > next.counted ? want : next.counted;
    want = want < wanted ? want : wanted;
    scale_converge(fleet, deployment, &deployment->next, want, now_us);
}

static bool is_hopeless(const struct fleet_deployment *deployment)
{
    unsigned crashes = 0;
    if (!deployment->next.spec->rollout.auto_rollback || demand_of(deployment) == 0 ||
        fleet_census(deployment, 0).ready > 0)
        return false;
    for (struct replica *one = replica_first(deployment); one; one = replica_next(one)) {
        if (one->r.revision == deployment->stable.number && replica_counts(one))
            return false;
        if (one->r.revision == deployment->next.number && one->crashes > crashes)
            crashes = one->crashes;
    }
    return crashes >= HOPELESS_CRASHES;
}

static void forward(struct fleet *fleet, struct fleet_deployment *deployment, uint64_t now_us)
{
    if (deployment->paused)
        forward_paused(fleet, deployment, now_us);
    else if (deployment->next.spec->rollout.strategy == ROLL_RECREATE)
        forward_recreate(fleet, deployment, now_us);
    else
        forward_rolling(fleet, deployment, now_us);
    if (deployment->paused)
        return;
    if (is_hopeless(deployment)) {
        roll_back(fleet, deployment, "crash_loop", now_us);
        return;
    }
    if (fleet_census(deployment, deployment->stable.number).counted == 0 &&
        fleet_census(deployment, deployment->next.number).ready >= deployment->wanted)
        complete(fleet, deployment, now_us);
}

/* It has to get on within the deadline, which runs only while it is wanted. */
static bool is_late(struct fleet_deployment *deployment, uint64_t now_us)
{
    unsigned ready = fleet_census(deployment, deployment->next.number).ready;
    int64_t deadline_us = deployment->next.spec->rollout.deadline_us;
    if (deployment->roll_us == 0 || deployment->paused || ready > deployment->roll_ready ||
        (deployment->phase == ROLL_CANARIES && ready > 0)) {
        deployment->roll_us = now_us;
        deployment->roll_ready = ready;
    }
    return deadline_us > 0 && now_us - deployment->roll_us >= (uint64_t)deadline_us;
}

void roll_step(struct fleet *fleet, struct fleet_deployment *deployment, uint64_t now_us)
{
    if (!deployment->next.spec) {
        unsigned others = deployment->elsewhere, wanted = deployment->wanted;
        scale_converge(fleet, deployment, &deployment->stable,
                       wanted > others ? wanted - others : 0, now_us);
        return;
    }
    if (deployment->wanted == 0) { /* nobody asks: the next call shows what it is worth */
        scale_converge(fleet, deployment, &deployment->stable, 0, now_us);
        scale_converge(fleet, deployment, &deployment->next, 0, now_us);
        deployment->roll_us = 0;
        deployment->step_begun = false;
        return;
    }
    if (is_late(deployment, now_us)) {
        stop_or_wait(fleet, deployment, "progress_deadline", now_us);
        return;
    }
    if (deployment->phase == ROLL_CANARIES)
        canary(fleet, deployment, now_us);
    else
        forward(fleet, deployment, now_us);
}
