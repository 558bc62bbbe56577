/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/mock/mock.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "gateway/base/hash.h"
#include "gateway/base/memory.h"
#include "gateway/mock/inside.h"

enum {
    CALLERS_MAX = 50000,
    LOG_SERVED = 100000,
    LOG_INSIDE = 1000,
    SCRATCH_BYTES = 16 * 1024 * 1024,
    ACCEPTS_AT_ONCE = 64,
};

static void init(struct mock *mock, const struct mock_options *options, size_t log_rows)
{
    mock->options = *options;
    mock->counters = counters_new(log_rows);
    list_init(&mock->callers);
    buffer_init(&mock->scratch, SCRATCH_BYTES);
    hash_random(&mock->id_base, sizeof(mock->id_base));
}

static void done(struct mock *mock)
{
    while (!list_is_empty(&mock->callers))
        caller_end(LIST_MEMBER(mock->callers.next, struct caller, link), false);
    loop_free(mock->loop);
    buffer_done(&mock->scratch);
    counters_free(mock->counters);
    objects_free(mock);
}

void mock_id(struct mock *mock, const char *prefix, char id[48])
{
    snprintf(id, 48, "%s%08x%08llx", prefix, mock->id_base, (unsigned long long)++mock->next_id);
}

/* ------------------------------------------------------------------------- inside the gateway */

struct inside {
    struct mock mock; /* its loop is NULL before the first call comes */
    pthread_t thread;
    pthread_mutex_t lock; /* of what stands below, and of the beginning */
    int *arrivals;        /* sockets on their way to the loop */
    size_t count, capacity;
    bool knocking; /* the errand is on its way */
    struct errand errand;
};

enum { ARRIVALS_MAX = 4096 };

static void let_in(struct errand *errand)
{
    struct inside *inside = LIST_MEMBER(errand, struct inside, errand);
    pthread_mutex_lock(&inside->lock);
    int *arrivals = inside->arrivals;
    size_t count = inside->count;
    inside->arrivals = NULL;
    inside->count = inside->capacity = 0;
    inside->knocking = false;
    pthread_mutex_unlock(&inside->lock);
    for (size_t i = 0; i < count; i++)
        caller_new(&inside->mock, arrivals[i]);
    memory_free(arrivals);
}

static void *run_inside(void *with)
{
    struct inside *inside = with;
    loop_run(inside->mock.loop, NULL, NULL);
    return NULL;
}

struct mock *mock_start(void)
{
    struct inside *inside = memory_new(sizeof(*inside));
    inside->errand.run = let_in;
    pthread_mutex_init(&inside->lock, NULL);
    return &inside->mock;
}

/* With the first call; the lock is held. */
static bool begin_inside(struct inside *inside)
{
    struct loop *loop = loop_try();
    if (loop == NULL)
        return false;
    inside->mock.loop = loop;
    init(&inside->mock, &(struct mock_options){.quiet = true}, LOG_INSIDE);
    /* Signals are for the threads that wait for them. */
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int failed = pthread_create(&inside->thread, NULL, run_inside, inside);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (failed == 0)
        return true;
    done(&inside->mock);
    inside->mock = (struct mock){0};
    errno = failed;
    return false;
}

int mock_connect(struct mock *mock)
{
    struct inside *inside = LIST_MEMBER(mock, struct inside, mock);
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) != 0)
        return -1;
    pthread_mutex_lock(&inside->lock);
    bool begun = mock->loop || begin_inside(inside);
    bool full = !begun || inside->count == ARRIVALS_MAX;
    if (!full) {
        if (inside->count == inside->capacity) {
            inside->capacity = inside->capacity ? inside->capacity * 2 : 16;
            inside->arrivals =
                memory_resize(inside->arrivals, inside->capacity * sizeof(inside->arrivals[0]));
        }
        inside->arrivals[inside->count++] = ends[1];
    }
    bool knock = !full && !inside->knocking;
    inside->knocking |= knock;
    pthread_mutex_unlock(&inside->lock);
    if (full) {
        close(ends[0]);
        close(ends[1]);
        if (begun)
            errno = EAGAIN;
        return -1;
    }
    if (knock)
        loop_post(mock->loop, &inside->errand);
    return ends[0];
}

void mock_stop(struct mock *mock)
{
    if (mock == NULL)
        return;
    struct inside *inside = LIST_MEMBER(mock, struct inside, mock);
    if (mock->loop) {
        loop_stop(mock->loop);
        pthread_join(inside->thread, NULL);
        done(mock);
    }
    for (size_t i = 0; i < inside->count; i++)
        close(inside->arrivals[i]);
    memory_free(inside->arrivals);
    pthread_mutex_destroy(&inside->lock);
    memory_free(inside);
}

/* -------------------------------------------------------------------------- a server of its own */

struct server {
    struct mock mock;
    struct watch listener, signals;
    int spare; /* given up to accept and close when there are no descriptors left */
};

