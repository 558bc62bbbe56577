/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * kube_inside - what launch_kubernetes.c (the life of a launch), kube_watch.c (what the API server
 * tells), kube_follow.c (a pod's log, and why it waits) and kube_workload.c (pods of somebody
 * else's Deployment) share. For nobody else.
 */

#include "deploy/models/kube_read.h"
#include "deploy/models/line_cut.h"
#include "deploy/models/remote_call.h"

enum {
    KUBE_PATH_BYTES = 2048,
    KUBE_NAMESPACE_MAX = 63,
    KUBE_WHEN_MAX = 40,
    KUBE_ASK_US = 15000000,
};

struct launcher {
    struct grave grave;
    struct launcher_site site;
    struct remote *remote;
    char owner[KUBE_LABEL_MAX + 1];
    char name_space[KUBE_NAMESPACE_MAX + 1];
    char *token_file; /* or NULL */
    struct link launches, workloads;
    struct remote_call *looking, *watching;
    struct line_cut events;
    char version[KUBE_VERSION_MAX];
    struct timer again, token_timer;
    unsigned failures;
    bool looked, has_been_reached, is_away, is_stale, closed;
};

enum launch_state {
    POD_SECRET, /* the credentials of its registry are written */
    POD_MAKING,
    POD_CLAIMING, /* of somebody else's Deployment: it has no pod yet; or one that is being claimed
                   */
    POD_MADE,     /* it is there; what it does comes by the watch */
    POD_FOUND,    /* it was there before us, and nobody has taken it over */
    POD_OVER,
};

struct launch {
    struct grave grave;
    struct link link;
    struct launcher *launcher;
    enum launch_state state;
    struct launch_name name;
    char pod[KUBE_NAME_MAX + 1];
    struct deployment_spec *spec; /* NULL as long as nobody has adopted it */
    void *owner;
    unsigned port;
    struct workload *workload;          /* that it is of, or NULL */
    bool released;                      /* workload: it is not counted any more */
    char container[KUBE_LABEL_MAX + 1]; /* whose log is followed */
    struct kube_pod last;               /* what was told of it last */
    bool is_there, seen, running_told, ended_told, wants_stop, stop_asked, is_lost, forgotten;
    bool has_final; /* it is stopped because it cannot become what it is to be */
    struct launch_report final;
    int64_t grace_us, asked_grace_us;
    unsigned failures;
    struct remote_call *call, *log_call, *why_call;
    struct timer again, log_timer, why_timer;
    struct line_cut log;
    char log_from[KUBE_WHEN_MAX]; /* of the last line that was told */
};

/* When <us> from now are over. */
uint64_t kube_soon(const struct launcher *launcher, int64_t us);
/* How long to wait after so many failures in a row. */
int64_t kube_back_off(unsigned failures);
/* Room for a path below the namespace: /api/v1/namespaces/NS/WHAT[/NAME][TAIL] */
struct text kube_path(const struct launcher *launcher, char room[KUBE_PATH_BYTES], const char *what,
                      const char *name, const char *tail);
void kube_read_token(struct launcher *launcher);

struct launch *kube_new_launch(struct launcher *launcher, const struct launch_name *name);
void kube_tell(struct launch *launch, enum launch_stage stage, const char *reason,
               const char *words);
void kube_tell_report(struct launch *launch, const struct launch_report *report);
/* Nothing of it runs any more. */
void kube_end(struct launch *launch, const struct launch_report *report);
/* Its pod is gone: as it had told before, or because somebody removed it. */
void kube_end_gone(struct launch *launch);
void kube_end_with(struct launch *launch, const char *reason, const char *words, bool is_final);
void kube_delete_pod(struct launch *launch);
void kube_bury(struct launch *launch);

/* kube_workload.c */
/* It is to be a pod of the Deployment <name>; one that was found already is. */
void workload_join(struct launch *launch, const char *name);
/* It is buried: not counted any more. */
void workload_leave(struct launch *launch);
/* Its pod has ended. When nobody asked for that, the controller makes another one at once: it does
 * not count for two, however long the dead one is listed and the next launch waits. */
void workload_ended(struct launch *launch);
/* One without a pod is to end; workload_end() when its timer rings. */
void workload_stop(struct launch *launch);
void workload_end(struct launch *launch);
/* Instead of a deletion: its pod goes first when the Deployment gets smaller, which it does. One
 * that is forgotten is buried after it. */
void workload_release(struct launch *launch);
/* The launcher is closed: scales stay as they are. */
void workloads_drop(struct launcher *launcher);

/* kube_watch.c */
void kube_look(struct launcher *launcher);
void kube_on_again(struct timer *timer);
void kube_on_event_line(void *with, struct text line);
/* What is known of its pod was told by somebody. */
void kube_hear(struct launch *launch, const struct kube_pod *pod);
void kube_hear_again(struct launch *launch);

/* kube_follow.c */
void kube_follow_log(struct launch *launch);
void kube_on_log_line(void *with, struct text line);
void kube_on_log_time(struct timer *timer);
void kube_on_why_time(struct timer *timer);
