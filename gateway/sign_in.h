/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * sign_in - short-lived credentials of providers: fetched from the vendor's token endpoint by each
 * worker for itself, and fetched again when four fifths of their life are over, so that no call
 * waits for one once there is one. A fetch that failed is tried again, ever more slowly; what was
 * fetched last stays in force until its life is over.
 *
 * Kinds: Entra ID's client credentials grant (RFC 6749 4.4), Google's service accounts (a signed
 * assertion, RFC 7523 2.1) and Google's metadata server; and what AWS gives its machines,
 * containers and jobs, which are keys that calls are signed with (sign_in_aws.c).
 *
 * One thread. Configurations that say the same share one, so a reload keeps the token.
 */

#include "gateway/base/list.h"
#include "gateway/base/loop.h"
#include "gateway/config/config.h"
#include "gateway/wire/upstream.h"

struct sign_in;
struct sigv4_credentials;

/* Those of one worker. */
struct sign_ins {
    struct loop *loop;
    struct upstreams *upstreams;
    struct link all;
};

/* Somebody who waits until there is a token; zeroed but for <on_end>. */
struct sign_in_wait {
    struct sign_in *sign_in; /* NULL = does not wait */
    struct link link;
    struct timer timer;
    /* There is a token, or a fetch has failed, or it is too late; it waits no longer. */
    void (*on_end)(struct sign_in_wait *wait);
};

void sign_ins_init(struct sign_ins *all, struct loop *loop, struct upstreams *upstreams);
/* Fetch nothing more; what is there stays until it is given back. */
void sign_ins_stop(struct sign_ins *all);

/* The one that <provider> needs, with a reference; NULL when it needs none or none can be had. */
struct sign_in *sign_in_ref(struct sign_ins *all, const struct provider_settings *provider);
void sign_in_unref(struct sign_in *sign_in);

/* The token, or empty: there is none, or its life is over. Borrowed until the loop goes on. */
struct text sign_in_token(const struct sign_in *sign_in);
/* Of AWS: the keys of now, borrowed like that. False: it gives other tokens, or has none. */
bool sign_in_keys(const struct sign_in *sign_in, struct sigv4_credentials *credentials);
/* Does it give keys to sign with? */
bool sign_in_signs(const struct sign_in *sign_in);
/* A provider did not take the token: fetch another, at most every ten seconds. */
void sign_in_doubt(struct sign_in *sign_in);

/* Wait for a token until <until_us> (of the loop's clock). False when it cannot be there by then.
 */
bool sign_in_wait(struct sign_in *sign_in, struct sign_in_wait *wait, uint64_t until_us);
void sign_in_leave(struct sign_in_wait *wait);
