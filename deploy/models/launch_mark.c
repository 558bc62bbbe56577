/* SPDX-License-Identifier: Apache-2.0 */
#include "deploy/models/launch_mark.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "gateway/base/hash.h"
#include "gateway/base/memory.h"

enum {
    FILE_BYTES = 4096,
    ENVIRONMENT_BYTES = 128 * 1024, /* of a process: what it may be told is not much longer */
    LOG_KEPT_S = 24 * 3600,
};

#define FOLDER  "deployments"
#define ENDING  ".run"
#define VERSION "sluice launch 1"

/* ------------------------------------------------------------------------------ small files */

static char *read_file(const char *path, size_t max, size_t *length)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return NULL;
    char *bytes = memory_new(max + 1);
    ssize_t got = 1;
    for (*length = 0; got > 0 && *length<max; *length += got> 0 ? (size_t)got : 0)
        got = read(fd, bytes + *length, max - *length);
    close(fd);
    return bytes;
}

static void read_boot(char boot[BOOT_WORD_MAX])
{
    size_t length;
    char *bytes = read_file("/proc/sys/kernel/random/boot_id", BOOT_WORD_MAX - 1, &length);
    snprintf(boot, BOOT_WORD_MAX, "%.*s", (int)strcspn(bytes ? bytes : "", "\n"),
             bytes ? bytes : "");
    memory_free(bytes);
}

static int64_t since_boot_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_BOOTTIME, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

int64_t mark_boot(char boot[BOOT_WORD_MAX])
{
    read_boot(boot);
    return since_boot_us();
}

static bool is_part(const char *name)
{
    return *name != 0 && *name != '.' && strchr(name, '/') == NULL;
}

bool mark_path(char *into, const char *state, const struct launch_name *name, const char *ending)
{
    return is_part(name->deployment) && is_part(name->replica) &&
           (size_t)snprintf(into, MARK_PATH_MAX, "%s/" FOLDER "/%s/%s%s", state, name->deployment,
                            name->replica, ending) < MARK_PATH_MAX;
}

bool mark_make_folder(const char *state, const struct launch_name *name)
{
    char path[MARK_PATH_MAX];
    if (!mark_path(path, state, name, "")) {
        errno = EINVAL;
        return false;
    }
    for (char *at = path + strlen(state) + 1; (at = strchr(at, '/')) != NULL; at++) {
        *at = 0;
        bool is_made = mkdir(path, 0700) == 0 || errno == EEXIST;
        *at = '/';
        if (!is_made)
            return false;
    }
    return true;
}

/* ------------------------------------------------------------------------------- one of them */

