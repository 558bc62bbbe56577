/* SPDX-License-Identifier: Apache-2.0 */
/* An upstream that gives every POST the same stream, in whatever dialect it is written.
 *
 *   canned -p PORT -f FILE -d 20      the events of FILE (an empty line ends each), 20 ms apart
 *
 * One thread, HTTP/1.1 on 127.0.0.1, keep-alive; the questions have a Content-Length. For
 * `bench/run.py`: nobody else's calls are answered well.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { EVENTS_MAX = 4096, LINKS_MAX = 20000, HEAD_MAX = 8192, READ_MAX = 65536 };

static const char HEAD[] = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
                           "Cache-Control: no-cache\r\nTransfer-Encoding: chunked\r\n\r\n";

struct link {
    int fd;
    int64_t left;    /* bytes of the question that are to come; -1: its head does */
    int next;        /* event; -1: none is owed */
    uint64_t serial; /* of the connection: descriptors come again */
    size_t head_size;
    char head[HEAD_MAX];
};

/* All wait equally long, so who began to wait first is first. */
struct wait {
    int fd;
    uint64_t serial;
    int64_t due_ns;
};

static struct {
    char *bytes; /* as a chunk */
    size_t size;
} events[EVENTS_MAX];
static int events_count;

static struct link *links[LINKS_MAX]; /* by descriptor */
static struct wait waits[LINKS_MAX];
static uint64_t wait_first, wait_last;
static int64_t apart_ns;
static int poller, door;

static int64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static void stop_with(const char *words)
{
    fprintf(stderr, "canned: %s: %s\n", words, strerror(errno));
    exit(1);
}

static void event_add(const char *bytes, size_t size)
{
    if (events_count == EVENTS_MAX)
        stop_with("too many events");
    char *chunk = malloc(size + 32);
    if (!chunk)
        stop_with("memory");
    int head = snprintf(chunk, 32, "%zx\r\n", size);
    memcpy(chunk + head, bytes, size);
    memcpy(chunk + (size_t)head + size, "\r\n", 2);
    events[events_count].bytes = chunk;
    events[events_count++].size = (size_t)head + size + 2;
}

static void events_read(const char *path)
{
    static char text[1 << 20];
    FILE *file = fopen(path, "rb");
    if (!file)
        stop_with(path);
    size_t size = fread(text, 1, sizeof text - 1, file);
    fclose(file);
    text[size] = 0;
    for (char *at = text, *end; (end = strstr(at, "\n\n")) != NULL; at = end + 2)
        event_add(at, (size_t)(end + 2 - at));
    if (events_count == 0)
        stop_with("no events");
}

static void link_close(struct link *link)
{
    links[link->fd] = NULL;
    close(link->fd);
    free(link);
}

static void wait_add(const struct link *link)
{
    if (wait_last - wait_first == LINKS_MAX)
        stop_with("too many streams");
    waits[wait_last++ % LINKS_MAX] =
        (struct wait){.fd = link->fd, .serial = link->serial, .due_ns = now_ns() + apart_ns};
}

static bool bytes_send(const struct link *link, const char *bytes, size_t size)
{
    ssize_t sent = send(link->fd, bytes, size, MSG_NOSIGNAL);
    return sent == (ssize_t)size; /* who does not read for so long is not waited for */
}

static void event_send(struct link *link)
{
    bool well = bytes_send(link, events[link->next].bytes, events[link->next].size);
    if (++link->next == events_count) {
        link->next = -1;
        link->left = -1;
        link->head_size = 0;
        well = well && bytes_send(link, "0\r\n\r\n", 5);
    }
    if (!well)
        link_close(link);
    else if (link->next >= 0)
        wait_add(link);
}

static void on_question(struct link *link)
{
    link->next = 0;
    if (!bytes_send(link, HEAD, sizeof HEAD - 1))
        link_close(link);
    else
        wait_add(link);
}

