/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/handoff.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "gateway/base/buffer.h"
#include "gateway/base/memory.h"

enum { BYTES_MAX = 4 << 20, COUNT_MAX = 4096 };
static const char variable[] = "SLUICE_HANDOFF";

/* ---------------------------------------------------------------------------------- writing */

static void put(struct buffer *out, const char *fact, long long number)
{
    buffer_format(out, "%s %lld\n", fact, number);
}

static void put_words(struct buffer *out, const char *fact, const char *words)
{
    buffer_format(out, "%s %s\n", fact, words != NULL ? words : "");
}

static void put_all(struct buffer *out, const struct handoff *handoff)
{
    const struct sockets *sockets = &handoff->sockets;
    put(out, "format", HANDOFF_FORMAT);
    put(out, "to_supervisor", handoff->to_supervisor);
    put(out, "lock", handoff->lock);
    put(out, "underway", handoff->underway);
    put(out, "admin", sockets->admin);
    put(out, "channel", handoff->channel);
    put(out, "link", handoff->link);
    put(out, "child", handoff->child);
    put(out, "elder", handoff->elder);
    put(out, "child_channel", handoff->child_channel);
    put(out, "elder_channel", handoff->elder_channel);
    put(out, "elder_until_us", (long long)handoff->elder_until_us);
    put_words(out, "state", handoff->state);
    put_words(out, "database", handoff->database);
    put_words(out, "ledger_path", handoff->ledger_path);
    put_words(out, "admin_socket", handoff->admin_socket);
    put(out, "workers", (long long)sockets->workers);
    put(out, "listeners", (long long)sockets->listeners);
    for (size_t i = 0; i < sockets->listeners; i++)
        put_words(out, "address", handoff->addresses[i]);
    for (size_t i = 0; i < sockets->listeners * sockets->workers; i++)
        put(out, "socket", sockets->fds[i]);
    for (size_t i = 0; i < sockets->path_count; i++)
        put_words(out, "path", sockets->paths[i]);
    put(out, "end", 0);
}

static void stay_open(int fd, bool stays)
{
    if (fd >= 0)
        fcntl(fd, F_SETFD, stays ? 0 : FD_CLOEXEC);
}

static void all_stay_open(const struct handoff *handoff, bool stay)
{
    const struct sockets *sockets = &handoff->sockets;
    stay_open(handoff->lock, stay);
    stay_open(handoff->underway, stay);
    stay_open(sockets->admin, stay);
    stay_open(handoff->channel, stay);
    stay_open(handoff->link, stay);
    stay_open(handoff->child_channel, stay);
    stay_open(handoff->elder_channel, stay);
    for (size_t i = 0; i < sockets->listeners * sockets->workers; i++)
        stay_open(sockets->fds[i], stay);
}

bool handoff_write(const struct handoff *handoff)
{
    struct buffer out;
    char number[24];
    buffer_init(&out, BYTES_MAX);
    put_all(&out, handoff);
    struct text bytes = buffer_text(&out);
    int file = memfd_create("handoff", 0);
    bool good = file >= 0 && !out.overrun &&
                write(file, bytes.at, bytes.len) == (ssize_t)bytes.len &&
                lseek(file, 0, SEEK_SET) == 0;
    buffer_done(&out);
    snprintf(number, sizeof number, "%d", file);
    good = good && setenv(variable, number, 1) == 0;
    if (good) {
        all_stay_open(handoff, true);
        return true;
    }
    int problem = errno;
    if (file >= 0)
        close(file);
    errno = problem;
    return false;
}

void handoff_forget(const struct handoff *handoff)
{
    const char *number = getenv(variable);
    if (number != NULL)
        close((int)strtol(number, NULL, 10));
    unsetenv(variable);
    all_stay_open(handoff, false);
}

/* ---------------------------------------------------------------------------------- reading */

struct reading {
    struct handoff *handoff;
    size_t addresses, sockets;
    long long format;
    bool bad, ended;
};

