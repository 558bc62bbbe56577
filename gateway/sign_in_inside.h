/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * sign_in_inside - what one sign-in is made of: for sign_in.c, and for sign_in_aws.c, which knows
 * what AWS is asked for and how it answers. Inside gateway.
 */

#include "gateway/base/buffer.h"
#include "gateway/base/hash.h"
#include "gateway/sign_in.h"
#include "gateway/wire/ask.h"

enum {
    SIGN_IN_ANSWER_MAX = 64 << 10,
    SIGN_IN_REQUEST_MAX = 128 << 10,
    SIGN_IN_TOKEN_MAX = 16 << 10,
};

struct sign_in {
    struct link link;
    unsigned references;
    struct sign_ins *all;
    struct digest identity;
    char *name; /* of the first provider, for the log */
    struct sign_in_settings settings;
    char *address, *id, *secret, *key_id, *scope; /* what they borrow from */
    struct upstream_pool *pool;
    struct ask ask;
    struct timer timer; /* the next time */
    struct buffer request, token;
    bool asking, is_stopped;
    unsigned stage;        /* of AWS: which of the questions is asked */
    struct buffer session; /* of AWS' machines: what the first answer gave */
    uint64_t asked_us, until_us;
    unsigned failures; /* in a row */
    struct link waiting;
};

/* Forget what it holds. */
void sign_in_wipe(struct buffer *buffer);
/* Append the head of a request up to its own fields. */
void sign_in_put_head(struct sign_in *sign_in, const char *method, struct text path);
/* A token that is good for <seconds> from when it was asked for; the next one is fetched before
 * that. */
void sign_in_take(struct sign_in *sign_in, struct text token, int64_t seconds);

static inline bool sign_in_is_aws(const struct sign_in_settings *settings)
{
    return settings->kind == SIGN_IN_AWS_CONTAINER || settings->kind == SIGN_IN_AWS_WEB ||
           settings->kind == SIGN_IN_AWS_MACHINE;
}

/* Write the request of the present stage. False, with *problem: it cannot be asked. */
bool sign_in_aws_put(struct sign_in *sign_in, const char **problem);
/* Take a good answer. NULL, or what is wrong with it; *more: there is another question. */
const char *sign_in_aws_answer(struct sign_in *sign_in, bool *more);
