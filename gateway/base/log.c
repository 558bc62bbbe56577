/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "gateway/base/buffer.h"
#include "gateway/base/clock.h"
#include "gateway/base/memory.h"

enum {
    QUEUE_BYTES = 2 << 20,   /* waiting; as much again may be on its way to the file */
    HURRY_BYTES = 256 << 10, /* so much waiting wakes the writer before its time */
    KEEP_BYTES = 256 << 10,  /* memory kept by a queue between two bursts */
    REST_BYTES = 16 << 10,   /* and by one that rests */
    REST_MS = 1000,          /* how long there was no line then */
    NEED_BATCHES = 16,       /* each batch makes what was needed before count a part less */
    NEED_TIMES = 4,          /* room for more than so many times what is needed is given back */
    GATHER_MS = 100,         /* how long lines are gathered */
    CLOSE_US = 2000000,      /* how long a stalled reader may hold up log_close() */
    MESSAGE_BYTES = 3072,    /* longer messages are cut */
    LINE_BYTES = 8192,       /* a message with its escapes, time and names; cut beyond */
    PIECE_BYTES = 4096,      /* PIPE_BUF: a pipe that polls ready takes it at once and whole */
    LOG_MODE = 0640,
};

/* What the threads that log share with the writer; under the lock. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t wake; /* of the monotonic clock: who sets the other one stops no log */
static struct {
    struct buffer waiting;
    uint64_t dropped; /* lines that did not fit */
    bool is_open;     /* there is a writer */
    bool is_idle;     /* it waits for the first line */
    bool hurry, reopen, closing;
    uint64_t close_by_us;
} queue;

/* The writer's own; log_open() sets it up before the thread starts. */
static struct {
    pthread_t thread;
    char *path; /* NULL for stderr and stdout */
    int fd;
    bool is_file;
    bool torn; /* the last line written has no end: a write failed in the middle */
    struct buffer batch;
    size_t need;   /* bytes: what batches had in them of late */
    uint64_t lost; /* lines that could not be written, not reported yet */
} writer = {.fd = STDERR_FILENO};

static atomic_int lowest = LOG_INFO;
static atomic_bool as_json;

/* clang-format off */
static const char *const level_words[][2] = {
    [LOG_DEBUG] = {"DEBUG", "debug"},
    [LOG_INFO] =  {"INFO",  "info"},
    [LOG_WARN] =  {"WARN",  "warn"},
    [LOG_ERROR] = {"ERROR", "error"},
};
/* clang-format on */

void log_set_level(enum log_level level)
{
    atomic_store_explicit(&lowest, (int)level, memory_order_relaxed);
}

bool log_wants(enum log_level level)
{
    return (int)level >= atomic_load_explicit(&lowest, memory_order_relaxed);
}

bool log_is_json(void)
{
    return atomic_load_explicit(&as_json, memory_order_relaxed);
}

/* ---- the writer ---- */

static uint64_t count_lines(struct text t)
{
    uint64_t lines = 0;
    for (size_t at; (at = text_find_byte(t, '\n')) != SIZE_MAX; t = text_from(t, at + 1))
        lines++;
    return lines;
}

/* May the writer go on waiting for a reader that stalls? */
static bool may_wait(void)
{
    pthread_mutex_lock(&lock);
    bool may = !queue.closing || clock_now_us() < queue.close_by_us;
    pthread_mutex_unlock(&lock);
    return may;
}

/* Whole lines as far as they go into one piece, so that processes that share a pipe do not mix. */
static size_t piece_of(struct text t)
{
    if (writer.is_file || t.len <= PIECE_BYTES)
        return t.len;
    const char *end = memrchr(t.at, '\n', PIECE_BYTES);
    return end ? (size_t)(end - t.at) + 1 : PIECE_BYTES;
}

