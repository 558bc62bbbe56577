/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/decisions.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "gateway/base/buffer.h"
#include "gateway/base/clock.h"
#include "gateway/base/log.h"
#include "gateway/base/memory.h"
#include "routing/decision.h"

enum {
    OFFER_BYTES = 32 * 1024,
    PEN_BYTES = 512 * 1024, /* while the thread has not taken what was offered before */
    LENGTH_BYTES = 2,
    TICK_MS = 500,
    TIDY_TICKS = 60,
    FILES_MAX = 65536,
    NAME_BYTES = 32,
    PATH_BYTES = 4096,
};

static const int64_t FILE_US = INT64_C(3600) * 1000000; /* a file is closed after that */
static const struct text head = TEXT("sluice decisions 2\n");

struct decision_pen {
    _Alignas(64) struct buffer fill; /* the worker's */
    _Atomic(struct buffer *) offered;
    atomic_uint_fast64_t dropped;
};

struct decisions {
    char *directory;
    struct decision_pen *pens;
    unsigned pen_count;
    atomic_int_fast64_t keep_us, max_bytes;
    atomic_uint_fast64_t written, lost;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    bool closing;
    /* the thread's own */
    int fd; /* -1: none is open */
    int64_t file_bytes, file_begun_us;
    int64_t kept_us; /* keep_us as it was when old files were last looked for */
    bool sick;
};

/* ------------------------------------------------------------------------------- workers */

struct decision_pen *decisions_pen(struct decisions *decisions, unsigned worker)
{
    return &decisions->pens[worker];
}

void decisions_offer(struct decision_pen *pen)
{
    if (buffer_length(&pen->fill) == 0 || atomic_load_explicit(&pen->offered, memory_order_relaxed))
        return;
    struct buffer *offered = memory_new(sizeof(*offered));
    *offered = pen->fill;
    buffer_init(&pen->fill, PEN_BYTES);
    atomic_store_explicit(&pen->offered, offered, memory_order_release);
}

void decisions_put(struct decision_pen *pen, struct text first, struct text rest)
{
    size_t len = first.len + rest.len;
    char *at = len <= DECISION_BYTES ? buffer_room(&pen->fill, LENGTH_BYTES + len) : NULL;
    if (!at) {
        atomic_fetch_add_explicit(&pen->dropped, 1, memory_order_relaxed);
        return;
    }
    at[0] = (char)(len & 0xff);
    at[1] = (char)(len >> 8);
    memcpy(at + LENGTH_BYTES, first.at, first.len);
    memcpy(at + LENGTH_BYTES + first.len, rest.at, rest.len);
    buffer_grow(&pen->fill, LENGTH_BYTES + len);
    if (buffer_length(&pen->fill) >= OFFER_BYTES)
        decisions_offer(pen);
}

/* --------------------------------------------------------------------------------- files */

struct old_file {
    char name[NAME_BYTES];
    int64_t bytes, changed_us;
};

static bool is_ours(const char *name)
{
    size_t len = strlen(name);
    return len < NAME_BYTES && text_ends((struct text){name, len}, TEXT(".decisions"));
}

bool decisions_names_file(struct text name)
{
    uint64_t begun;
    return name.len < NAME_BYTES && text_ends(name, TEXT(".decisions")) &&
           text_number(text_head(name, text_find_byte(name, '.')), INT64_MAX, &begun) &&
           text_find_byte(name, '.') + sizeof(".decisions") - 1 == name.len;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct old_file *)a)->name, ((const struct old_file *)b)->name);
}

/* The oldest first: their names begin with when they were begun. errno is 0, or why they cannot be
 * listed. */
static struct old_file *list_files(const char *directory, size_t *count)
{
    DIR *dir = opendir(directory);
    struct old_file *files = NULL;
    struct dirent *entry;
    size_t room = 0;
    *count = 0;
    if (!dir)
        return NULL;
    while (*count < FILES_MAX && (entry = readdir(dir)) != NULL) {
        struct stat about;
        if (!is_ours(entry->d_name) || fstatat(dirfd(dir), entry->d_name, &about, 0) != 0)
            continue;
        if (*count == room) {
            room = room ? 2 * room : 64;
            files = memory_resize(files, room * sizeof(*files));
        }
        struct old_file *file = &files[(*count)++];
        memcpy(file->name, entry->d_name, strlen(entry->d_name) + 1);
        file->bytes = about.st_size;
        file->changed_us = (int64_t)about.st_mtim.tv_sec * 1000000;
    }
    closedir(dir);
    if (*count > 0)
        qsort(files, *count, sizeof(*files), by_name);
    errno = 0;
    return files;
}

