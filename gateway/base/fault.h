/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * fault - why an exchange failed, in one vocabulary for every provider and every policy.
 *
 * A new kind of failure is one line here and one row in fault.c, and nothing else.
 */

#include <stdbool.h>

#include "gateway/base/text.h"

enum fault_kind {
    FAULT_NONE,
    FAULT_BAD_HTTP,       /* framing or a header that is not allowed: 400, and close */
    FAULT_BAD_REQUEST,    /* JSON or a field; param says which */
    FAULT_BAD_KEY,        /* 401 */
    FAULT_MODEL_DENIED,   /* 403 */
    FAULT_UNKNOWN_PATH,   /* 404 */
    FAULT_UNKNOWN_MODEL,  /* 404 */
    FAULT_UNKNOWN_OBJECT, /* 404: a file, batch or response that is not this tenant's */
    FAULT_BAD_METHOD,     /* 405 */
    FAULT_TIMED_OUT,      /* 408: the client was too slow */
    FAULT_NO_LENGTH,      /* 411 */
    FAULT_TOO_LARGE,      /* 413 */
    FAULT_LONG_TARGET,    /* 414 */
    FAULT_BAD_MEDIA,      /* 415 */
    FAULT_BAD_EXPECT,     /* 417 */
    FAULT_LARGE_HEAD,     /* 431 */
    FAULT_BAD_TRANSFER,   /* 501: a Transfer-Encoding other than chunked */
    FAULT_GUARDED,        /* 400: a guardrail stopped it */
    FAULT_CONFLICT,       /* 409: an Idempotency-Key that was used with another body */
    FAULT_RATE_REQUESTS,  /* 429: too many requests, or at once */
    FAULT_RATE_TOKENS,    /* 429: too many tokens */
    FAULT_BUDGET,         /* 429: the money is spent */
    FAULT_STORE_AWAY,     /* 503: nobody can say whether it is allowed, and the policy is closed; or
                             another version or process has what is asked for */
    FAULT_UNSUPPORTED,    /* 400: the target cannot do this; no later try would help */
    FAULT_NOT_SET_UP,     /* 501: this gateway has none of what is asked for */
    FAULT_BAD_VERSION,    /* 505 */
    FAULT_TARGET_BUSY,    /* the provider's own 429 or 529 */
    FAULT_TARGET_ERROR,   /* the provider's own 5xx */
    FAULT_TARGET_REFUSED, /* the provider's own 4xx, which no other target can cure */
    FAULT_TARGET_DOWN,    /* no connection, or it broke before the first byte */
    FAULT_TARGET_SLOW,    /* 504 */
    FAULT_TOO_LATE,       /* 504: the client wished to wait no longer */
    FAULT_TARGET_INVALID, /* 502: it broke HTTP or its own dialect */
    FAULT_TARGET_CUT,     /* the answer broke off after its first byte */
    FAULT_NO_TARGET,      /* 503: all targets failed */
    FAULT_OVERLOADED,     /* 503: draining, too many connections */
    FAULT_LEDGER_FULL,    /* 503: the call could not be written down, so it is not made */
    FAULT_CLIENT_GONE,    /* 499, never sent */
    FAULT_INTERNAL,       /* 500 */
    FAULT_KINDS           /* how many; always last */
};

struct fault {
    enum fault_kind kind;
    const char *param; /* the field that is wrong, or NULL; static or in the exchange's arena */
    char text[256];    /* what, which, and what to do; never a secret */
};

/* Nothing failed. */
extern const struct fault fault_none;

struct fault_rule {
    const char *name;      /* in logs, metrics and the ledger */
    int status;            /* the HTTP status the client gets */
    const char *type;      /* OpenAI "type" */
    const char *code;      /* OpenAI "code", or NULL */
    const char *anthropic; /* Anthropic "type" */
    const char *gemini;    /* Gemini "status" */
    bool may_retry;        /* another target may be tried */
    bool blame_target;     /* counts against the target's health */
};

const struct fault_rule *fault_rule(enum fault_kind kind);

/* Fill in <fault>; always returns false, so that a check can end in it. Cold: what leads to it
 * stands apart from what every call runs through. */
bool fault_set(struct fault *fault, enum fault_kind kind, const char *format, ...)
    __attribute__((format(printf, 3, 4), cold));
