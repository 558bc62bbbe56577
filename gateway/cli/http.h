/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * cli_http - a small HTTP/1.1 client for the commands: one request, one answer, one connection,
 * blocking, with a time limit for each wait.
 *
 * URLs: http://HOST:PORT[/prefix], unix:/path/of/socket. (Commands speak with a gateway on the same
 * machine or net; there is no TLS here, and https:// is refused with words.)
 */

#include <stdbool.h>
#include <stddef.h>

#include "gateway/base/buffer.h"
#include "gateway/base/fault.h"
#include "gateway/http/body.h"
#include "gateway/http/head.h"

/* Where the gateway is, by --url or by default. With /v1 or a / at its end, as SDKs are given it,
 * it is the same; what is behind unix: is a path, and stays. memory_free() it. */
char *cli_gateway_url(const char *url);

struct cli_request {
    const char *method, *path; /* path with its query, below the URL's prefix */
    const char *key;           /* a bearer token, or NULL */
    const char *accept;        /* or NULL */
    struct text body;          /* JSON; at == NULL: none */
};

struct cli_http {
    int fd;
    char *head_bytes; /* what <head> borrows from */
    struct head head;
    struct buffer in;
    struct body body;
    size_t used; /* bytes of <in> that the last piece borrows from */
    bool is_over;
};

/* Connect, send, and read the head of the answer. FAULT_TARGET_DOWN: nobody listens there;
 * FAULT_BAD_KEY: the socket is not for us. On failure nothing is left open. */
bool cli_http_open(struct cli_http *http, const char *url, const struct cli_request *request,
                   int timeout_s, struct fault *why);

enum cli_http_result { CLI_HTTP_DATA, CLI_HTTP_END, CLI_HTTP_BROKEN };
/* The next piece of the body, valid until the next call. */
enum cli_http_result cli_http_read(struct cli_http *http, struct text *data, struct fault *why);
void cli_http_close(struct cli_http *http);

/* All at once: the body goes to <body> (buffer_init() by the caller; its limit bounds it). Returns
 * the status, or 0 and *why. */
unsigned cli_http_ask(const char *url, const struct cli_request *request, int timeout_s,
                      struct buffer *body, struct fault *why);
