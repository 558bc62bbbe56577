/* SPDX-License-Identifier: Apache-2.0 */
#include "deploy/models/launch_process.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "deploy/models/launch_exec.h"
#include "deploy/models/launch_process_inside.h"
#include "deploy/models/launch_words.h"
#include "deploy/models/log_keeper.h"
#include "gateway/base/hash.h"
#include "gateway/base/log.h"
#include "gateway/base/memory.h"

enum {
    LOOK_US = 1000000,
    TIDY_US = 3600000000U,
    PORT_TRIES = 16,
    KEEPER_MS = 1000,          /* to begin */
    HISTORY_BYTES = 16 * 1024, /* of the log of one that is taken over */
};

#define LOOPBACK "127.0.0.1"

static const char DEFAULT_PATH[] = "/usr/local/bin:/usr/bin:/bin";

/* ------------------------------------------------------------------------------ the launcher */

static void on_inotify(struct watch *watch, unsigned events)
{
    (void)events;
    server_log_changed(LIST_MEMBER(watch, struct launcher, inotify_watch));
}

static void reap_keeper(struct launcher *launcher)
{
    siginfo_t ended;
    if (launcher->keeper < 0)
        return;
    loop_remove(launcher->site.loop, &launcher->keeper_watch);
    struct pollfd has_begun = {launcher->keeper, POLLIN, 0};
    if (poll(&has_begun, 1, KEEPER_MS) == 0) /* nobody waits for ever for what takes milliseconds */
        syscall(SYS_pidfd_send_signal, launcher->keeper, SIGKILL, NULL, 0);
    waitid(P_PIDFD, (id_t)launcher->keeper, &ended, WEXITED);
    close(launcher->keeper);
    launcher->keeper = -1;
}

static void on_keeper(struct watch *watch, unsigned events)
{
    if (events & (LOOP_READ | LOOP_HANGUP))
        reap_keeper(LIST_MEMBER(watch, struct launcher, keeper_watch));
}

/* A server runs: its log is to be bounded whatever happens to us. */
static void want_keeper(struct launcher *launcher)
{
    if (launcher->keeper >= 0 || !launcher->site.keeper)
        return;
    launcher->keeper = log_keeper_start(launcher->site.keeper, launcher->site.state_dir);
    if (launcher->keeper < 0)
        return;
    launcher->keeper_watch = (struct watch){.fd = launcher->keeper, .on_event = on_keeper};
    loop_add(launcher->site.loop, &launcher->keeper_watch);
}

static void on_look(struct timer *timer)
{
    struct launcher *launcher = LIST_MEMBER(timer, struct launcher, look_timer);
    uint64_t now = loop_now_us(launcher->site.loop);
    server_look(launcher);
    if (now - launcher->tidied_us >= TIDY_US) {
        launcher->tidied_us = now;
        mark_tidy(launcher->site.state_dir);
    }
    timer_set(launcher->site.loop, timer, now + LOOK_US);
}

/* Tell of what was there at the start. */
static void on_found_time(struct timer *timer)
{
    struct launcher *launcher = LIST_MEMBER(timer, struct launcher, found_timer);
    const struct launcher_ears *ears = &launcher->site.ears;
    for (struct link *at = launcher->launches.next, *next; at != &launcher->launches; at = next) {
        struct launch *launch = LIST_MEMBER(at, struct launch, link);
        next = at->next;
        if (launch->life == LIFE_FOUND)
            ears->on_found(ears->with, launcher, &launch->mark.name, launch);
    }
    ears->on_looked(ears->with, launcher, true);
}

static bool is_marked(void *with, struct text deployment, struct text replica)
{
    const char *state_dir = with;
    struct launch_name name = {.revision = 0};
    char path[MARK_PATH_MAX];
    if (deployment.len >= sizeof name.deployment || replica.len >= sizeof name.replica)
        return false;
    snprintf(name.deployment, sizeof name.deployment, "%.*s", TEXT_ARGS(deployment));
    snprintf(name.replica, sizeof name.replica, "%.*s", TEXT_ARGS(replica));
    return mark_path(path, state_dir, &name, ".run") && access(path, F_OK) == 0;
}

static unsigned sweep(const char *state_dir, const char *owner)
{
    return mark_sweep(state_dir, owner, is_marked, (void *)(uintptr_t)state_dir);
}

