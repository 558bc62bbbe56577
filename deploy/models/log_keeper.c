/* SPDX-License-Identifier: Apache-2.0 */
#include "deploy/models/log_keeper.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include "deploy/models/deployment.h"
#include "deploy/models/launch_exec.h"
#include "deploy/models/launch_mark.h"
#include "deploy/models/log_tail.h"
#include "gateway/base/log.h"
#include "gateway/base/memory.h"

enum { LOOK_S = 1 };

/* The first argument of one; the second is the state directory. And what it is called, so that who
 * kills all that is called sluice does not mean it. */
static const char KEEPER_WORD[] = "log-keeper";

struct look {
    const char *state_dir;
    unsigned alive;
};

static void look_at(void *with, const struct launch_mark *mark)
{
    struct look *look = with;
    char path[MARK_PATH_MAX];
    if (!mark_is_alive(mark))
        return;
    look->alive++;
    if (!mark_path(path, look->state_dir, &mark->name, ".log"))
        return;
    int fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return;
    uint64_t size = log_tail_size(fd);
    if (size > LOG_LEFT_BYTES)
        log_tail_cut(fd, path, size);
    close(fd);
}

/* Returns how many servers run. */
static unsigned look_at_all(const char *state_dir)
{
    struct look look = {.state_dir = state_dir};
    mark_look(state_dir, look_at, &look);
    return look.alive;
}

/* Until nobody is left. Who begins another one meanwhile finds the lock taken: so it is looked once
 * more after it was given up. */
static void keep(const char *state_dir)
{
    char *path = memory_format("%s/deployments", state_dir);
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC); /* needs no room on a full disk */
    memory_free(path);
    if (fd < 0)
        return;
    do {
        if (flock(fd, LOCK_EX | LOCK_NB) != 0)
            break;
        while (look_at_all(state_dir) > 0)
            nanosleep(&(struct timespec){.tv_sec = LOOK_S}, NULL);
        flock(fd, LOCK_UN);
    } while (look_at_all(state_dir) > 0);
    close(fd);
}

int deployments_main(int argc, char **argv)
{
    if (argc != 3 || strcmp(argv[1], KEEPER_WORD) != 0)
        return -1;
    pid_t pid = fork(); /* nobody's child: who started us may end, or have it reaped at once */
    if (pid != 0)
        return pid < 0;
    prctl(PR_SET_NAME, KEEPER_WORD);
    keep(argv[2]);
    return 0;
}

int log_keeper_start(const char *program, const char *state_dir)
{
    char *folder = memory_string(text_of(state_dir)), name[] = "sluice";
    char *word = memory_string(text_of(KEEPER_WORD));
    char *arguments[] = {name, word, folder, NULL}, *environment[] = {NULL};
    struct exec_started started = {.pidfd = -1, .error = errno, .what = "start it"};
    int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
    if (null >= 0) {
        struct exec_order order = {.path = program,
                                   .arguments = arguments,
                                   .environment = environment,
                                   .output = null,
                                   .members = -1};
        exec_start(&order, &started);
        close(null);
    }
    memory_free(folder);
    memory_free(word);
    if (started.pidfd < 0)
        log_line(LOG_WARN, "deploy", "logs of servers are not bounded when sluice is gone: %s",
                 strerror(started.error));
    return started.pidfd;
}