/* Write all of <t>, waiting for a slow reader; returns what could not be written. */
static struct text write_out(struct text t)
{
    while (t.len > 0 && may_wait()) {
        struct pollfd ready = {.fd = writer.fd, .events = POLLOUT};
        if (!writer.is_file && poll(&ready, 1, GATHER_MS) <= 0)
            continue;
        ssize_t wrote = write(writer.fd, t.at, piece_of(t));
        if (wrote < 0 && errno == EINTR)
            continue;
        if (wrote < 0 && errno == EAGAIN) {
            usleep(1000); /* it polls ready, yet has no room for the piece */
            continue;
        }
        if (wrote <= 0)
            break; /* full disk, closed pipe: these lines are lost, the next ones are tried */
        writer.torn = t.at[wrote - 1] != '\n';
        t = text_from(t, (size_t)wrote);
    }
    return t;
}

static size_t compose(char *line, enum log_level level, const char *component, const char *message);

/* Say how many lines are missing, where they are missing. */
static void report_lost(void)
{
    char message[96], line[LINE_BYTES];
    if (writer.torn && write_out(TEXT("\n")).len > 0)
        return;
    if (writer.lost == 0)
        return;
    snprintf(message, sizeof(message),
             "%llu lines are missing here: the log was not written fast enough",
             (unsigned long long)writer.lost);
    size_t len = compose(line, LOG_WARN, "log", message);
    if (write_out((struct text){line, len}).len == 0)
        writer.lost = 0;
}

/* Is <buffer> larger than what has come of late needs? One burst a day is no reason to keep it. */
static bool is_too_large(const struct buffer *buffer)
{
    return buffer->capacity > KEEP_BYTES ||
           (buffer->capacity > REST_BYTES && buffer->capacity / NEED_TIMES > writer.need);
}

static void write_batch(void)
{
    size_t length = buffer_length(&writer.batch);
    writer.need -= writer.need / NEED_BATCHES;
    if (writer.need < length)
        writer.need = length;
    report_lost();
    writer.lost += count_lines(write_out(buffer_text(&writer.batch)));
    buffer_clear(&writer.batch);
    if (is_too_large(&writer.batch))
        buffer_done(&writer.batch);
}

/* Open the log's file; stderr when that fails. Returns false then. */
static bool open_target(void)
{
    int fd = -1;
    if (writer.path) {
        /* O_NONBLOCK: a named pipe without a reader must not hold us up. */
        int flags = O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY | O_NONBLOCK;
        fd = open(writer.path, flags, LOG_MODE);
        if (fd < 0)
            return false;
        if (writer.fd > STDERR_FILENO)
            close(writer.fd);
        writer.fd = fd;
    }
    struct stat facts;
    writer.is_file = fstat(writer.fd, &facts) == 0 && S_ISREG(facts.st_mode);
    writer.torn = false;
    return true;
}

static void reopen_target(void)
{
    if (!open_target())
        log_line(LOG_ERROR, "log", "%s: cannot be opened again, the old file stays in use: %s",
                 writer.path, strerror(errno));
}

static void deadline_in(struct timespec *at, clockid_t clock, unsigned ms)
{
    clock_gettime(clock, at);
    at->tv_sec += ms / 1000;
    at->tv_nsec += (long)(ms % 1000) * 1000000;
    if (at->tv_nsec >= 1000000000) {
        at->tv_sec++;
        at->tv_nsec -= 1000000000;
    }
}

static bool has_nothing_to_do(void)
{
    return buffer_length(&queue.waiting) == 0 && !queue.closing && !queue.reopen;
}

/* Nothing is in either of the two. */
static void rest(void)
{
    writer.need = 0;
    if (queue.waiting.capacity > REST_BYTES)
        buffer_done(&queue.waiting);
    if (writer.batch.capacity > REST_BYTES)
        buffer_done(&writer.batch);
}

/* Called with the lock held, as the two below. */
static void await_first_line(void)
{
    struct timespec until;
    deadline_in(&until, CLOCK_MONOTONIC, REST_MS);
    for (bool rests = false; has_nothing_to_do();) {
        queue.is_idle = true;
        if (rests)
            pthread_cond_wait(&wake, &lock);
        else if (pthread_cond_timedwait(&wake, &lock, &until) == ETIMEDOUT && has_nothing_to_do()) {
            rest();
            rests = true;
        }
    }
    queue.is_idle = false;
}