static void on_mark(void *with, const struct launch_mark *mark)
{
    struct launcher *launcher = with;
    struct cage cage = mark->cage;
    if (!mark_is_alive(mark)) { /* what it left behind goes with the sweep */
        cage_kill(&cage);
        mark_remove(launcher->site.state_dir, &mark->name);
        return;
    }
    if (strcmp(mark->node, launcher->node) != 0)
        return;
    struct launch *launch = memory_new(sizeof(*launch));
    server_init(launch, launcher, &mark->name);
    launch->mark = *mark;
    /* Opened first and compared after: from then on the pid cannot become another's. */
    if (!server_watch(launch) || !mark_is_alive(mark)) {
        mark_remove(launcher->site.state_dir, &mark->name);
        server_free(launch);
    }
}

static void find(struct launcher *launcher)
{
    mark_each(launcher->site.state_dir, on_mark, launcher);
    unsigned ended = sweep(launcher->site.state_dir, launcher->site.owner);
    if (ended > 0)
        log_line(LOG_WARN, "deploy", "ended %u processes that earlier model servers left behind",
                 ended);
}

static struct launcher *launcher_open(const struct launcher_site *site,
                                      const struct node_spec *node, struct fault *fault)
{
    if (node->name.len > SPEC_NAME_MAX) {
        fault_set(fault, FAULT_BAD_REQUEST, "a node's name has at most %d bytes", SPEC_NAME_MAX);
        return NULL;
    }
    struct launcher *launcher = memory_new(sizeof(*launcher));
    launcher->site = *site;
    list_init(&launcher->launches);
    list_init(&launcher->look_timer.link);
    list_init(&launcher->found_timer.link);
    launcher->look_timer.on_time = on_look;
    launcher->found_timer.on_time = on_found_time;
    snprintf(launcher->node, sizeof launcher->node, "%.*s", TEXT_ARGS(node->name));
    launcher->keeper = -1;
    launcher->inotify = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    if (launcher->inotify >= 0) {
        launcher->inotify_watch = (struct watch){.fd = launcher->inotify, .on_event = on_inotify};
        loop_add_level(site->loop, &launcher->inotify_watch, LOOP_READ);
    }
    find(launcher);
    timer_set(site->loop, &launcher->found_timer, loop_now_us(site->loop));
    timer_set(site->loop, &launcher->look_timer, loop_now_us(site->loop) + LOOK_US);
    return launcher;
}

static void free_launcher(struct grave *grave)
{
    memory_free(LIST_MEMBER(grave, struct launcher, grave));
}

static void launcher_close(struct launcher *launcher)
{
    struct loop *loop = launcher->site.loop;
    while (!list_is_empty(&launcher->launches)) {
        struct launch *launch = LIST_MEMBER(launcher->launches.next, struct launch, link);
        if (launch->life <= LIFE_RUNNING && !launcher->site.leave) {
            server_signal(launch, SIGKILL);
            cage_kill(&launch->mark.cage);
            mark_remove(launcher->site.state_dir, &launch->mark.name);
        }
        server_free(launch);
    }
    timer_stop(&launcher->look_timer);
    timer_stop(&launcher->found_timer);
    reap_keeper(launcher);
    if (launcher->inotify >= 0) {
        loop_remove(loop, &launcher->inotify_watch);
        close(launcher->inotify);
    }
    loop_bury(loop, &launcher->grave, free_launcher);
}

/* ----------------------------------------------------------------------------------- a start */

static bool is_given(const struct launcher *launcher, uint16_t port)
{
    for (struct link *at = launcher->launches.next; at != &launcher->launches; at = at->next)
        if (LIST_MEMBER(at, struct launch, link)->mark.address.port == port)
            return true;
    return false;
}

/* One that nobody listens at now; somebody may until the server does, and then it is tried again.
 */