static bool takes_number(struct reading *reading, struct text fact, long long number)
{
    struct handoff *handoff = reading->handoff;
    const struct {
        const char *name;
        int *where;
    } numbers[] = {
        {"lock", &handoff->lock},
        {"underway", &handoff->underway},
        {"admin", &handoff->sockets.admin},
        {"channel", &handoff->channel},
        {"link", &handoff->link},
        {"child", &handoff->child},
        {"elder", &handoff->elder},
        {"child_channel", &handoff->child_channel},
        {"elder_channel", &handoff->elder_channel},
    };
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        if (text_equal(fact, text_of(numbers[i].name))) {
            *numbers[i].where = (int)number;
            return true;
        }
    return false;
}

static void make_room(struct reading *reading, long long listeners)
{
    struct sockets *sockets = &reading->handoff->sockets;
    if (listeners < 0 || listeners > COUNT_MAX || sockets->fds != NULL) {
        reading->bad = true;
        return;
    }
    sockets->listeners = (size_t)listeners;
    size_t count = sockets->listeners * sockets->workers;
    sockets->fds = memory_new((count + 1) * sizeof *sockets->fds);
    sockets->paths = memory_new((sockets->listeners + 1) * sizeof *sockets->paths);
    reading->handoff->addresses = memory_new((sockets->listeners + 1) * sizeof(char *));
    for (size_t i = 0; i < count; i++)
        sockets->fds[i] = -1;
}

static void take_fact(struct reading *reading, struct text fact, struct text words)
{
    struct handoff *handoff = reading->handoff;
    struct sockets *sockets = &handoff->sockets;
    long long number = strtoll(words.at, NULL, 10); /* a newline is behind it */
    const struct {
        const char *name;
        char **where;
    } texts[] = {{"state", &handoff->state},
                 {"database", &handoff->database},
                 {"ledger_path", &handoff->ledger_path},
                 {"admin_socket", &handoff->admin_socket}};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        if (text_equal(fact, text_of(texts[i].name)) && *texts[i].where == NULL) {
            *texts[i].where = memory_string(words);
            return;
        }
    if (takes_number(reading, fact, number))
        return;
    if (text_equal(fact, TEXT("format")))
        reading->format = number;
    else if (text_equal(fact, TEXT("elder_until_us")))
        handoff->elder_until_us = number > 0 ? (uint64_t)number : 0;
    else if (text_equal(fact, TEXT("to_supervisor")))
        handoff->to_supervisor = number != 0;
    else if (text_equal(fact, TEXT("workers")))
        sockets->workers = number > 0 && number <= COUNT_MAX ? (size_t)number : 0;
    else if (text_equal(fact, TEXT("listeners")))
        make_room(reading, number);
    else if (text_equal(fact, TEXT("address")) && reading->addresses < sockets->listeners)
        handoff->addresses[reading->addresses++] = memory_string(words);
    else if (text_equal(fact, TEXT("socket")) &&
             reading->sockets < sockets->listeners * sockets->workers)
        sockets->fds[reading->sockets++] = (int)number;
    else if (text_equal(fact, TEXT("path")) && sockets->path_count <= sockets->listeners)
        sockets->paths[sockets->path_count++] = memory_string(words);
    else if (text_equal(fact, TEXT("end")))
        reading->ended = true;
}

static void take_facts(struct reading *reading, struct text bytes)
{
    struct text line;
    while (text_next(&bytes, '\n', &line)) {
        size_t blank = text_find_byte(line, ' ');
        if (blank < line.len)
            take_fact(reading, text_head(line, blank), text_from(line, blank + 1));
    }
    const struct sockets *sockets = &reading->handoff->sockets;
    reading->bad = reading->bad || !reading->ended || sockets->workers == 0 ||
                   reading->addresses != sockets->listeners ||
                   reading->sockets != sockets->listeners * sockets->workers;
}

bool handoff_is_there(void)
{
    return getenv(variable) != NULL;
}

