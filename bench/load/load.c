/* SPDX-License-Identifier: Apache-2.0 */
/* The load that wrk cannot make: a fixed rate, whole streams, streams that are held.
 *
 *   load -p PORT -b FILE -k LINE -c 256 -s 5            each connection asks again once it is
 * answered; what has begun is waited for load … -r 5000                                      5,000
 * calls a second at random times; an answer's time counts from when its call was to begin load … -h
 * one call on each connection, all kept open for -s seconds from when the last one has begun to be
 * answered
 *
 * The last line that is printed is JSON. -h prints one more when all are open. One thread,
 * HTTP/1.1, 127.0.0.1.
 */
#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
    LINKS_MAX = 20000,
    RISING_MAX = 128,      /* streams that are opened at once, and have no answer yet */
    RISE_S = 90,           /* in which all of them must be open */
    LATE_S = 20,           /* how long answers are waited for in the end */
    TIMES_MAX = 4000000,   /* answers whose time is kept */
    WAITING_MAX = 1 << 20, /* calls whose time has come, while all connections are busy */
    HEAD_MAX = 8192,
    READ_MAX = 65536
};

enum place { IDLE, ASKED, BODY, BROKEN };
enum frame { COUNTED, CHUNK_SIZE, CHUNK_BYTES, CHUNK_END, TRAILER, UNTIL_CLOSE };

struct link {
    int fd;
    enum place place;
    enum frame frame;
    bool good;    /* status 200 */
    int64_t left; /* bytes of the body, or of the chunk */
    int64_t begun_ns;
    size_t sent, head_size;
    unsigned matched; /* letters of "data: " that were just seen */
    bool ended;
    char head[HEAD_MAX];
};

static const char EVENT[] = "data: ";

static struct {
    int port, links, seconds;
    double rate;
    bool hold;
    const char *key, *file, *path;
} wish = {.links = 1, .seconds = 1, .path = "/v1/chat/completions"};

static char *question;
static size_t question_size;
static struct link *links;
static int poller;
static bool closing; /* no new calls */
static int open_now; /* calls under way */

static struct {
    int64_t asked, good, bad, events, bytes, begun, broken;
} count;

static uint32_t *times_us; /* of good answers, in tenths of a microsecond */
static size_t times;

static int64_t *waiting_ns; /* a ring of the times at which calls were to begin */
static uint64_t waiting_first, waiting_last;

static int64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static void stop_with(const char *words)
{
    fprintf(stderr, "load: %s: %s\n", words, strerror(errno));
    exit(1);
}

/* ------------------------------------------------------------------ the question */

static char *file_read(const char *path, size_t *size)
{
    FILE *file = fopen(path, "rb");
    if (!file)
        stop_with(path);
    fseek(file, 0, SEEK_END);
    long length = ftell(file);
    rewind(file);
    char *bytes = length < 0 ? NULL : malloc((size_t)length + 1);
    if (!bytes || fread(bytes, 1, (size_t)length, file) != (size_t)length)
        stop_with(path);
    fclose(file);
    *size = (size_t)length;
    return bytes;
}

static void question_write(void)
{
    size_t size;
    char *body = file_read(wish.file, &size);
    question = malloc(size + HEAD_MAX);
    if (!question)
        stop_with("memory");
    int head = snprintf(question, HEAD_MAX,
                        "POST %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n%s\r\n"
                        "Content-Type: application/json\r\nContent-Length: %zu\r\n\r\n",
                        wish.path, wish.port, wish.key, size);
    assert(head > 0 && head < HEAD_MAX);
    memcpy(question + head, body, size);
    question_size = (size_t)head + size;
    free(body);
}

/* ------------------------------------------------------------------ a connection */

