/* SPDX-License-Identifier: Apache-2.0 */
#include <pwd.h>
#include <sched.h>
#include <stdlib.h>
#include <unistd.h>

#include "gateway/config/document.h"

const char *host_state_directory(struct arena *arena)
{
    const char *given = getenv("STATE_DIRECTORY");
    if (given && *given) /* systemd: several are separated by colons */
        return arena_copy(arena, text_head(text_of(given), strcspn(given, ":"))).at;
    if (access("/var/lib/sluice", W_OK | X_OK) == 0)
        return "/var/lib/sluice";
    const char *base = getenv("XDG_DATA_HOME");
    if (base && *base == '/')
        return arena_format(arena, "%s/sluice", base).at;
    const char *home = getenv("HOME");
    if (!home || *home != '/') {
        const struct passwd *user = getpwuid(getuid()); /* NOLINT(concurrency-mt-unsafe) */
        home = user && user->pw_dir ? user->pw_dir : "/";
    }
    return arena_format(arena, "%s/.local/share/sluice", strcmp(home, "/") == 0 ? "" : home).at;
}

static bool read_line(const char *path, char *line, size_t room)
{
    FILE *file = fopen(path, "re");
    if (!file)
        return false;
    bool read = fgets(line, (int)room, file) != NULL;
    fclose(file);
    return read;
}

/* Processors that the control group's quota amounts to, rounded up; 0 = no quota. Version 2:
 * "max 100000" or "150000 100000" in cpu.max; version 1: two files. */
static unsigned quota_cpus(void)
{
    char line[64], period_line[64];
    long long quota = -1, period = 100000;
    if (read_line("/sys/fs/cgroup/cpu.max", line, sizeof(line))) {
        if (sscanf(line, "%lld %lld", &quota, &period) < 2)
            return 0;
    } else if (read_line("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", line, sizeof(line)) &&
               read_line("/sys/fs/cgroup/cpu/cpu.cfs_period_us", period_line,
                         sizeof(period_line))) {
        quota = strtoll(line, NULL, 10);
        period = strtoll(period_line, NULL, 10);
    }
    if (quota <= 0 || period <= 0)
        return 0;
    return (unsigned)((quota + period - 1) / period);
}

unsigned host_cpus(void)
{
    enum { CPUS_MAX = 256 };
    cpu_set_t allowed;
    long count = 1;
    if (sched_getaffinity(0, sizeof(allowed), &allowed) == 0)
        count = CPU_COUNT(&allowed);
    else if (sysconf(_SC_NPROCESSORS_ONLN) > 0)
        count = sysconf(_SC_NPROCESSORS_ONLN);
    unsigned cpus = count < 1 ? 1 : count > CPUS_MAX ? CPUS_MAX : (unsigned)count;
    unsigned quota = quota_cpus();
    return quota && quota < cpus ? quota : cpus;
}
