/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * kube_write - what is said to a Kubernetes API server (core/v1,
 * https://kubernetes.io/docs/reference/ kubernetes-api/workload-resources/pod-v1/). Pure.
 */

#include "deploy/models/launcher.h"
#include "gateway/base/buffer.h"

enum {
    KUBE_NAME_MAX = 253, /* a DNS subdomain, RFC 1123 */
    KUBE_LABEL_MAX = 63,
    KUBE_BODY_MAX = 1024 * 1024,
};

struct kube_wish {
    const struct launch_name *name;
    const struct deployment_spec *spec;
    const char *owner;
    unsigned port;         /* that it listens at */
    int64_t grace_seconds; /* from TERM to KILL, unless the deletion says something else */
};

/* A pod's name: sluice-OWNER-DEPLOYMENT-REPLICA, in what a name may have. The same for the same
 * launch, so that asking twice makes one. */
void kube_write_name(const char *owner, const struct launch_name *name,
                     char out[KUBE_NAME_MAX + 1]);
/* <value> as a label may have it: other bytes become '_', and one that is too long is told apart by
 * its hash. */
void kube_write_label(struct text value, char out[KUBE_LABEL_MAX + 1]);
/* labelSelector=sluice.owner%3DOWNER */
void kube_write_selector(const char *owner, struct buffer *out);
/* The pod. Without the credentials of its registry: those stand in a secret of the same name. */
void kube_write_pod(const struct kube_wish *wish, struct buffer *out);
bool kube_wants_secret(const struct deployment_spec *spec);
void kube_write_secret(const struct kube_wish *wish, struct buffer *out);
/* A JSON merge patch (RFC 7396) that makes a pod of somebody else's Deployment stand for a launch:
 * labels as ours have, and sluice.workload. It is the last of its Deployment's to go. */
void kube_write_claim(const struct kube_wish *wish, const char *workload, struct buffer *out);
/* And one that makes it the first to go when its Deployment gets smaller
 * (controller.kubernetes.io/pod-deletion-cost). */
void kube_write_release(struct buffer *out);
/* Of autoscaling/v1 Scale: the number that is wanted. */
void kube_write_scale(unsigned replicas, struct buffer *out);
/* <selector> as a query's value: labelSelector=… */
void kube_write_selector_of(struct text selector, struct buffer *out);
/* DeleteOptions; <grace_seconds> 0 = at once. */
void kube_write_delete(int64_t grace_seconds, struct buffer *out);
