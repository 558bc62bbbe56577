/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * kube_mount - where in its cluster a pod may run and what it mounts, as its document says it
 * (core/v1, https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/pod-v1/). Pure.
 *
 * What the names and paths may be is checked where they are read; here they are only escaped.
 */

#include "deploy/models/spec.h"
#include "gateway/base/buffer.h"

/* "nodeSelector":{…},"tolerations":[…], - with the last comma; nothing where there are none. */
void kube_write_place(const struct pod_spec *pod, struct buffer *out);
/* "volumes":[…] of the pod, and "volumeMounts":[…] of its container: /dev/shm and what is wished.
 */
void kube_write_volumes(const struct pod_spec *pod, struct buffer *out);
void kube_write_mounts(const struct pod_spec *pod, struct buffer *out);