static uint16_t find_port(const struct launcher *launcher)
{
    for (int i = 0; i < PORT_TRIES; i++) {
        struct sockaddr_in address = {.sin_family = AF_INET,
                                      .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        socklen_t length = sizeof address;
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        bool is_found = fd >= 0 && bind(fd, (struct sockaddr *)&address, length) == 0 &&
                        getsockname(fd, (struct sockaddr *)&address, &length) == 0;
        if (fd >= 0)
            close(fd);
        if (is_found && !is_given(launcher, ntohs(address.sin_port)))
            return ntohs(address.sin_port);
    }
    return 0;
}

static bool find_address(struct launch *launch)
{
    struct launch_address *address = &launch->mark.address;
    char path[MARK_PATH_MAX];
    struct sockaddr_un longest;
    if (!launch_wants_socket(launch->spec)) {
        snprintf(address->host, sizeof address->host, LOOPBACK);
        address->port = find_port(launch->launcher);
        if (address->port == 0)
            server_fail(launch, false, "port_taken", "there is no free port on " LOOPBACK);
        return address->port != 0;
    }
    if (!mark_path(path, launch->launcher->site.state_dir, &launch->mark.name, ".sock") ||
        strlen(path) >= sizeof longest.sun_path || strlen(path) >= sizeof address->host) {
        server_fail(
            launch, true, "exec_failed",
            "the path of its socket is longer than %zu bytes: use {port}, or a shorter state "
            "directory",
            sizeof longest.sun_path - 1);
        return false;
    }
    memcpy(address->host, path, strlen(path) + 1);
    address->is_unix = true;
    unlink(path);
    return true;
}

static bool can_be_cured(int error)
{
    return error == EAGAIN || error == ENOMEM || error == EMFILE || error == ENFILE ||
           error == ETXTBSY || error == EIO || error == ENOSPC;
}

static void fail_to_exec(struct launch *launch, const char *what, int error)
{
    server_fail(launch, !can_be_cured(error), "exec_failed", "cannot %s: %.*s: %s", what,
                launch->spec->command_count > 0 ? (int)launch->spec->command[0].len : 0,
                launch->spec->command_count > 0 ? launch->spec->command[0].at : "",
                strerror(error));
}

static void make_cage(struct launch *launch)
{
    char word[MARK_WORD_MAX], name[160];
    const struct launcher_site *site = &launch->launcher->site;
    mark_word(word, site->state_dir, site->owner, &launch->mark.name);
    snprintf(name, sizeof name, "sluice-%08x-%s-%s", hash_crc32(text_of(word)),
             launch->mark.name.deployment, launch->mark.name.replica);
    cage_make(&launch->mark.cage, name, launch->spec->resources.memory_bytes);
}

static bool run(struct launch *launch, const char *program, char **arguments, char **environment,
                int log)
{
    struct exec_started started;
    struct exec_order order = {.path = program,
                               .arguments = arguments,
                               .environment = environment,
                               .output = log,
                               .members = cage_door(&launch->mark.cage)};
    bool is_started = exec_start(&order, &started);
    if (order.members >= 0)
        close(order.members);
    if (!is_started) {
        cage_remove(&launch->mark.cage);
        fail_to_exec(launch, started.what, started.error);
        return false;
    }
    launch->mark.pid = started.pid;
    launch->mark.began_ticks = process_began(started.pid);
    launch->pidfd = started.pidfd;
    launch->is_child = true;
    return true;
}

/* It runs: it must be found again, whatever happens to us. */
static void go_on(struct launch *launch, uint64_t log_from)
{
    launch->life = LIFE_RUNNING;
    launch->report = (struct launch_report){.stage = LAUNCH_RUNNING,
                                            .progress_permille = -1,
                                            .exit_code = -1,
                                            .address = launch->mark.address};
    if (!mark_write(launch->launcher->site.state_dir, &launch->mark))
        log_line(LOG_WARN, "deploy",
                 "%s/%s cannot be written down (%s): it is ended when sluice is",
                 launch->mark.name.deployment, launch->mark.name.replica, strerror(errno));
    want_keeper(launch->launcher);
    server_watch(launch);
    server_read_log(launch, log_from);
    server_tell(launch);
}

static void start_program(struct launch *launch, int log)
{
    const struct launcher_site *site = &launch->launcher->site;
    const struct launch_address *address = &launch->mark.address;
    struct launch_facts facts = {.name = &launch->mark.name,
                                 .spec = launch->spec,
                                 .host = address->is_unix ? LOOPBACK : address->host,
                                 .socket = address->is_unix ? address->host : NULL,
                                 .port = address->port};
    char word[MARK_WORD_MAX], program[PATH_MAX];
    uint64_t log_from = log_tail_size(log);
    int error = ENOENT;
    mark_word(word, site->state_dir, site->owner, &launch->mark.name);
    char **arguments = launch_arguments(&facts), **environment = launch_environment(&facts, word);
    const char *path = launch_variable(environment, "PATH");
    if (!arguments[0] ||
        !exec_find(arguments[0], path ? path : DEFAULT_PATH, program, sizeof program, &error))
        fail_to_exec(launch, "start it", error);
    else if (make_cage(launch), run(launch, program, arguments, environment, log))
        go_on(launch, log_from);
    launch_strings_free(arguments);
    launch_strings_free(environment);
}

static struct launch *launch_start(struct launcher *launcher, const struct launch_name *name,
                                   struct deployment_spec *spec, void *owner)
{
    struct launch *launch = memory_new(sizeof(*launch));
    char path[MARK_PATH_MAX];
    server_init(launch, launcher, name);
    launch->spec = spec_ref(spec);
    launch->owner = owner;
    const char *state = launcher->site.state_dir;
    int log = -1;
    if (!mark_make_folder(state, name) || !mark_path(path, state, name, ".log") ||
        (log = log_tail_writer(path)) < 0)
        server_fail(launch, false, "state_failed", "cannot write its log below %s: %s", state,
                    strerror(errno));
    else if (find_address(launch))
        start_program(launch, log);
    if (log >= 0)
        close(log);
    return launch;
}

/* ------------------------------------------------------------------------- what is asked of it */

static void launch_stop(struct launch *launch, int64_t grace_us)
{
    struct loop *loop = launch->launcher->site.loop;
    uint64_t kill_at = loop_now_us(loop) + (uint64_t)(grace_us > 0 ? grace_us : 0);
    if (launch->life > LIFE_RUNNING)
        return;
    if (launch->kill_at_us == 0)
        server_signal(launch, grace_us > 0 ? SIGTERM : SIGKILL);
    if (launch->kill_at_us != 0 && launch->kill_at_us <= kill_at)
        return;
    launch->kill_at_us = kill_at;
    timer_set(loop, &launch->kill_timer, kill_at);
}

static void launch_forget(struct launch *launch)
{
    cage_remove(&launch->mark.cage);
    server_free(launch);
}

/* Where to begin in the log of one that is taken over. */
static uint64_t history_of(const struct launch *launch)
{
    char path[MARK_PATH_MAX];
    struct stat file;
    if (!mark_path(path, launch->launcher->site.state_dir, &launch->mark.name, ".log") ||
        stat(path, &file) != 0 || file.st_size <= HISTORY_BYTES)
        return 0;
    return (uint64_t)file.st_size - HISTORY_BYTES;
}

static void launch_adopt(struct launch *launch, struct deployment_spec *spec, void *owner)
{
    launch->spec = spec_ref(spec);
    launch->owner = owner;
    if (launch->life != LIFE_FOUND)
        return; /* it has ended meanwhile, and that is about to be told */
    launch->life = LIFE_RUNNING;
    launch->report = (struct launch_report){.stage = LAUNCH_RUNNING,
                                            .progress_permille = -1,
                                            .exit_code = -1,
                                            .address = launch->mark.address};
    want_keeper(launch->launcher);
    server_read_log(launch, history_of(launch));
    server_tell(launch);
}

static void *launch_owner(const struct launch *launch)
{
    return launch->owner;
}

static void launcher_leave(struct launcher *launcher, bool leave)
{
    launcher->site.leave = leave;
}

static int64_t launch_age_us(const struct launch *launch)
{
    return mark_age_us(&launch->mark);
}

const struct launcher_kind launch_process = {
    .word = LAUNCH_BY_PROCESS,
    .name = "process",
    .open = launcher_open,
    .close = launcher_close,
    .start = launch_start,
    .stop = launch_stop,
    .forget = launch_forget,
    .adopt = launch_adopt,
    .leave = launcher_leave,
    .owner = launch_owner,
    .age_us = launch_age_us,
};

/* ---------------------------------------------------------------------------------- strangers */

struct strangers {
    const char *state_dir;
    const struct text *nodes;
    size_t count;
};

static void end_stranger(void *with, const struct launch_mark *mark)
{
    const struct strangers *strangers = with;
    for (size_t i = 0; i < strangers->count; i++)
        if (text_equal(strangers->nodes[i], text_of(mark->node)))
            return;
    struct cage cage = mark->cage;
    if (mark_is_alive(mark))
        kill(-mark->pid, SIGKILL);
    cage_kill(&cage);
    mark_remove(strangers->state_dir, &mark->name);
}

void launch_process_end_strangers(const char *state_dir, const char *owner,
                                  const struct text *nodes, size_t count)
{
    struct strangers strangers = {state_dir, nodes, count};
    mark_each(state_dir, end_stranger, &strangers);
    sweep(state_dir, owner);
}