static void on_connection(struct watch *watch, unsigned events)
{
    (void)events;
    struct server *server = LIST_MEMBER(watch, struct server, listener);
    for (int i = 0; i < ACCEPTS_AT_ONCE; i++) {
        int fd = accept4(watch->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0 && (errno == EMFILE || errno == ENFILE)) {
            close(server->spare);
            fd = accept4(watch->fd, NULL, NULL, SOCK_CLOEXEC);
            if (fd >= 0)
                close(fd);
            server->spare = open("/dev/null", O_RDONLY | O_CLOEXEC);
            return;
        }
        if (fd < 0)
            return;
        int on = 1;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
        if (server->mock.caller_count >= CALLERS_MAX)
            close(fd);
        else
            caller_new(&server->mock, fd);
    }
}

static void on_signal(struct watch *watch, unsigned events)
{
    (void)events;
    loop_stop(LIST_MEMBER(watch, struct server, signals)->mock.loop);
}

static int listen_unix(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof(address.sun_path)) {
        errno = ENAMETOOLONG;
        return -1;
    }
    strcpy(address.sun_path, path);
    unlink(path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (bind(fd, (struct sockaddr *)&address, sizeof(address)) != 0 || listen(fd, SOMAXCONN) != 0) {
        close(fd);
        return -1;
    }
    return fd;
}

/* "127.0.0.1:9999" or "[::1]:9999": numbers, no names. */
/* For freeaddrinfo(); NULL: it is no address. */
static struct addrinfo *read_tcp(const char *address)
{
    char host[64];
    const char *colon = strrchr(address, ':');
    struct text name = {address, colon != NULL ? (size_t)(colon - address) : 0};
    if (name.len > 1 && name.at[0] == '[' && name.at[name.len - 1] == ']')
        name = (struct text){name.at + 1, name.len - 2};
    if (colon == NULL || colon[1] == 0 || name.len == 0 || name.len >= sizeof(host))
        return NULL;
    snprintf(host, sizeof(host), "%.*s", TEXT_ARGS(name));
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM,
                             .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV | AI_PASSIVE};
    struct addrinfo *found = NULL;
    uint64_t port; /* getaddrinfo() takes 65537 for 1 */
    if (!text_number(text_of(colon + 1), UINT16_MAX, &port))
        return NULL;
    return getaddrinfo(host, colon + 1, &hints, &found) == 0 ? found : NULL;
}

bool mock_may_listen(const char *address)
{
    if (address == NULL)
        return true;
    if (strncmp(address, "unix:", 5) == 0)
        return address[5] != 0;
    struct addrinfo *found = read_tcp(address);
    if (found != NULL)
        freeaddrinfo(found);
    return found != NULL;
}

static int listen_tcp(const char *address)
{
    struct addrinfo *found = read_tcp(address);
    if (found == NULL) {
        errno = EINVAL;
        return -1;
    }
    int fd = socket(found->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), on = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    bool good = bind(fd, found->ai_addr, found->ai_addrlen) == 0 && listen(fd, SOMAXCONN) == 0;
    int error = errno;
    freeaddrinfo(found);
    if (!good) {
        close(fd);
        errno = error;
        return -1;
    }
    return fd;
}

static void say_address(int fd, const char *address)
{
    char host[64] = "", port[16] = "";
    struct sockaddr_storage at = {0};
    socklen_t length = sizeof(at);
    if (getsockname(fd, (struct sockaddr *)&at, &length) == 0 && at.ss_family != AF_UNIX &&
        getnameinfo((struct sockaddr *)&at, length, host, sizeof(host), port, sizeof(port),
                    NI_NUMERICHOST | NI_NUMERICSERV) == 0)
        fprintf(stderr,
                at.ss_family == AF_INET6 ? "mock: listening on [%s]:%s\n"
                                         : "mock: listening on %s:%s\n",
                host, port);
    else
        fprintf(stderr, "mock: listening on %s\n", address);
}

static int open_signals(sigset_t *before)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    pthread_sigmask(SIG_BLOCK, &set, before);
    return signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
}

static void want_descriptors(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

int mock_serve(const struct mock_options *options)
{
    const char *address = options->address != NULL ? options->address : "127.0.0.1:9999";
    bool is_unix = strncmp(address, "unix:", 5) == 0;
    want_descriptors();
    int listener = is_unix ? listen_unix(address + 5) : listen_tcp(address);
    if (listener < 0) {
        fprintf(stderr, "mock: cannot listen on %s: %s\n", address, strerror(errno));
        return 1;
    }
    sigset_t before;
    struct server *server = memory_new(sizeof(*server));
    server->mock.loop = loop_new();
    init(&server->mock, options, LOG_SERVED);
    server->listener = (struct watch){.fd = listener, .on_event = on_connection};
    server->signals = (struct watch){.fd = open_signals(&before), .on_event = on_signal};
    server->spare = open("/dev/null", O_RDONLY | O_CLOEXEC);
    loop_add_level(server->mock.loop, &server->listener, LOOP_READ);
    loop_add_level(server->mock.loop, &server->signals, LOOP_READ);
    if (!options->quiet)
        say_address(listener, address);
    loop_run(server->mock.loop, NULL, NULL);
    done(&server->mock);
    close(listener);
    close(server->signals.fd);
    close(server->spare);
    if (is_unix)
        unlink(address + 5);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    memory_free(server);
    return 0;
}