static void gather_lines(void)
{
    struct timespec until;
    deadline_in(&until, CLOCK_MONOTONIC, GATHER_MS);
    while (!queue.hurry && !queue.closing && !queue.reopen)
        if (pthread_cond_timedwait(&wake, &lock, &until) == ETIMEDOUT)
            break;
    queue.hurry = false;
}

/* Under load the next lines come at once: to be woken for the first of them, too, would interrupt
 * the calls twice as often. */
static void await_lines(void)
{
    gather_lines();
    if (has_nothing_to_do()) {
        await_first_line();
        gather_lines();
    }
}

static void *run_writer(void *unused)
{
    bool closing = false;
    while (!closing) {
        pthread_mutex_lock(&lock);
        await_lines();
        struct buffer full = queue.waiting;
        queue.waiting = writer.batch;
        writer.batch = full;
        writer.lost += queue.dropped;
        queue.dropped = 0;
        bool reopen = queue.reopen;
        queue.reopen = false;
        closing = queue.closing;
        pthread_mutex_unlock(&lock);
        write_batch();
        if (reopen)
            reopen_target();
    }
    return unused;
}

/* ---- opening and closing ---- */

static void init_wake(void)
{
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&wake, &attributes);
    pthread_condattr_destroy(&attributes);
}

/* A forked child has no writer: it says what it has to say directly, until it opens its own. */
static void on_fork(void)
{
    pthread_mutex_init(&lock, NULL);
    init_wake();
    queue.is_open = false;
    buffer_clear(&queue.waiting);
    buffer_clear(&writer.batch);
    writer.lost = 0;
}

static void watch_forks(void)
{
    init_wake();
    pthread_atfork(NULL, NULL, on_fork);
}

/* Free what the writer leaves behind. */
static void forget_writer(void)
{
    buffer_done(&queue.waiting);
    buffer_done(&writer.batch);
    if (writer.fd > STDERR_FILENO)
        close(writer.fd);
    memory_free(writer.path);
    writer.path = NULL;
    writer.fd = STDERR_FILENO;
}

static void start_writer(void)
{
    /* The writer takes no signal of the process, and a closed pipe is an error, not a signal. */
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int failed = pthread_create(&writer.thread, NULL, run_writer, NULL);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (failed) {
        log_line(LOG_ERROR, "log", "no thread for the log, writing to stderr: %s",
                 strerror(failed));
        forget_writer();
        return;
    }
    pthread_setname_np(writer.thread, "log");
    pthread_mutex_lock(&lock);
    queue.is_open = true;
    pthread_mutex_unlock(&lock);
}

void log_open(const char *path, enum log_format format, enum log_level level)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, watch_forks);
    log_close();
    buffer_init(&queue.waiting, QUEUE_BYTES);
    buffer_init(&writer.batch, QUEUE_BYTES);
    writer.need = 0;
    queue.hurry = queue.reopen = queue.closing = false;
    bool is_stdout = strcmp(path, "stdout") == 0;
    writer.path = is_stdout || strcmp(path, "stderr") == 0 ? NULL : memory_string(text_of(path));
    writer.fd = is_stdout ? STDOUT_FILENO : STDERR_FILENO;
    bool opened = open_target();
    int why = errno;
    bool json = format == LOG_JSON || (format == LOG_AUTO && !isatty(writer.fd));
    atomic_store(&as_json, json);
    log_set_level(level);
    start_writer();
    if (!opened)
        log_line(LOG_ERROR, "log", "%s: cannot be opened, writing to stderr: %s", path,
                 strerror(why));
}