static void delete_old(struct decisions *decisions)
{
    size_t count;
    int64_t total = 0, now = clock_wall_us();
    int64_t keep = atomic_load(&decisions->keep_us), max = atomic_load(&decisions->max_bytes);
    if (keep == 0 && decisions->fd >= 0) {
        close(decisions->fd);
        decisions->fd = -1;
    }
    struct old_file *files = list_files(decisions->directory, &count);
    for (size_t i = 0; i < count; i++)
        total += files[i].bytes;
    for (size_t i = 0; i < count; i++) {
        char path[PATH_BYTES];
        bool last = i + 1 == count && decisions->fd >= 0; /* it is being written */
        if (last || (total <= max && files[i].changed_us > now - keep && keep > 0))
            continue;
        snprintf(path, sizeof(path), "%s/%s", decisions->directory, files[i].name);
        if (unlink(path) == 0)
            total -= files[i].bytes;
    }
    memory_free(files);
}

static void end_file(struct decisions *decisions)
{
    if (decisions->fd >= 0)
        close(decisions->fd);
    decisions->fd = -1;
    delete_old(decisions);
}

static bool write_all(int fd, struct text bytes)
{
    while (bytes.len > 0) {
        ssize_t done = write(fd, bytes.at, bytes.len);
        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0)
            return false;
        bytes = text_from(bytes, (size_t)done);
    }
    return true;
}

static bool begin_file(struct decisions *decisions)
{
    char path[PATH_BYTES];
    int64_t now = clock_wall_us();
    if (mkdir(decisions->directory, 0700) != 0 && errno != EEXIST)
        return false;
    snprintf(path, sizeof(path), "%s/%016lld.decisions", decisions->directory, (long long)now);
    decisions->fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_EXCL | O_CLOEXEC, 0600);
    if (decisions->fd < 0)
        return false;
    decisions->file_begun_us = now;
    decisions->file_bytes = (int64_t)head.len;
    if (write_all(decisions->fd, head))
        return true;
    int problem = errno; /* a full disk shall not have another empty file each second */
    unlink(path);
    close(decisions->fd);
    decisions->fd = -1;
    errno = problem;
    return false;
}

static uint64_t count_records(struct text bytes)
{
    uint64_t count = 0;
    for (; bytes.len >= LENGTH_BYTES; count++)
        bytes = text_from(bytes, LENGTH_BYTES + (size_t)((unsigned char)bytes.at[0] |
                                                         (unsigned char)bytes.at[1] << 8));
    return count;
}

static void note_health(struct decisions *decisions, bool good)
{
    if (!good && !decisions->sick)
        log_line(LOG_WARN, "route", "records of decisions are dropped: %s cannot be written: %s",
                 decisions->directory, strerror(errno));
    decisions->sick = !good;
}

static void append(struct decisions *decisions, struct text bytes)
{
    bool good = decisions->fd >= 0 || begin_file(decisions);
    good = good && write_all(decisions->fd, bytes);
    note_health(decisions, good);
    atomic_fetch_add_explicit(good ? &decisions->written : &decisions->lost, count_records(bytes),
                              memory_order_relaxed);
    decisions->file_bytes += (int64_t)bytes.len;
    /* Behind a record that was torn nothing could be found any more. */
    if (decisions->fd >= 0 && (!good || decisions->file_bytes >= DECISIONS_FILE_BYTES ||
                               clock_wall_us() - decisions->file_begun_us > FILE_US))
        end_file(decisions);
}

/* -------------------------------------------------------------------------------- thread */

static void take_offer(struct decisions *decisions, struct decision_pen *pen)
{
    struct buffer *offered = atomic_load_explicit(&pen->offered, memory_order_acquire);
    if (!offered)
        return;
    if (atomic_load(&decisions->keep_us) > 0)
        append(decisions, buffer_text(offered));
    buffer_done(offered);
    memory_free(offered);
    atomic_store_explicit(&pen->offered, NULL, memory_order_release);
}

static bool wait_a_tick(struct decisions *decisions)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += TICK_MS * 1000000L;
    until.tv_sec += until.tv_nsec / 1000000000L;
    until.tv_nsec %= 1000000000L;
    pthread_mutex_lock(&decisions->lock);
    if (!decisions->closing)
        pthread_cond_timedwait(&decisions->wake, &decisions->lock, &until);
    bool goes_on = !decisions->closing;
    pthread_mutex_unlock(&decisions->lock);
    return goes_on;
}

static void *run(void *with)
{
    struct decisions *decisions = with;
    pthread_setname_np(pthread_self(), "decisions");
    for (unsigned tick = 0; wait_a_tick(decisions); tick++) {
        for (unsigned i = 0; i < decisions->pen_count; i++)
            take_offer(decisions, &decisions->pens[i]);
        int64_t keep = atomic_load(&decisions->keep_us);
        if (tick % TIDY_TICKS == 0 || keep != decisions->kept_us)
            delete_old(decisions);
        decisions->kept_us = keep;
    }
    return NULL;
}

