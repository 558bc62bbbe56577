/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * proxy - the PROXY protocol header that a load balancer puts in front of a connection, versions 1
 * and 2 (haproxy, doc/proxy-protocol.txt).
 */

#include "gateway/base/text.h"

enum proxy_result { PROXY_READ_WAIT, PROXY_READ_DONE, PROXY_READ_BAD };

enum { PROXY_PEER_BYTES = 46 };

/* Read the header at the front of <bytes>. At PROXY_READ_DONE *length is its length and <peer>
 * holds the client's address as text (unchanged for LOCAL and UNKNOWN). */
enum proxy_result proxy_read(struct text bytes, bool allow_v1, bool allow_v2, size_t *length,
                             char peer[PROXY_PEER_BYTES]);
