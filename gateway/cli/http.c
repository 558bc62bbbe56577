/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/cli/http.h"

#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "gateway/base/memory.h"
#include "gateway/base/version.h"
#include "gateway/http/url.h"

enum { IN_BYTES_MAX = 256 << 10, HEAD_BYTES_MAX = 64 << 10, READ_BYTES = 16 << 10 };

char *cli_gateway_url(const char *url)
{
    struct text given = text_of(url != NULL ? url : "http://127.0.0.1:8080");
    bool is_path = text_starts(given, TEXT("unix:"));
    while (!is_path && text_ends(given, TEXT("/")))
        given.len--;
    if (!is_path && text_ends(given, TEXT("/v1")))
        given.len -= 3;
    return memory_format("%.*s", TEXT_ARGS(given));
}

/* Where a URL leads to. */
struct place {
    bool is_unix;
    struct text host; /* or the path of the socket */
    char port[8];
    struct text prefix;
};

static bool read_place(const char *from, struct place *place, struct fault *why)
{
    struct url url;
    const char *problem = NULL;
    *place = (struct place){.prefix = {"", 0}};
    if (text_starts(text_of(from), TEXT("unix:"))) {
        place->is_unix = true;
        place->host = text_from(text_of(from), 5);
        return true;
    }
    if (!url_read(text_of(from), &url, &problem))
        return fault_set(why, FAULT_BAD_REQUEST, "%.100s: %s", from, problem);
    if (url.tls)
        return fault_set(why, FAULT_UNSUPPORTED,
                         "%.100s: commands do not speak TLS; use an http:// listener or the admin "
                         "socket",
                         from);
    place->is_unix = url.is_unix;
    place->host = url.host;
    place->prefix = url.path;
    snprintf(place->port, sizeof place->port, "%u", url.port);
    return true;
}

/* ---------------------------------------------------------------------------- connecting */

static int open_socket(int family, int timeout_s)
{
    int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct timeval limit = {.tv_sec = timeout_s};
    if (fd >= 0) {
        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
        setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit); /* connect() too */
    }
    return fd;
}

/* -1 with errno. */
static int try_connect(const struct sockaddr *address, socklen_t length, int timeout_s)
{
    int fd = open_socket(address->sa_family, timeout_s);
    if (fd >= 0 && connect(fd, address, length) == 0)
        return fd;
    int problem = errno == EINPROGRESS ? ETIMEDOUT : errno;
    if (fd >= 0)
        close(fd);
    errno = problem;
    return -1;
}

static int connect_unix(struct text path, int timeout_s)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (path.len == 0 || path.len >= sizeof address.sun_path) {
        errno = ENAMETOOLONG;
        return -1;
    }
    memcpy(address.sun_path, path.at, path.len);
    return try_connect((struct sockaddr *)&address, sizeof address, timeout_s);
}

static int connect_tcp(const struct place *place, int timeout_s, const char **problem)
{
    char host[256];
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found = NULL;
    snprintf(host, sizeof host, "%.*s", TEXT_ARGS(place->host));
    int code = getaddrinfo(host, place->port, &hints, &found);
    if (code != 0) {
        *problem = gai_strerror(code);
        return -1;
    }
    int fd = -1;
    for (struct addrinfo *at = found; at != NULL && fd < 0; at = at->ai_next)
        fd = try_connect(at->ai_addr, at->ai_addrlen, timeout_s);
    int kept = errno;
    freeaddrinfo(found);
    errno = kept;
    return fd;
}

/* ---------------------------------------------------------------------------- speaking */

static bool send_all(int fd, struct text bytes, struct fault *why)
{
    while (bytes.len > 0) {
        ssize_t len = send(fd, bytes.at, bytes.len, MSG_NOSIGNAL);
        if (len < 0 && errno == EINTR)
            continue;
        if (len < 0)
            return fault_set(why, FAULT_TARGET_DOWN, "sending: %s", strerror(errno));
        bytes = text_from(bytes, (size_t)len);
    }
    return true;
}

static bool send_request(struct cli_http *http, const struct place *place,
                         const struct cli_request *request, struct fault *why)
{
    struct buffer out;
    buffer_init(&out, 32 << 10);
    bool is_ipv6 = text_find_byte(place->host, ':') != SIZE_MAX;
    bool fits = buffer_format(&out, "%s %.*s%s HTTP/1.1\r\nHost: ", request->method,
                              TEXT_ARGS(place->prefix), request->path);
    if (place->is_unix)
        fits = fits && buffer_format(&out, "localhost\r\n");
    else
        fits = fits && buffer_format(&out, is_ipv6 ? "[%.*s]:%s\r\n" : "%.*s:%s\r\n",
                                     TEXT_ARGS(place->host), place->port);
    fits = fits && buffer_format(&out,
                                 "User-Agent: sluice/" PROGRAM_VERSION
                                 "\r\nConnection: close\r\nAccept: %s\r\n",
                                 request->accept != NULL ? request->accept : "*/*");
    if (request->key != NULL && *request->key != 0)
        fits = fits && head_may_write(text_of(request->key)) &&
               buffer_format(&out, "Authorization: Bearer %s\r\n", request->key);
    if (request->body.at != NULL)
        fits = fits && buffer_format(&out,
                                     "Content-Type: application/json\r\n"
                                     "Content-Length: %zu\r\n",
                                     request->body.len);
    else if (strcmp(request->method, "POST") == 0)
        fits = fits && buffer_format(&out, "Content-Length: 0\r\n");
    fits = fits && buffer_append_text(&out, TEXT("\r\n"));
    bool is_sent = fits ? send_all(http->fd, buffer_text(&out), why)
                        : fault_set(why, FAULT_BAD_REQUEST, "the request cannot be written");
    buffer_done(&out);
    /* An early answer (401, 413) may come while the body is still being sent: then read it. */
    struct fault ignored;
    if (is_sent && request->body.at != NULL)
        send_all(http->fd, request->body, &ignored);
    return is_sent;
}