struct decisions *decisions_open(const char *directory, unsigned workers)
{
    struct decisions *decisions = memory_new(sizeof(*decisions));
    decisions->directory = memory_string(text_of(directory));
    decisions->pen_count = workers;
    decisions->fd = -1;
    size_t bytes = (workers + 1) * sizeof(*decisions->pens);
    decisions->pens = aligned_alloc(_Alignof(struct decision_pen), bytes);
    if (!decisions->pens)
        abort();
    memset(decisions->pens, 0, bytes);
    for (unsigned i = 0; i < workers; i++)
        buffer_init(&decisions->pens[i].fill, PEN_BYTES);
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&decisions->wake, &attributes);
    pthread_condattr_destroy(&attributes);
    pthread_mutex_init(&decisions->lock, NULL);
    if (pthread_create(&decisions->thread, NULL, run, decisions) != 0) {
        perror("sluice: pthread_create");
        abort();
    }
    return decisions;
}

void decisions_close(struct decisions *decisions)
{
    if (!decisions)
        return;
    pthread_mutex_lock(&decisions->lock);
    decisions->closing = true;
    pthread_cond_signal(&decisions->wake);
    pthread_mutex_unlock(&decisions->lock);
    pthread_join(decisions->thread, NULL);
    for (unsigned i = 0; i < decisions->pen_count; i++) {
        take_offer(decisions, &decisions->pens[i]);
        decisions_offer(&decisions->pens[i]); /* what came behind it */
        take_offer(decisions, &decisions->pens[i]);
    }
    if (decisions->fd >= 0)
        close(decisions->fd);
    pthread_cond_destroy(&decisions->wake);
    pthread_mutex_destroy(&decisions->lock);
    free(decisions->pens);
    memory_free(decisions->directory);
    memory_free(decisions);
}

void decisions_keep(struct decisions *decisions, int64_t keep_us, int64_t max_bytes)
{
    atomic_store(&decisions->keep_us, keep_us);
    atomic_store(&decisions->max_bytes, max_bytes);
}

struct decisions_figures decisions_figures(const struct decisions *decisions)
{
    struct decisions_figures figures = {
        .written = atomic_load_explicit(&decisions->written, memory_order_relaxed),
        .dropped = atomic_load_explicit(&decisions->lost, memory_order_relaxed),
    };
    for (unsigned i = 0; i < decisions->pen_count; i++)
        figures.dropped += atomic_load_explicit(&decisions->pens[i].dropped, memory_order_relaxed);
    return figures;
}

/* ------------------------------------------------------------------------------- reading */

bool decisions_files(const char *directory, bool (*see)(void *with, const char *name), void *with)
{
    size_t count;
    bool good = true;
    struct old_file *files = list_files(directory, &count);
    for (size_t i = 0; good && i < count; i++)
        good = see(with, files[i].name);
    memory_free(files);
    return good;
}

static void each_record(struct text bytes, void (*see)(void *with, struct text record), void *with)
{
    if (!text_starts(bytes, head))
        return;
    bytes = text_from(bytes, head.len);
    while (bytes.len >= LENGTH_BYTES) {
        size_t len = (size_t)((unsigned char)bytes.at[0] | (unsigned char)bytes.at[1] << 8);
        bytes = text_from(bytes, LENGTH_BYTES);
        if (len > bytes.len)
            return; /* torn */
        see(with, text_head(bytes, len));
        bytes = text_from(bytes, len);
    }
}

static bool read_file(const char *path, struct buffer *out)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t got = fd < 0 ? -1 : 1;
    enum { PIECE = 65536 };
    while (got > 0) {
        char *room = buffer_room(out, PIECE);
        if (!room)
            break;
        got = read(fd, room, PIECE);
        if (got > 0)
            buffer_grow(out, (size_t)got);
    }
    if (fd >= 0)
        close(fd);
    return got >= 0;
}

bool decisions_each(const char *directory, int64_t since_us,
                    void (*see)(void *with, struct text record), void *with)
{
    return decisions_between(directory, since_us, INT64_MAX, see, with);
}

bool decisions_between(const char *directory, int64_t since_us, int64_t until_us,
                       void (*see)(void *with, struct text record), void *with)
{
    size_t count;
    struct old_file *files = list_files(directory, &count);
    int why = errno;
    for (size_t i = 0; why == 0 && i < count; i++) {
        char path[PATH_BYTES];
        struct buffer bytes;
        if (files[i].changed_us + 1000000 < since_us)
            continue;
        /* What was closed so late has all that came until then, and the next ones what came then.
         */
        if (i > 0 && files[i - 1].changed_us > until_us)
            break;
        snprintf(path, sizeof(path), "%s/%s", directory, files[i].name);
        buffer_init(&bytes, 2 * DECISIONS_FILE_BYTES);
        why = read_file(path, &bytes) || errno == ENOENT ? 0 : errno; /* it was deleted meanwhile */
        each_record(buffer_text(&bytes), see, with);
        buffer_done(&bytes);
    }
    memory_free(files);
    errno = why;
    return why == 0;
}
