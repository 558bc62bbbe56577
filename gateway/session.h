/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * session - the cookie of somebody who has signed in to the dashboard.
 *
 * "UNTIL-NUMBER-MAC": until when it is good (seconds since 1970), a random number, and HMAC-SHA-256
 * over that and the digest of the admin key it was given for. Nothing is kept for it here: a key
 * that is taken out of the configuration ends its sessions, and so does another secret. Any thread.
 *
 * Of a person, whom an OpenID provider knows: "o.UNTIL.NUMBER.ROLE.NAME.TENANT.MAC", name and
 * tenant in base64, and the MAC over all of that and the digest of the settings in admin.oidc:
 * others end it.
 *
 * Over TLS the cookie's name begins with __Host-: no other host, no other path and no plain answer
 * can have set it.
 */

#include <stdbool.h>
#include <stdint.h>

#include "gateway/base/hash.h"
#include "gateway/http/head.h"

enum {
    SESSION_BYTES = 104,
    SESSION_PERSON_BYTES = 512,
    SESSION_NAME_BYTES = 132, /* with its NUL */
    SESSION_TRIED_MAX = 4
};

struct session_person {
    unsigned role; /* enum admin_role */
    char name[SESSION_NAME_BYTES], tenant[SESSION_NAME_BYTES];
    int64_t until_s; /* it is good until then */
};

/* Write the cookie's value for the key with the digest <key>, good until <until_s>. */
void session_write(const struct digest *secret, const struct digest *key, int64_t until_s,
                   char out[SESSION_BYTES]);

/* Is <value> one for <key>, and good at <now_s>? *until_s is set then. One that would be good for
 * longer than <ttl_s> from now on was given under another setting, and is not. */
bool session_is_good(const struct digest *secret, const struct digest *key, struct text value,
                     int64_t now_s, int64_t ttl_s, int64_t *until_s);

/* The same for a person; <settings>: the digest of what he has come in by. */
void session_write_person(const struct digest *secret, const struct digest *settings,
                          const struct session_person *person, char out[SESSION_PERSON_BYTES]);
bool session_is_person(const struct digest *secret, const struct digest *settings,
                       struct text value, int64_t now_s, int64_t ttl_s,
                       struct session_person *person);

/* What our cookies are called: that of a session, and that of a sign-in on its way. */
const char *session_cookie(bool is_tls);
const char *session_ticket_cookie(bool is_tls);

/* The values of the cookie <name> in <head>: several when a browser has it from several paths.
 * Their number; of more than SESSION_TRIED_MAX the first. */
size_t session_find(const struct head *head, const char *name,
                    struct text values[SESSION_TRIED_MAX]);

/* May a browser's request with our cookie be answered? Only what our own pages ask: they say so in
 * a header that neither a form nor a page from elsewhere can send. */
bool session_may_ask(const struct head *head);