void log_close(void)
{
    pthread_mutex_lock(&lock);
    bool was_open = queue.is_open;
    queue.is_open = false;
    queue.closing = true;
    queue.close_by_us = clock_now_us() + CLOSE_US;
    pthread_cond_signal(&wake);
    pthread_mutex_unlock(&lock);
    if (!was_open)
        return;
    struct timespec until;
    deadline_in(&until, CLOCK_REALTIME, CLOSE_US / 1000 + 2 * GATHER_MS);
    /* A writer that the kernel does not let go is left alone with its memory. */
    if (pthread_timedjoin_np(writer.thread, NULL, &until) == 0)
        forget_writer();
    else
        pthread_detach(writer.thread);
}

void log_reopen(void)
{
    pthread_mutex_lock(&lock);
    queue.reopen = queue.is_open;
    pthread_cond_signal(&wake);
    pthread_mutex_unlock(&lock);
}

/* ---- lines ---- */

static void write_directly(struct text line)
{
    while (line.len > 0) {
        ssize_t wrote = write(STDERR_FILENO, line.at, line.len);
        if (wrote < 0 && errno == EINTR)
            continue;
        if (wrote <= 0)
            return; /* there is nobody left to tell */
        line = text_from(line, (size_t)wrote);
    }
}

static void enqueue(struct text line, bool hurry)
{
    bool wakes = false;
    pthread_mutex_lock(&lock);
    bool is_open = queue.is_open;
    if (is_open) {
        if (!buffer_append_text(&queue.waiting, line))
            queue.dropped++;
        size_t length = buffer_length(&queue.waiting);
        wakes = queue.is_idle || ((hurry || length >= HURRY_BYTES) && !queue.hurry);
        queue.hurry = queue.hurry || hurry || length >= HURRY_BYTES;
        queue.is_idle = false;
    }
    pthread_mutex_unlock(&lock);
    if (wakes) /* not before: it would only wake to wait for the lock */
        pthread_cond_signal(&wake);
    if (!is_open)
        write_directly(line);
}

/* As log_escape(), but quotes and backslashes stay as they are: people read it. */
static size_t escape_for_people(char *out, size_t room, struct text t)
{
    size_t len = 0;
    while (t.len > 0 && len < room) {
        size_t plain = 0;
        while (plain < t.len && t.at[plain] != '"' && t.at[plain] != '\\')
            plain++;
        len += log_escape(out + len, room - len, text_head(t, plain));
        if (plain < t.len && len < room)
            out[len++] = t.at[plain++];
        t = text_from(t, plain);
    }
    return len;
}

/* Write one line with its newline into <line>, which has LINE_BYTES; returns its length. */
static size_t compose(char *line, enum log_level level, const char *component, const char *message)
{
    char stamp[CLOCK_STAMP_BYTES];
    clock_stamp(clock_wall_us(), stamp);
    bool json = log_is_json();
    const char *word = level_words[level][json];
    int head = json ? snprintf(line, LINE_BYTES,
                               "{\"ts\":\"%s\",\"level\":\"%s\",\"component\":\"%.64s\",\"msg\":\"",
                               stamp, word, component)
                    : snprintf(line, LINE_BYTES, "%s %s %.64s: ", stamp, word, component);
    size_t len = (size_t)head;
    size_t room = LINE_BYTES - len - sizeof("\"}\n");
    struct text said = text_of(message);
    len += json ? log_escape(line + len, room, said) : escape_for_people(line + len, room, said);
    struct text end = json ? TEXT("\"}\n") : TEXT("\n");
    memcpy(line + len, end.at, end.len);
    return len + end.len;
}

void log_line(enum log_level level, const char *component, const char *format, ...)
{
    if (!log_wants(level))
        return;
    char message[MESSAGE_BYTES], line[LINE_BYTES];
    va_list args;
    va_start(args, format);
    int len = vsnprintf(message, sizeof(message), format, args);
    va_end(args);
    if (len < 0)
        return;
    enqueue((struct text){line, compose(line, level, component, message)}, level == LOG_ERROR);
}

void log_raw(struct text line)
{
    enqueue(line, false);
}