static bool put_whole(const char *path, const char *bytes, size_t length)
{
    char aside[MARK_PATH_MAX + 8];
    snprintf(aside, sizeof aside, "%s.new", path);
    int fd = open(aside, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return false;
    bool is_good = write(fd, bytes, length) == (ssize_t)length;
    int error = is_good ? 0 : ENOSPC;
    close(fd);
    if (is_good && rename(aside, path) == 0)
        return true;
    error = error != 0 ? error : errno;
    unlink(aside);
    errno = error;
    return false;
}

bool mark_write(const char *state, const struct launch_mark *mark)
{
    char path[MARK_PATH_MAX], boot[BOOT_WORD_MAX], lines[FILE_BYTES];
    if (!mark_path(path, state, &mark->name, ENDING)) {
        errno = ENAMETOOLONG;
        return false;
    }
    read_boot(boot);
    int length = snprintf(lines, sizeof lines,
                          VERSION "\nboot %s\npid %d\nbegan %" PRIu64
                                  "\nnode %s\nrevision %u\ndigest %016" PRIx64
                                  "\n%s %s\nport %u\ncage %s\nend\n",
                          boot, (int)mark->pid, mark->began_ticks, mark->node, mark->name.revision,
                          mark->name.digest, mark->address.is_unix ? "socket" : "host",
                          mark->address.host, mark->address.port, mark->cage.path);
    if (length >= (int)sizeof lines) {
        errno = ENAMETOOLONG;
        return false;
    }
    return put_whole(path, lines, (size_t)length);
}

/* The rest of the line that begins with <word>; false when there is none. */
static bool line_of(const char *lines, const char *word, char *into, size_t size)
{
    size_t length = strlen(word);
    for (const char *at = lines; at; at = strchr(at, '\n')) {
        at += *at == '\n';
        if (strncmp(at, word, length) != 0 || at[length] != ' ')
            continue;
        size_t rest = strcspn(at + length + 1, "\n");
        if (rest >= size)
            return false;
        memcpy(into, at + length + 1, rest);
        into[rest] = 0;
        return true;
    }
    return false;
}

static bool number_of(const char *lines, const char *word, uint64_t max, uint64_t *number)
{
    char digits[24];
    return line_of(lines, word, digits, sizeof digits) && text_number(text_of(digits), max, number);
}

static bool read_mark(const char *lines, struct launch_mark *mark)
{
    char boot[BOOT_WORD_MAX], now[BOOT_WORD_MAX], digest[24];
    uint64_t pid, revision, port;
    read_boot(now);
    if (!text_starts(text_of(lines), TEXT(VERSION "\n")) || !strstr(lines, "\nend\n") ||
        !line_of(lines, "boot", boot, sizeof boot) || strcmp(boot, now) != 0 ||
        !number_of(lines, "pid", INT32_MAX, &pid) || pid < 2 ||
        !number_of(lines, "began", UINT64_MAX, &mark->began_ticks) ||
        !number_of(lines, "revision", UINT32_MAX, &revision) ||
        !number_of(lines, "port", UINT16_MAX, &port) ||
        !line_of(lines, "node", mark->node, sizeof mark->node) ||
        !line_of(lines, "digest", digest, sizeof digest) ||
        !line_of(lines, "cage", mark->cage.path, sizeof mark->cage.path))
        return false;
    mark->address.is_unix = line_of(lines, "socket", mark->address.host, sizeof mark->address.host);
    if (!mark->address.is_unix &&
        !line_of(lines, "host", mark->address.host, sizeof mark->address.host))
        return false;
    mark->pid = (pid_t)pid;
    mark->name.revision = (unsigned)revision;
    mark->name.digest = strtoull(digest, NULL, 16);
    mark->address.port = (uint16_t)port;
    return true;
}

void mark_remove(const char *state, const struct launch_name *name)
{
    char path[MARK_PATH_MAX];
    if (mark_path(path, state, name, ENDING))
        unlink(path);
}

/* -------------------------------------------------------------------------------- all of them */

/* Call <on_file> for each file of each deployment. */
static void walk(const char *state,
                 void (*on_file)(void *with, const char *deployment, const char *file), void *with)
{
    char *top = memory_format("%s/" FOLDER, state);
    DIR *deployments = opendir(top);
    struct dirent *deployment, *file;
    while (deployments && (deployment = readdir(deployments)) != NULL) {
        if (!is_part(deployment->d_name))
            continue;
        char *path = memory_format("%s/%s", top, deployment->d_name);
        DIR *files = opendir(path);
        while (files && (file = readdir(files)) != NULL)
            if (is_part(file->d_name))
                on_file(with, deployment->d_name, file->d_name);
        if (files)
            closedir(files);
        memory_free(path);
    }
    if (deployments)
        closedir(deployments);
    memory_free(top);
}

struct reader {
    const char *state;
    bool removes;
    void (*each)(void *with, const struct launch_mark *mark);
    void *with;
};

/* <file> without <ending> as the replica's name. */
static bool name_of(const char *deployment, const char *file, const char *ending,
                    struct launch_name *name)
{
    struct text whole = text_of(file), end = text_of(ending);
    if (!text_ends(whole, end) || whole.len - end.len >= sizeof name->replica ||
        strlen(deployment) >= sizeof name->deployment)
        return false;
    snprintf(name->deployment, sizeof name->deployment, "%s", deployment);
    snprintf(name->replica, sizeof name->replica, "%.*s", (int)(whole.len - end.len), file);
    return true;
}

static void read_one(void *with, const char *deployment, const char *file)
{
    struct reader *reader = with;
    struct launch_mark mark = {.pid = 0};
    char path[MARK_PATH_MAX];
    size_t length;
    if (!name_of(deployment, file, ENDING, &mark.name) ||
        !mark_path(path, reader->state, &mark.name, ENDING))
        return;
    char *lines = read_file(path, FILE_BYTES, &length);
    if (lines && read_mark(lines, &mark))
        reader->each(reader->with, &mark);
    else if (reader->removes)
        mark_remove(reader->state, &mark.name);
    memory_free(lines);
}

void mark_each(const char *state, void (*each)(void *with, const struct launch_mark *mark),
               void *with)
{
    struct reader reader = {state, true, each, with};
    walk(state, read_one, &reader);
}

void mark_look(const char *state, void (*each)(void *with, const struct launch_mark *mark),
               void *with)
{
    struct reader reader = {state, false, each, with};
    walk(state, read_one, &reader);
}

/* --------------------------------------------------------------------------------- processes */

uint64_t process_began(pid_t pid)
{
    char path[64];
    size_t length;
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    char *line = read_file(path, 1024, &length);
    char *at = line ? strrchr(line, ')') : NULL;
    uint64_t began = 0;
    if (at && at[1] == ' ' && at[2] != 'Z' && at[2] != 'X') {
        at += 3; /* behind the state, the third field; the 22nd is wanted */
        for (int field = 4; field < 22 && at; field++)
            at = strchr(at + 1, ' ');
        began = at ? strtoull(at, NULL, 10) : 0;
    }
    memory_free(line);
    return began;
}

bool mark_is_alive(const struct launch_mark *mark)
{
    return mark->pid > 1 && mark->began_ticks != 0 && process_began(mark->pid) == mark->began_ticks;
}

int64_t mark_age_us(const struct launch_mark *mark)
{
    int64_t ticks = sysconf(_SC_CLK_TCK), began = (int64_t)mark->began_ticks;
    if (began <= 0 || ticks <= 0 || began / ticks > INT64_MAX / 2000000)
        return -1;
    int64_t age_us = since_boot_us() - (began / ticks * 1000000 + began % ticks * 1000000 / ticks);
    return age_us > 0 ? age_us : 0;
}

/* "SLUICE_LAUNCH=<owner and folder, digested>/": what all of one sluice's begin with. */
static int word_beginning(char *into, const char *state, const char *owner)
{
    char hex[HEX_BYTES];
    char *both = memory_format("%s\n%s", owner, state);
    struct digest digest = hash_sha256(text_of(both));
    hash_hex(&digest, hex);
    memory_free(both);
    return snprintf(into, MARK_WORD_MAX, "SLUICE_LAUNCH=%.16s/", hex);
}

void mark_word(char into[MARK_WORD_MAX], const char *state, const char *owner,
               const struct launch_name *name)
{
    int length = word_beginning(into, state, owner);
    snprintf(into + length, MARK_WORD_MAX - (size_t)length, "%s/%s", name->deployment,
             name->replica);
}

/* Does the environment hold a word of ours? Then its replica. */
static bool find_word(struct text environment, struct text beginning, struct text *deployment,
                      struct text *replica)
{
    struct text one;
    while (text_next(&environment, '\0', &one)) {
        if (!text_starts(one, beginning))
            continue;
        struct text rest = text_from(one, beginning.len);
        *replica = TEXT("");
        return text_next(&rest, '/', deployment) && text_next(&rest, '/', replica);
    }
    return false;
}

unsigned mark_sweep(const char *state, const char *owner,
                    bool (*is_known)(void *with, struct text deployment, struct text replica),
                    void *with)
{
    char beginning[MARK_WORD_MAX], path[300];
    unsigned count = 0;
    word_beginning(beginning, state, owner);
    DIR *all = opendir("/proc");
    struct dirent *one;
    while (all && (one = readdir(all)) != NULL) {
        size_t length;
        struct text deployment, replica;
        pid_t pid = (pid_t)strtol(one->d_name, NULL, 10);
        if (!isdigit((unsigned char)one->d_name[0]) || pid <= 1 || pid == getpid())
            continue;
        snprintf(path, sizeof path, "/proc/%s/environ", one->d_name);
        char *environment = read_file(path, ENVIRONMENT_BYTES, &length);
        if (environment &&
            find_word((struct text){environment, length}, text_of(beginning), &deployment,
                      &replica) &&
            !is_known(with, deployment, replica))
            count += kill(pid, SIGKILL) == 0;
        memory_free(environment);
    }
    if (all)
        closedir(all);
    return count;
}

/* -------------------------------------------------------------------------------------- logs */

struct tidier {
    const char *state;
    time_t before;
};

static bool exists(const char *state, const struct launch_name *name)
{
    char path[MARK_PATH_MAX];
    return mark_path(path, state, name, ENDING) && access(path, F_OK) == 0;
}

static void tidy_one(void *with, const char *deployment, const char *file)
{
    const struct tidier *tidier = with;
    static const char *const endings[] = {".log", ".log.1"};
    for (size_t i = 0; i < sizeof endings / sizeof *endings; i++) {
        struct launch_name name = {.revision = 0};
        char path[MARK_PATH_MAX];
        struct stat known;
        if (name_of(deployment, file, endings[i], &name) &&
            mark_path(path, tidier->state, &name, endings[i]) && !exists(tidier->state, &name) &&
            lstat(path, &known) == 0 && known.st_mtime < tidier->before)
            unlink(path);
    }
}

void mark_tidy(const char *state)
{
    struct tidier tidier = {state, time(NULL) - LOG_KEPT_S};
    walk(state, tidy_one, &tidier);
}
