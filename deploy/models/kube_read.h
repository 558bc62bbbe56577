/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * kube_read - what a Kubernetes API server says (core/v1; watches:
 * https://kubernetes.io/docs/reference/using-api/api-concepts/). Pure; what comes from the server
 * is data, however bad.
 */

#include "deploy/models/kube_write.h"
#include "deploy/models/launcher.h"

enum { KUBE_VERSION_MAX = 64, KUBE_SELECTOR_MAX = 512 };

enum kube_phase { KUBE_PENDING, KUBE_RUNNING, KUBE_ENDED };

struct kube_pod {
    char name[KUBE_NAME_MAX + 1];
    struct launch_name launch;                                    /* of its labels */
    unsigned port;                                                /* of its labels; 0 = none */
    char owner[KUBE_LABEL_MAX + 1], workload[KUBE_LABEL_MAX + 1]; /* of its labels, or empty */
    char container[KUBE_LABEL_MAX + 1]; /* of its server: "server", else its first; or empty */
    enum kube_phase phase;
    bool is_deleting;               /* its deletion was asked for */
    char host[LAUNCH_HOST_MAX];     /* its address, or empty */
    int exit_code, signal;          /* ENDED; exit_code -1 = it never ran, or nobody says */
    bool oom, is_final;             /* is_final: what it waits for cannot come */
    char reason[LAUNCH_REASON_MAX]; /* why it waits, or how it ended; one of launcher.h's words */
    char words[LAUNCH_WORDS_MAX];
};

/* False: it is no pod. */
bool kube_read_pod(struct text body, struct kube_pod *into);
/* Each pod of a list, and the version from which a watch goes on; false: it is no list. */
bool kube_read_list(struct text body, char version[KUBE_VERSION_MAX],
                    void (*on_each)(void *with, const struct kube_pod *pod), void *with);

enum kube_change { KUBE_ADDED, KUBE_MODIFIED, KUBE_DELETED, KUBE_BOOKMARK, KUBE_ERROR };
struct kube_event {
    enum kube_change change;
    struct kube_pod pod;            /* of the first three */
    char version[KUBE_VERSION_MAX]; /* or empty */
    unsigned code;                  /* of an error; 410 = too old: list again */
    char words[LAUNCH_WORDS_MAX];
};
/* A line of a watch; false: it is none. */
bool kube_read_event(struct text line, struct kube_event *into);

/* Of autoscaling/v1: what is wanted, what is there, and the selector of its pods. */
struct kube_scale {
    unsigned wanted, there;
    char selector[KUBE_SELECTOR_MAX];
};
/* False: it is no scale, or has no selector that we could pass on. */
bool kube_read_scale(struct text body, struct kube_scale *into);

/* A Status: its message, and its reason ("AlreadyExists"). */
void kube_read_error(struct text body, unsigned status, char words[LAUNCH_WORDS_MAX],
                     char reason[LAUNCH_REASON_MAX]);
/* The newest warning of a list of events, for people; false: there is none. */
bool kube_read_warning(struct text body, char words[LAUNCH_WORDS_MAX]);
/* A line of a log that was asked for with timestamps: when, and what; false: it has no time. */
bool kube_read_line(struct text line, struct text *when, struct text *what);
