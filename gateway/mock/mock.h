/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * mock - a model server that needs no model: it speaks the OpenAI dialect over HTTP/1.1, makes its
 * answers up (the same prompt gets the same answer), counts tokens, and fails on demand.
 *
 * It lives in two places: inside the gateway, behind providers of type `mock`, and as a server of
 * its own (`sluice mock`) for tests, where its counters are the provider's own count.
 *
 * What goes wrong is asked for in the model's name, "mock/WORD+WORD…": see mock_words() or
 * docs/MOCK.md. GET /__mock/stats and GET /__mock/calls?since=N tell what it has done.
 *
 * One thread, on a loop of its own; memory and connections are bounded.
 */

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

struct mock;

struct mock_options {
    const char *address;       /* "127.0.0.1:9999" (NULL), "[::1]:0", "unix:/run/mock.sock" */
    int64_t ttft_us;           /* before the first byte of an answer */
    int64_t tokens_per_second; /* 0 = as fast as they are read */
    int64_t tokens;            /* in an answer whose request does not limit them; 0 = it varies */
    uint64_t seed;             /* of what is made up */
    bool quiet;                /* print no address */
};

/* Is <address> (NULL = the usual one) of a form that mock_serve() can listen on? */
bool mock_may_listen(const char *address);

/* Serve until SIGTERM or SIGINT; prints "mock: listening on ADDRESS" to stderr when it does.
 * Returns an exit code: 0, or 1 when it cannot listen. */
int mock_serve(const struct mock_options *options);

/* The mock inside this process, on a thread of its own, which begins with the first connection;
 * opens no port. */
struct mock *mock_start(void);
/* A new connection to it: a non-blocking, close-on-exec socket that the caller owns, or -1 with
 * errno set. Any thread. */
int mock_connect(struct mock *mock);
/* End the thread, close all its connections, free it. NULL is allowed. */
void mock_stop(struct mock *mock);

/* Print the words that a model's name may hold and what they do. */
void mock_words(FILE *out);