static bool link_open(struct link *link)
{
    struct sockaddr_in peer = {.sin_family = AF_INET,
                               .sin_port = htons((uint16_t)wish.port),
                               .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int one = 1;
    link->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (link->fd < 0 || connect(link->fd, (struct sockaddr *)&peer, sizeof peer) < 0) {
        if (link->fd >= 0)
            close(link->fd);
        link->place = BROKEN;
        count.broken++;
        return false;
    }
    setsockopt(link->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    fcntl(link->fd, F_SETFL, O_NONBLOCK);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = link};
    if (epoll_ctl(poller, EPOLL_CTL_ADD, link->fd, &event) < 0)
        stop_with("epoll");
    link->place = IDLE;
    return true;
}

static void link_break(struct link *link)
{
    if (link->place == ASKED || link->place == BODY) {
        count.bad++;
        open_now--;
    }
    close(link->fd);
    count.broken++;
    link->place = BROKEN;
    if (!closing && !wish.hold)
        link_open(link);
}

/* What does not fit into the socket now is sent when there is room. */
static void link_send(struct link *link)
{
    ssize_t sent = send(link->fd, question + link->sent, question_size - link->sent, MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN && errno != EINTR) {
        link_break(link);
        return;
    }
    bool was_part = link->sent > 0;
    link->sent += sent > 0 ? (size_t)sent : 0;
    bool is_part = link->sent < question_size;
    if (!was_part && !is_part)
        return;
    struct epoll_event event = {.events = EPOLLIN | (is_part ? EPOLLOUT : 0), .data.ptr = link};
    epoll_ctl(poller, EPOLL_CTL_MOD, link->fd, &event);
}

static void link_ask(struct link *link, int64_t begun_ns)
{
    link->place = ASKED;
    link->begun_ns = begun_ns;
    link->sent = link->head_size = 0;
    link->matched = 0;
    link->good = link->ended = false;
    count.asked++;
    open_now++;
    link_send(link);
}

static void answer_end(struct link *link)
{
    int64_t tenths = (now_ns() - link->begun_ns) / 100;
    open_now--;
    link->place = IDLE;
    if (!link->good) {
        count.bad++;
        return;
    }
    count.good++;
    if (times < TIMES_MAX)
        times_us[times++] = tenths > UINT32_MAX ? UINT32_MAX : (uint32_t)tenths;
}

/* ------------------------------------------------------------------ an answer */

static void events_count(struct link *link, const char *bytes, size_t size)
{
    count.bytes += (int64_t)size;
    for (size_t at = 0; at < size; at++) {
        link->matched =
            bytes[at] == EVENT[link->matched] ? link->matched + 1 : bytes[at] == EVENT[0];
        if (link->matched == sizeof EVENT - 1) {
            count.events++;
            link->matched = 0;
        }
    }
}

/* Bytes of the body among these. */
static size_t part_read(struct link *link, const char *bytes, size_t size)
{
    bool is_bounded = link->frame != UNTIL_CLOSE;
    size_t part = is_bounded && (int64_t)size > link->left ? (size_t)link->left : size;
    events_count(link, bytes, part);
    link->left -= (int64_t)part;
    if (is_bounded && link->left == 0) {
        link->ended = link->frame == COUNTED;
        link->frame = link->ended ? COUNTED : CHUNK_END;
    }
    return part;
}

/* A letter between chunks. */
static void chunk_read(struct link *link, char letter)
{
    if (letter == '\r')
        return;
    if (link->frame == TRAILER) {
        link->ended = true; /* no trailers here */
    } else if (link->frame == CHUNK_END) {
        link->frame = CHUNK_SIZE;
        link->left = 0;
    } else if (letter == '\n') {
        link->frame = link->left > 0 ? CHUNK_BYTES : TRAILER;
    } else {
        int digit = letter <= '9' ? letter - '0' : (letter | 32) - 'a' + 10;
        link->left = link->left * 16 + (digit & 15);
    }
}

/* How many bytes were body or its frame; sets ended. */
static size_t frame_read(struct link *link, const char *bytes, size_t size)
{
    size_t at = 0;
    while (at < size && !link->ended) {
        if (link->frame == COUNTED || link->frame == CHUNK_BYTES || link->frame == UNTIL_CLOSE)
            at += part_read(link, bytes + at, size - at);
        else
            chunk_read(link, bytes[at++]);
    }
    return at;
}

static const char *field_find(const char *head, const char *name)
{
    const char *found = strcasestr(head, name);
    return found ? found + strlen(name) : NULL;
}

static void head_read(struct link *link)
{
    const char *length = field_find(link->head, "\r\ncontent-length:");
    const char *coding = field_find(link->head, "\r\ntransfer-encoding:");
    link->good = strncmp(link->head, "HTTP/1.1 200", 12) == 0;
    link->place = BODY;
    link->frame = coding ? CHUNK_SIZE : length ? COUNTED : UNTIL_CLOSE;
    link->left = length && !coding ? strtoll(length, NULL, 10) : 0;
    link->ended = link->frame == COUNTED && link->left == 0;
    count.begun++;
}

/* Bytes of the head that were among these; what follows them is the body. */
static size_t head_gather(struct link *link, const char *bytes, size_t size)
{
    size_t before = link->head_size;
    size_t part = size < HEAD_MAX - 1 - before ? size : HEAD_MAX - 1 - before;
    memcpy(link->head + before, bytes, part);
    link->head[before + part] = 0;
    link->head_size += part;
    char *end = strstr(link->head, "\r\n\r\n");
    if (!end)
        return part;
    end[2] = 0;
    head_read(link);
    return (size_t)(end + 4 - link->head) - before;
}

static void on_answer(struct link *link)
{
    static char bytes[READ_MAX];
    ssize_t got = recv(link->fd, bytes, sizeof bytes, 0);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    size_t at = 0;
    while (got > 0 && at < (size_t)got && link->place != IDLE) {
        if (link->place == ASKED) {
            size_t used = head_gather(link, bytes + at, (size_t)got - at);
            if (used == 0)
                break; /* a head without an end */
            at += used;
        }
        if (link->place == BODY) {
            at += frame_read(link, bytes + at, (size_t)got - at);
            if (link->ended)
                answer_end(link);
        }
    }
    if (got > 0 && at == (size_t)got)
        return;
    if (got == 0 && link->place == BODY && link->frame == UNTIL_CLOSE)
        answer_end(link);
    link_break(link);
}

/* ------------------------------------------------------------------ when to ask */

static double random_share(void)
{
    static uint64_t state = 0x9e3779b97f4a7c15; /* the same times in each run */
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (double)((state >> 11) + 1) / 9007199254740993.0;
}

/* Calls whose time has come; when the next one is due. */
static int64_t arrivals_take(int64_t now, int64_t next_ns)
{
    while (next_ns <= now) {
        if (waiting_last - waiting_first == WAITING_MAX) {
            fputs("load: the rate is far beyond what is answered\n", stderr);
            exit(1);
        }
        waiting_ns[waiting_last++ % WAITING_MAX] = next_ns;
        next_ns += (int64_t)(-log(random_share()) * 1e9 / wish.rate);
    }
    return next_ns;
}

static void idle_ask(void)
{
    static int last; /* connections take turns */
    for (int tried = 0; tried < wish.links; tried++) {
        if (wish.rate > 0 && waiting_first == waiting_last)
            return;
        struct link *link = &links[last++ % wish.links];
        if (link->place == IDLE)
            link_ask(link, wish.rate > 0 ? waiting_ns[waiting_first++ % WAITING_MAX] : now_ns());
    }
}

static void events_wait(int64_t wait_ns)
{
    struct epoll_event events[256];
    struct timespec wait = {.tv_sec = wait_ns / 1000000000, .tv_nsec = wait_ns % 1000000000};
    int found =
        epoll_pwait2(poller, events, 256, wait_ns < 0 ? &(struct timespec){0} : &wait, NULL);
    for (int at = 0; at < found; at++) {
        struct link *link = events[at].data.ptr;
        if (events[at].events & EPOLLOUT)
            link_send(link);
        if (link->place != BROKEN && (events[at].events & (EPOLLIN | EPOLLHUP | EPOLLERR)))
            on_answer(link);
        /* A closed loop: at once again. */
        if (link->place == IDLE && !closing && wish.rate <= 0 && !wish.hold)
            link_ask(link, now_ns());
    }
}

static void run_load(void)
{
    int64_t start = now_ns(), end = start + wish.seconds * INT64_C(1000000000);
    int64_t next = start;
    for (int at = 0; at < wish.links; at++)
        link_open(&links[at]);
    if (wish.rate <= 0)
        idle_ask();
    for (int64_t now = start; now < end; now = now_ns()) {
        if (wish.rate > 0) {
            next = arrivals_take(now, next);
            idle_ask();
        }
        int64_t until = wish.rate > 0 && next < end ? next : end;
        events_wait(until - now_ns());
    }
    closing = true;
    for (int64_t late = now_ns() + LATE_S * INT64_C(1000000000); open_now > 0 && now_ns() < late;)
        events_wait(100000000);
    count.bad += open_now;
}

static void run_hold(void)
{
    int64_t start = now_ns();
    int opened = 0;
    while (count.begun + count.broken < wish.links &&
           now_ns() - start < RISE_S * INT64_C(1000000000)) {
        while (opened < wish.links && opened - count.begun - count.broken < RISING_MAX) {
            struct link *link = &links[opened++];
            if (link_open(link))
                link_ask(link, now_ns());
        }
        events_wait(10000000);
    }
    printf("{\"open\":%d,\"broken\":%lld}\n", open_now, (long long)count.broken);
    fflush(stdout);
    int64_t before = count.events, from = now_ns(), end = from + wish.seconds * INT64_C(1000000000);
    while (now_ns() < end)
        events_wait(end - now_ns());
    count.events -= before; /* those while all were open */
}

/* ------------------------------------------------------------------ what came of it */

static int time_compare(const void *a, const void *b)
{
    uint32_t left = *(const uint32_t *)a, right = *(const uint32_t *)b;
    return (left > right) - (left < right);
}

static double time_at(double share)
{
    return times ? times_us[(size_t)(share * (double)(times - 1))] / 10.0 : 0;
}

static void print_result(double seconds)
{
    qsort(times_us, times, sizeof *times_us, time_compare);
    printf("{\"requests\":%lld,\"bad\":%lld,\"broken\":%lld,\"events\":%lld,\"bytes\":%lld,"
           "\"open\":%d,"
           "\"seconds\":%.3f,\"p50\":%.1f,\"p99\":%.1f}\n",
           (long long)count.asked, (long long)count.bad, (long long)count.broken,
           (long long)count.events, (long long)count.bytes, open_now, seconds, time_at(0.5),
           time_at(0.99));
}

static void wish_read(int argc, char **argv)
{
    for (int option; (option = getopt(argc, argv, "p:u:b:k:c:s:r:h")) != -1;) {
        if (option == 'p')
            wish.port = atoi(optarg);
        else if (option == 'u')
            wish.path = optarg;
        else if (option == 'b')
            wish.file = optarg;
        else if (option == 'k')
            wish.key = optarg;
        else if (option == 'c')
            wish.links = atoi(optarg);
        else if (option == 's')
            wish.seconds = atoi(optarg);
        else if (option == 'r')
            wish.rate = atof(optarg);
        else if (option == 'h')
            wish.hold = true;
        else
            exit(2);
    }
    if (wish.port <= 0 || !wish.file || !wish.key || wish.links < 1 || wish.links > LINKS_MAX ||
        wish.seconds < 1) {
        fputs("usage: load -p PORT -b FILE -k HEADER [-u PATH] [-c CONNECTIONS] [-s SECONDS] [-r "
              "RATE | -h]\n",
              stderr);
        exit(2);
    }
}

int main(int argc, char **argv)
{
    wish_read(argc, argv);
    prctl(PR_SET_TIMERSLACK, 1); /* nanoseconds: arrivals are not late */
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    question_write();
    links = calloc((size_t)wish.links, sizeof *links);
    times_us = malloc(TIMES_MAX * sizeof *times_us);
    waiting_ns = malloc(WAITING_MAX * sizeof *waiting_ns);
    poller = epoll_create1(EPOLL_CLOEXEC);
    if (!links || !times_us || !waiting_ns || poller < 0)
        stop_with("memory");
    int64_t start = now_ns();
    if (wish.hold)
        run_hold();
    else
        run_load();
    print_result((double)(now_ns() - start) / 1e9);
    return 0;
}
