/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * config_label - the names that Kubernetes takes, so that what its API server would refuse is found
 * when the configuration is read. Pure.
 * https://kubernetes.io/docs/concepts/overview/working-with-objects/names/ and …/labels/
 */

#include <stdbool.h>

#include "gateway/base/text.h"

/* Of a claim: RFC 1123 names with dots between, at most 253 characters. */
bool is_subdomain(struct text name);
/* NAME or SUBDOMAIN/NAME: keys of labels and taints, names of resources. */
bool is_label_key(struct text key);
/* At most 63 letters, digits, and inside of it also -, _ and '.'; may be empty. */
bool is_label_value(struct text value);