/* All of the file behind <fd>, which is closed; memory_free() it. NULL: it is none of ours. */
static char *read_file(int fd, size_t *length)
{
    struct stat what;
    char *bytes = NULL;
    *length = 0;
    if (fstat(fd, &what) == 0 && what.st_size > 0 && what.st_size < BYTES_MAX) {
        bytes = memory_new((size_t)what.st_size + 1);
        ssize_t got = pread(fd, bytes, (size_t)what.st_size, 0);
        *length = got > 0 ? (size_t)got : 0;
    }
    close(fd);
    return bytes;
}

struct handoff *handoff_read(struct fault *fault)
{
    size_t length;
    const char *number = getenv(variable);
    char *bytes = number != NULL ? read_file((int)strtol(number, NULL, 10), &length) : NULL;
    unsetenv(variable);
    if (bytes == NULL) {
        fault_set(fault, FAULT_INTERNAL, "$%s names no file that can be read", variable);
        return NULL;
    }
    struct handoff *handoff = memory_new(sizeof *handoff);
    *handoff = (struct handoff){.lock = -1,
                                .underway = -1,
                                .sockets.admin = -1,
                                .channel = -1,
                                .link = -1,
                                .child_channel = -1,
                                .elder_channel = -1};
    struct reading reading = {.handoff = handoff};
    take_facts(&reading, (struct text){bytes, length});
    memory_free(bytes);
    if (reading.format == HANDOFF_FORMAT && !reading.bad) {
        all_stay_open(handoff, false);
        return handoff;
    }
    fault_set(fault, FAULT_INTERNAL,
              "what the running sluice hands over (format %lld) is not understood by this one "
              "(format %d)",
              reading.format, HANDOFF_FORMAT);
    handoff_free(handoff);
    return NULL;
}

void handoff_free(struct handoff *handoff)
{
    if (handoff == NULL)
        return;
    for (size_t i = 0; handoff->addresses != NULL && i < handoff->sockets.listeners; i++)
        memory_free(handoff->addresses[i]);
    for (size_t i = 0; i < handoff->sockets.path_count; i++)
        memory_free(handoff->sockets.paths[i]);
    memory_free(handoff->addresses);
    memory_free(handoff->sockets.paths);
    memory_free(handoff->sockets.fds);
    memory_free(handoff->state);
    memory_free(handoff->database);
    memory_free(handoff->ledger_path);
    memory_free(handoff->admin_socket);
    memory_free(handoff);
}

/* --------------------------------------------------------------------------------- suiting */

static bool is_same(const char *what, const char *old, const char *new, struct fault *fault)
{
    old = old != NULL ? old : "";
    new = new != NULL ? new : "";
    return strcmp(old, new) == 0 ||
           fault_set(fault, FAULT_INTERNAL, "%s is \"%s\" now and was \"%s\": that takes a restart",
                     what, new, old);
}

bool handoff_suits(const struct handoff *handoff, const struct config *config, struct fault *fault)
{
    const struct sockets *sockets = &handoff->sockets;
    if (!is_same("the state directory", handoff->state, config->state, fault) ||
        !is_same("store.embedded.path", handoff->database, config->database, fault) ||
        !is_same("ledger.path", handoff->ledger_path, config->ledger_path, fault) ||
        !is_same("admin.socket", handoff->admin_socket, config->admin_socket, fault))
        return false;
    if (sockets->workers != config->workers)
        return fault_set(fault, FAULT_INTERNAL,
                         "there are %u workers now and were %zu: that takes a restart",
                         config->workers, sockets->workers);
    if (sockets->listeners != config->listener_count)
        return fault_set(fault, FAULT_INTERNAL,
                         "there are %zu listeners now and were %zu: that takes a restart",
                         config->listener_count, sockets->listeners);
    for (size_t i = 0; i < sockets->listeners; i++)
        if (!is_same("a listener's address", handoff->addresses[i], config->listeners[i].address,
                     fault))
            return false;
    return true;
}
