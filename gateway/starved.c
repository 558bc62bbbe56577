/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/starved.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum {
    LOOKS = 3,      /* at which it must wait; one alone may find it between two pieces of work */
    LOOK_PART = 10, /* of the silence, between two looks */
    HALF = 2, /* of the time since the last sign: who had the processor for it was not starved */
    NOTHING =
        1000, /* one in so many parts of the silence: so little is computed by one that waits */
    PATH_BYTES = 64,
    LINE_BYTES = 128, /* as far as the state */
};

/* Of "/proc/…/stat": the state is behind the name, which may have anything in it. */
static enum starved_state read_state(const char *path)
{
    char line[LINE_BYTES] = "";
    FILE *file = fopen(path, "re");
    if (!file)
        return STARVED_UNKNOWN;
    const char *state = fgets(line, sizeof line, file) ? strrchr(line, ')') : NULL;
    fclose(file);
    if (!state || state[1] != ' ')
        return STARVED_UNKNOWN;
    return state[2] == 'R' ? STARVED_MAY_RUN : state[2] == 'D' ? STARVED_ON_DISK : STARVED_WAITS;
}

enum starved_state starved_thread(pid_t thread)
{
    char path[PATH_BYTES];
    snprintf(path, sizeof path, "/proc/self/task/%d/stat", (int)thread);
    return read_state(path);
}

enum starved_state starved_process(pid_t pid, pid_t but)
{
    char path[PATH_BYTES];
    enum starved_state found = STARVED_UNKNOWN;
    snprintf(path, sizeof path, "/proc/%d/task", (int)pid);
    DIR *tasks = opendir(path);
    if (!tasks)
        return STARVED_UNKNOWN;
    for (struct dirent *task; found != STARVED_MAY_RUN && (task = readdir(tasks));) {
        if (task->d_name[0] == '.' || atoi(task->d_name) == (int)but)
            continue;
        snprintf(path, sizeof path, "/proc/%d/task/%.16s/stat", (int)pid, task->d_name);
        enum starved_state state = read_state(path);
        if (state > found)
            found = state;
    }
    closedir(tasks);
    return found;
}

uint64_t starved_computed_us(pid_t pid)
{
    clockid_t clock;
    struct timespec spent;
    if (clock_getcpuclockid(pid, &clock) != 0 || clock_gettime(clock, &spent) != 0)
        return 0;
    return (uint64_t)spent.tv_sec * 1000000 + (uint64_t)spent.tv_nsec / 1000;
}

void starved_heard(struct starved *starved, pid_t pid, uint64_t now_us)
{
    *starved = (struct starved){.pid = pid,
                                .heard_us = now_us,
                                .looked_us = now_us,
                                .computed_us = starved_computed_us(pid)};
}

uint64_t starved_look_at_us(const struct starved *starved, uint64_t silence_us)
{
    uint64_t first = starved->heard_us + silence_us - (LOOKS - 1) * (silence_us / LOOK_PART);
    uint64_t next = starved->looked_us + silence_us / LOOK_PART;
    return next > first ? next : first;
}

/* Does it wait, as far as can be seen now? */
static bool waits(const struct starved *starved, uint64_t silence_us, uint64_t computed_us)
{
    enum starved_state state = starved_process(starved->pid, 0);
    if (state == STARVED_UNKNOWN)
        return computed_us < silence_us / NOTHING;
    return state == STARVED_WAITS;
}

bool starved_is_stuck(struct starved *starved, uint64_t silence_us, uint64_t now_us)
{
    uint64_t silent = now_us - starved->heard_us;
    uint64_t now = starved_computed_us(starved->pid);
    uint64_t computed = now > starved->computed_us ? now - starved->computed_us : 0;
    starved->looked_us = now_us;
    starved->waits = waits(starved, silence_us, computed) ? starved->waits + 1 : 0;
    if (silent < silence_us)
        return false;
    return starved->waits >= LOOKS || computed >= silent / HALF ||
           silent >= STARVED_LONG * silence_us;
}