/* More bytes to <in>: 1, 0 at the end, -1 and *why. */
static int receive(struct cli_http *http, struct fault *why)
{
    char *room = buffer_room(&http->in, READ_BYTES);
    ssize_t len;
    if (room == NULL) {
        fault_set(why, FAULT_TARGET_INVALID, "the answer's head is too long");
        return -1;
    }
    do
        len = recv(http->fd, room, READ_BYTES, 0);
    while (len < 0 && errno == EINTR);
    if (len < 0) {
        fault_set(why, FAULT_TARGET_SLOW, "reading the answer: %s",
                  errno == EAGAIN ? "timed out" : strerror(errno));
        return -1;
    }
    buffer_grow(&http->in, (size_t)len);
    return len > 0;
}

static void begin_body(struct cli_http *http, bool is_head)
{
    unsigned status = http->head.status;
    if (is_head || status == 204 || status == 304)
        body_init(&http->body, BODY_NONE, 0);
    else if (http->head.chunked)
        body_init(&http->body, BODY_CHUNKED, 0);
    else if (http->head.content_length >= 0)
        body_init(&http->body, BODY_LENGTH, (uint64_t)http->head.content_length);
    else
        body_init(&http->body, BODY_TO_CLOSE, 0);
}

/* The head of the answer; those of 1xx before it are skipped. */
static bool read_head(struct cli_http *http, bool is_head, struct fault *why)
{
    struct head_find find = {0};
    for (;;) {
        size_t length = 0;
        switch (head_find(&find, buffer_text(&http->in), false, HEAD_BYTES_MAX, &length, why)) {
        case HEAD_BAD:
            return false;
        case HEAD_WAIT: {
            int got = receive(http, why);
            if (got == 0)
                return fault_set(why, FAULT_TARGET_DOWN,
                                 "the connection was closed without answer");
            if (got < 0)
                return false;
            continue;
        }
        case HEAD_DONE:
        default:
            break;
        }
        memory_free(http->head_bytes);
        http->head_bytes = memory_string(text_head(buffer_text(&http->in), length));
        buffer_drop(&http->in, length);
        if (!head_read_response((struct text){http->head_bytes, length}, &http->head, why))
            return false;
        if (http->head.status >= 200)
            break;
        find = (struct head_find){0};
    }
    begin_body(http, is_head);
    return true;
}

bool cli_http_open(struct cli_http *http, const char *url, const struct cli_request *request,
                   int timeout_s, struct fault *why)
{
    struct place place;
    const char *problem = NULL;
    memset(http, 0, sizeof *http);
    http->fd = -1;
    buffer_init(&http->in, IN_BYTES_MAX);
    if (!read_place(url, &place, why))
        return false;
    http->fd = place.is_unix ? connect_unix(place.host, timeout_s)
                             : connect_tcp(&place, timeout_s, &problem);
    if (http->fd < 0)
        return fault_set(why,
                         problem == NULL && errno == EACCES ? FAULT_BAD_KEY : FAULT_TARGET_DOWN,
                         "%.150s: %s", url, problem != NULL ? problem : strerror(errno));
    if (send_request(http, &place, request, why) &&
        read_head(http, strcmp(request->method, "HEAD") == 0, why))
        return true;
    cli_http_close(http);
    return false;
}

enum cli_http_result cli_http_read(struct cli_http *http, struct text *data, struct fault *why)
{
    buffer_drop(&http->in, http->used);
    http->used = 0;
    while (!http->is_over) {
        struct text bytes = buffer_text(&http->in);
        size_t before = bytes.len;
        enum body_result result = body_next(&http->body, &bytes, data, why);
        http->used = before - bytes.len;
        if (result == BODY_DATA)
            return CLI_HTTP_DATA;
        if (result == BODY_BAD)
            return CLI_HTTP_BROKEN;
        if (result == BODY_END)
            break;
        buffer_drop(&http->in, http->used);
        http->used = 0;
        int got = receive(http, why);
        if (got < 0)
            return CLI_HTTP_BROKEN;
        if (got == 0 && !body_may_end_here(&http->body)) {
            fault_set(why, FAULT_TARGET_CUT, "the answer broke off");
            return CLI_HTTP_BROKEN;
        }
        if (got == 0)
            break;
    }
    http->is_over = true;
    return CLI_HTTP_END;
}

void cli_http_close(struct cli_http *http)
{
    if (http->fd >= 0)
        close(http->fd);
    http->fd = -1;
    memory_free(http->head_bytes);
    http->head_bytes = NULL;
    buffer_done(&http->in);
}

unsigned cli_http_ask(const char *url, const struct cli_request *request, int timeout_s,
                      struct buffer *body, struct fault *why)
{
    struct cli_http http;
    struct text piece;
    if (!cli_http_open(&http, url, request, timeout_s, why))
        return 0;
    unsigned status = http.head.status;
    enum cli_http_result result;
    while ((result = cli_http_read(&http, &piece, why)) == CLI_HTTP_DATA)
        if (!buffer_append_text(body, piece)) {
            fault_set(why, FAULT_TOO_LARGE, "the answer is too long");
            result = CLI_HTTP_BROKEN;
            break;
        }
    cli_http_close(&http);
    return result == CLI_HTTP_END ? status : 0;
}
