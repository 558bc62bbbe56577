/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * session - the cookie of somebody who has signed in to the dashboard.
 *
 * "UNTIL-MAC": until when it is good (seconds since 1970), and HMAC-SHA-256 over that and the
 * digest of the admin key it was given for. Nothing is kept for it here: a key that is taken out of
 * the configuration ends its sessions, and so does another secret. Any thread.
 */

#include <stdbool.h>
#include <stdint.h>

#include "gateway/base/hash.h"
#include "gateway/http/head.h"

enum { SESSION_BYTES = 88, SESSION_TRIED_MAX = 4 };

/* Write the cookie's value for the key with the digest <key>, good until <until_s>. */
void session_write(const struct digest *secret, const struct digest *key, int64_t until_s,
                   char out[SESSION_BYTES]);

/* Is <value> one for <key>, and good at <now_s>? *until_s is set then. One that would be good for
 * longer than <ttl_s> from now on was given under another setting, and is not. */
bool session_is_good(const struct digest *secret, const struct digest *key, struct text value,
                     int64_t now_s, int64_t ttl_s, int64_t *until_s);

/* The values of our cookie in <head>: several when a browser has it from several paths. Their
 * number; of more than SESSION_TRIED_MAX the first. */
size_t session_find(const struct head *head, struct text values[SESSION_TRIED_MAX]);

/* May a browser's request with our cookie be answered? Only what our own pages ask: they say so in
 * a header that neither a form nor a page from elsewhere can send. */
bool session_may_ask(const struct head *head);
