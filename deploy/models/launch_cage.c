/* SPDX-License-Identifier: Apache-2.0 */
#include "deploy/models/launch_cage.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "gateway/base/text.h"

enum { SMALL_FILE_BYTES = 16384 };

#define GROUPS      "/sys/fs/cgroup"
#define GROUPS_ONE  GROUPS "/memory"
#define OUR_SUBTREE "/gateway" /* systemd: DelegateSubgroup=gateway */

/* The beginning of a small file, NUL-terminated; 0 bytes when it cannot be read. */
static size_t read_small(const char *path, char *into, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    size_t length = 0;
    ssize_t got = 1;
    while (fd >= 0 && got > 0 && length + 1 < size) {
        got = read(fd, into + length, size - 1 - length);
        length += got > 0 ? (size_t)got : 0;
    }
    if (fd >= 0)
        close(fd);
    into[length] = 0;
    return length;
}

static bool write_small(const char *path, const char *what)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    bool is_written = fd >= 0 && write(fd, what, strlen(what)) == (ssize_t)strlen(what);
    if (fd >= 0)
        close(fd);
    return is_written;
}

static bool join(char *into, const char *folder, const char *name)
{
    return (size_t)snprintf(into, CAGE_PATH_MAX, "%s/%s", folder, name) < CAGE_PATH_MAX;
}

/* ---------------------------------------------------------------------------- where it may be */

/* Our own group of <controller> ("" of version 2), as /proc/self/cgroup says it. */
static bool own_group(const char *controller, char *into)
{
    char lines[SMALL_FILE_BYTES];
    struct text rest = {lines, read_small("/proc/self/cgroup", lines, sizeof lines)}, line;
    while (text_next(&rest, '\n', &line)) {
        struct text number, names, name;
        if (!text_next(&line, ':', &number))
            continue;
        size_t colon = text_find_byte(line, ':');
        names = text_head(line, colon);
        struct text path = text_from(line, colon == SIZE_MAX ? line.len : colon + 1);
        bool is_it = names.len == 0 && *controller == 0;
        while (!is_it && text_next(&names, ',', &name))
            is_it = text_equal(name, text_of(controller));
        if (is_it && path.len > 0 && path.len < CAGE_PATH_MAX) {
            snprintf(into, CAGE_PATH_MAX, "%.*s", TEXT_ARGS(path));
            return true;
        }
    }
    return false;
}

static bool is_folder(const char *path)
{
    struct stat file;
    return stat(path, &file) == 0 && S_ISDIR(file.st_mode);
}

/* In a container the path may be one of the host's, and what is mounted is our group itself. */
static bool find_first_version(char *base)
{
    char group[CAGE_PATH_MAX];
    if (!own_group("memory", group))
        return false;
    if (!join(base, GROUPS_ONE, group + (*group == '/')) || !is_folder(base))
        snprintf(base, CAGE_PATH_MAX, "%s", GROUPS_ONE);
    return access(base, W_OK) == 0;
}

/* Version 2 lets a group give memory to its children only while nobody is in it: so either it is
 * empty but for what moved on, or we live in a subgroup that was made for us. */
static bool gives_memory(const char *base)
{
    char path[CAGE_PATH_MAX], controllers[SMALL_FILE_BYTES];
    if (!join(path, base, "cgroup.subtree_control"))
        return false;
    read_small(path, controllers, sizeof controllers);
    return strstr(controllers, "memory") != NULL || write_small(path, "+memory");
}

static bool find_second_version(char *base)
{
    char group[CAGE_PATH_MAX], path[CAGE_PATH_MAX];
    if (!own_group("", group) || !join(path, GROUPS, "cgroup.controllers") ||
        access(path, R_OK) != 0 || !join(base, GROUPS, group + (*group == '/')))
        return false;
    size_t length = strlen(base), ending = sizeof OUR_SUBTREE - 1;
    if (length > ending && strcmp(base + length - ending, OUR_SUBTREE) == 0)
        base[length - ending] = 0;
    return access(base, W_OK) == 0 && gives_memory(base);
}

/* ---------------------------------------------------------------------------------- the cage */

static bool cage_file(const struct cage *cage, const char *name, char *into)
{
    return cage->path[0] != 0 && join(into, cage->path, name);
}

static bool has_file(const struct cage *cage, const char *name)
{
    char path[CAGE_PATH_MAX];
    return cage_file(cage, name, path) && access(path, F_OK) == 0;
}

static void set(const struct cage *cage, const char *name, const char *value)
{
    char path[CAGE_PATH_MAX];
    if (cage_file(cage, name, path))
        write_small(path, value);
}

static void set_limit(const struct cage *cage, int64_t limit)
{
    char number[24];
    snprintf(number, sizeof number, "%" PRId64, limit);
    if (!has_file(cage, "memory.max")) {
        set(cage, "memory.limit_in_bytes", number);
        return;
    }
    set(cage, "memory.max", number);
    set(cage, "memory.swap.max", "0"); /* a model that swaps serves nobody */
}