/* The rest of what was read is body; false: not HTTP as it is spoken here. */
static bool head_gather(struct link *link, const char *bytes, size_t size)
{
    size_t room = HEAD_MAX - 1 - link->head_size, part = size < room ? size : room,
           before = link->head_size;
    memcpy(link->head + before, bytes, part);
    link->head[before + part] = 0;
    link->head_size += part;
    const char *end = strstr(link->head, "\r\n\r\n");
    if (!end)
        return part == size;
    const char *length = strcasestr(link->head, "\r\ncontent-length:");
    if (!length || length > end)
        return false;
    size_t of_head = (size_t)(end + 4 - link->head) - before;
    link->left = strtoll(length + 17, NULL, 10) - (int64_t)(size - of_head);
    return link->left >= 0;
}

static void on_bytes(struct link *link)
{
    static char bytes[READ_MAX];
    ssize_t got = recv(link->fd, bytes, sizeof bytes, 0);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (got <= 0 || link->next >= 0) {
        link_close(link);
        return;
    }
    if (link->left < 0) {
        if (!head_gather(link, bytes, (size_t)got)) {
            link_close(link);
            return;
        }
    } else {
        link->left -= got;
    }
    if (link->left == 0)
        on_question(link);
}

static void on_door(void)
{
    static uint64_t serial;
    int fd, one = 1;
    while ((fd = accept4(door, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        struct link *link = fd < LINKS_MAX ? malloc(sizeof *link) : NULL;
        if (!link) {
            close(fd);
            continue;
        }
        link->fd = fd;
        link->serial = ++serial;
        link->left = link->next = -1;
        link->head_size = 0;
        links[fd] = link;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
        epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event);
    }
}

static void door_open(int port)
{
    struct sockaddr_in here = {.sin_family = AF_INET,
                               .sin_port = htons((uint16_t)port),
                               .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int one = 1;
    door = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    setsockopt(door, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(door, (struct sockaddr *)&here, sizeof here) < 0 || listen(door, 4096) < 0)
        stop_with("port");
    struct epoll_event event = {.events = EPOLLIN, .data.fd = door};
    poller = epoll_create1(EPOLL_CLOEXEC);
    epoll_ctl(poller, EPOLL_CTL_ADD, door, &event);
}

static void round_run(void)
{
    struct epoll_event found[256];
    int64_t wait_ns = 1000000000;
    if (wait_first != wait_last)
        wait_ns = waits[wait_first % LINKS_MAX].due_ns - now_ns();
    if (wait_ns < 0)
        wait_ns = 0;
    struct timespec wait = {.tv_sec = wait_ns / 1000000000, .tv_nsec = wait_ns % 1000000000};
    int number = epoll_pwait2(poller, found, 256, &wait, NULL);
    for (int at = 0; at < number; at++) {
        if (found[at].data.fd == door)
            on_door();
        else if (links[found[at].data.fd])
            on_bytes(links[found[at].data.fd]);
    }
    int64_t now = now_ns();
    while (wait_first != wait_last && waits[wait_first % LINKS_MAX].due_ns <= now) {
        struct wait due = waits[wait_first++ % LINKS_MAX];
        if (links[due.fd] && links[due.fd]->serial == due.serial)
            event_send(links[due.fd]);
    }
}

int main(int argc, char **argv)
{
    int port = 0;
    const char *file = NULL;
    for (int option; (option = getopt(argc, argv, "p:f:d:")) != -1;) {
        if (option == 'p')
            port = atoi(optarg);
        else if (option == 'f')
            file = optarg;
        else if (option == 'd')
            apart_ns = atoi(optarg) * INT64_C(1000000);
    }
    if (port <= 0 || !file) {
        fputs("usage: canned -p PORT -f FILE [-d MS]\n", stderr);
        return 2;
    }
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    prctl(PR_SET_TIMERSLACK, 1);
    events_read(file);
    door_open(port);
    for (;;)
        round_run();
}