bool cage_make(struct cage *cage, const char *name, int64_t limit)
{
    char base[CAGE_PATH_MAX];
    cage->path[0] = 0;
    if (!find_first_version(base) && !find_second_version(base))
        return false;
    if (!join(cage->path, base, name) || (mkdir(cage->path, 0755) != 0 && errno != EEXIST) ||
        !has_file(cage, "cgroup.procs")) {
        cage->path[0] = 0;
        return false;
    }
    if (limit > 0)
        set_limit(cage, limit);
    return true;
}

int cage_door(const struct cage *cage)
{
    char path[CAGE_PATH_MAX];
    return cage_file(cage, "cgroup.procs", path) ? open(path, O_WRONLY | O_CLOEXEC) : -1;
}

size_t cage_pids(const struct cage *cage, pid_t *pids, size_t max)
{
    char path[CAGE_PATH_MAX], lines[SMALL_FILE_BYTES];
    size_t count = 0;
    if (!cage_file(cage, "cgroup.procs", path))
        return 0;
    struct text rest = {lines, read_small(path, lines, sizeof lines)}, line;
    uint64_t pid;
    while (count < max && text_next(&rest, '\n', &line))
        if (text_number(line, INT32_MAX, &pid) && pid > 0)
            pids[count++] = (pid_t)pid;
    return count;
}

/* "oom_kill 3" stands in memory.oom_control (1) and memory.events (2). */
unsigned cage_oom_kills(const struct cage *cage)
{
    static const char *const files[] = {"memory.events", "memory.oom_control"};
    char path[CAGE_PATH_MAX], lines[SMALL_FILE_BYTES];
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        if (!cage_file(cage, files[i], path) || read_small(path, lines, sizeof lines) == 0)
            continue;
        struct text rest = text_of(lines), line;
        uint64_t count;
        while (text_next(&rest, '\n', &line))
            if (text_starts(line, TEXT("oom_kill ")) &&
                text_number(text_from(line, 9), UINT32_MAX, &count))
                return (unsigned)count;
    }
    return 0;
}

void cage_kill(const struct cage *cage)
{
    if (cage->path[0] == 0)
        return;
    set(cage, "cgroup.kill", "1");
    pid_t pids[CAGE_PIDS_MAX];
    for (size_t i = cage_pids(cage, pids, CAGE_PIDS_MAX); i > 0; i--)
        kill(pids[i - 1], SIGKILL);
}

bool cage_remove(struct cage *cage)
{
    if (cage->path[0] != 0 && rmdir(cage->path) != 0 && errno != ENOENT)
        return false;
    cage->path[0] = 0;
    return true;
}

/* -------------------------------------------------------------------------------- footprints */

struct footprint footprint_of(pid_t pid)
{
    char path[64], line[256];
    long resident = 0, shared = 0;
    int64_t page = sysconf(_SC_PAGESIZE);
    snprintf(path, sizeof path, "/proc/%d/statm", (int)pid);
    read_small(path, line, sizeof line);
    char *end = line;
    strtol(line, &end, 10);
    resident = strtol(end, &end, 10);
    shared = strtol(end, &end, 10);
    return (struct footprint){resident * page, (resident - shared) * page};
}

/* Field 6 of /proc/PID/stat; the second is a name that may hold anything, in parentheses. */
static pid_t session_of(const char *pid)
{
    char path[300], line[1024];
    snprintf(path, sizeof path, "/proc/%s/stat", pid);
    read_small(path, line, sizeof line);
    char *at = strrchr(line, ')');
    if (!at || at[1] == 0)
        return 0;
    char *end;
    strtol(at + 3, &end, 10); /* ") S " and the parent */
    strtol(end, &end, 10);    /* the group */
    return (pid_t)strtol(end, &end, 10);
}

static size_t place_of(const pid_t *leaders, size_t count, pid_t session)
{
    size_t i = 0;
    while (i < count && leaders[i] != session)
        i++;
    return i;
}

void footprint_of_sessions(const pid_t *leaders, struct footprint *footprints, size_t count)
{
    memset(footprints, 0, count * sizeof(*footprints));
    DIR *all = opendir("/proc");
    struct dirent *one;
    while (all && (one = readdir(all)) != NULL) {
        if (!isdigit((unsigned char)one->d_name[0]))
            continue;
        pid_t session = session_of(one->d_name);
        size_t place = session > 0 ? place_of(leaders, count, session) : count;
        if (place == count)
            continue;
        struct footprint its = footprint_of((pid_t)strtol(one->d_name, NULL, 10));
        footprints[place].resident += its.resident;
        footprints[place].own += its.own;
    }
    if (all)
        closedir(all);
}
