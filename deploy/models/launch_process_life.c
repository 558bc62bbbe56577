/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/inotify.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "deploy/models/launch_process_inside.h"
#include "deploy/models/launch_words.h"
#include "gateway/base/log.h"
#include "gateway/base/memory.h"

enum {
    WATCHED_MAX = 128, /* sessions measured at a time */
    PORT_TAKEN_US =
        60000000,        /* an address in use is noticed at the start, or is another's affair */
    LOG_SOON_US = 20000, /* many small writes are read at once */
    CLEAR_EVERY_US = 20000,
    CLEAR_WITHIN_US = 5000000,
    LAST_LOOKS = 16, /* of LOG_LOOK_BYTES: what it wrote before it ended */
    MEMORY_TOLD_US = 10000000,
    EVENTS_BYTES = 4096,
};

static uint64_t now_of(const struct launch *launch)
{
    return loop_now_us(launch->launcher->site.loop);
}

static void set(struct launch *launch, struct timer *timer, uint64_t due_us)
{
    timer_set(launch->launcher->site.loop, timer, due_us);
}

/* --------------------------------------------------------------------------------- telling */

static void on_tell(struct timer *timer)
{
    struct launch *launch = LIST_MEMBER(timer, struct launch, tell_timer);
    const struct launcher_ears *ears = &launch->launcher->site.ears;
    ears->on_report(ears->with, launch, &launch->report); /* <launch> may be gone after this */
}

void server_tell(struct launch *launch)
{
    set(launch, &launch->tell_timer, now_of(launch));
}

void server_fail(struct launch *launch, bool is_final, const char *reason, const char *format, ...)
{
    struct launch_report *report = &launch->report;
    launch->life = LIFE_ENDED;
    *report = (struct launch_report){
        .stage = LAUNCH_ENDED, .progress_permille = -1, .exit_code = -1, .is_final = is_final};
    snprintf(report->reason, sizeof report->reason, "%s", reason);
    va_list args;
    va_start(args, format);
    vsnprintf(report->words, sizeof report->words, format, args);
    va_end(args);
    server_tell(launch);
}

/* ------------------------------------------------------------------------------------ lines */

static bool tells_of_a_taken_port(struct text line)
{
    static const struct text signs[] = {TEXT("address already in use"), TEXT("eaddrinuse"),
                                        TEXT("address in use"), TEXT("port is already in use")};
    for (size_t at = 0; at < line.len; at++)
        for (size_t i = 0; i < sizeof signs / sizeof *signs; i++)
            if (text_starts_nocase(text_from(line, at), signs[i]))
                return true;
    return false;
}

static void on_line(void *with, char *line, size_t length)
{
    struct launch *launch = with;
    const struct launcher_ears *ears = &launch->launcher->site.ears;
    if (launch->spec)
        length = launch_redact(launch->spec, line, length);
    struct text t = {line, length};
    snprintf(launch->last_line, sizeof launch->last_line, "%.*s", TEXT_ARGS(text_trim(t)));
    if (!launch->port_taken && now_of(launch) - launch->began_us < PORT_TAKEN_US)
        launch->port_taken = tells_of_a_taken_port(t);
    ears->on_line(ears->with, launch, false, t);
}

static void read_log(struct launch *launch)
{
    if (log_tail_read(&launch->log, on_line, launch))
        set(launch, &launch->log_timer, now_of(launch));
}

static void on_log_time(struct timer *timer)
{
    read_log(LIST_MEMBER(timer, struct launch, log_timer));
}

void server_read_log(struct launch *launch, uint64_t from)
{
    char path[MARK_PATH_MAX];
    if (!mark_path(path, launch->launcher->site.state_dir, &launch->mark.name, ".log") ||
        !log_tail_open(&launch->log, path, LAUNCH_LINE_MAX, from))
        return;
    if (launch->launcher->inotify >= 0)
        launch->log_watch = inotify_add_watch(launch->launcher->inotify, path, IN_MODIFY);
    set(launch, &launch->log_timer, now_of(launch) + LOG_SOON_US);
}

static void note_change(struct launcher *launcher, int watch)
{
    for (struct link *at = launcher->launches.next; at != &launcher->launches; at = at->next) {
        struct launch *launch = LIST_MEMBER(at, struct launch, link);
        if (launch->log_watch == watch && launch->log_timer.due_us == 0)
            set(launch, &launch->log_timer, now_of(launch) + LOG_SOON_US);
    }
}

void server_log_changed(struct launcher *launcher)
{
    _Alignas(struct inotify_event) char bytes[EVENTS_BYTES];
    ssize_t got = read(launcher->inotify, bytes, sizeof bytes);
    for (ssize_t at = 0; got > 0 && at + (ssize_t)sizeof(struct inotify_event) <= got;) {
        const struct inotify_event *event = (const void *)(bytes + at);
        note_change(launcher, event->wd);
        at += (ssize_t)sizeof(*event) + event->len;
    }
}

/* ----------------------------------------------------------------------------------- its end */

/* The leader's pid stays its own until we have reaped it, and the group's until nobody is in it. */
void server_signal(const struct launch *launch, int number)
{
    if (launch->pidfd >= 0)
        syscall(SYS_pidfd_send_signal, launch->pidfd, number, NULL, 0);
    kill(-launch->mark.pid, number);
}

static bool is_of_another(void *with, struct text deployment, struct text replica)
{
    const struct launch_name *name = with;
    return !text_equal(deployment, text_of(name->deployment)) ||
           !text_equal(replica, text_of(name->replica));
}

/* Without a cage, what has left its session is known by its environment alone, and ended here. */
static bool is_clear(struct launch *launch)
{
    const struct launcher_site *site = &launch->launcher->site;
    pid_t pids[1];
    struct footprint left;
    if (launch->mark.cage.path[0] != 0)
        return cage_pids(&launch->mark.cage, pids, 1) == 0;
    unsigned ended = mark_sweep(site->state_dir, site->owner, is_of_another, &launch->mark.name);
    footprint_of_sessions(&launch->mark.pid, &left, 1);
    return ended == 0 && left.resident == 0;
}

static void end(struct launch *launch)
{
    const struct launcher_site *site = &launch->launcher->site;
    launch->life = LIFE_ENDED;
    mark_remove(site->state_dir, &launch->mark.name);
    if (launch->mark.address.is_unix)
        unlink(launch->mark.address.host);
    cage_remove(&launch->mark.cage);
    server_tell(launch);
}

static void clear(struct launch *launch)
{
    if (!is_clear(launch)) {
        if (now_of(launch) < launch->clear_by_us) {
            cage_kill(&launch->mark.cage);
            set(launch, &launch->clear_timer, now_of(launch) + CLEAR_EVERY_US);
            return;
        }
        log_line(LOG_WARN, "deploy", "%s/%s: something of it does not die",
                 launch->mark.name.deployment, launch->mark.name.replica);
    }
    end(launch);
}

static void on_clear_time(struct timer *timer)
{
    clear(LIST_MEMBER(timer, struct launch, clear_timer));
}

static const char *name_of_signal(int number)
{
    const char *name = sigabbrev_np(number);
    return name ? name : "?";
}

static void describe_exit(struct launch *launch, int code)
{
    struct launch_report *report = &launch->report;
    const char *said = launch->last_line;
    bool is_taken = launch->port_taken && code != 0;
    report->exit_code = code;
    snprintf(report->reason, sizeof report->reason, is_taken ? "port_taken" : "exit");
    snprintf(report->words, sizeof report->words, "it ended with exit code %d%s%s", code,
             *said ? "; it said last: " : "", said);
}

static void describe_signal(struct launch *launch, int number)
{
    struct launch_report *report = &launch->report;
    bool by_kernel = number == SIGKILL && !launch->was_killed &&
                     (cage_oom_kills(&launch->mark.cage) > 0 || launch->has_oom);
    report->signal = number;
    report->oom = by_kernel;
    snprintf(report->reason, sizeof report->reason, by_kernel ? "oom_killed" : "signal");
    if (by_kernel)
        snprintf(report->words, sizeof report->words,
                 "it wanted more than the %lld MiB of memory it may have",
                 (long long)(launch->spec ? launch->spec->resources.memory_bytes >> 20 : 0));
    else
        snprintf(report->words, sizeof report->words, "it was ended by SIG%s%s%s%s",
                 name_of_signal(number), launch->was_killed ? " after its grace" : "",
                 *launch->last_line ? "; it said last: " : "", launch->last_line);
}

static void describe_end(struct launch *launch)
{
    siginfo_t died = {.si_pid = 0};
    struct launch_report *report = &launch->report;
    int64_t memory = report->memory_bytes;
    *report = (struct launch_report){.stage = LAUNCH_ENDED,
                                     .progress_permille = -1,
                                     .exit_code = -1,
                                     .address = launch->mark.address,
                                     .memory_bytes = memory};
    bool is_known = launch->is_child && waitid(P_PIDFD, (id_t)launch->pidfd, &died, WEXITED) == 0;
    if (is_known && died.si_code == CLD_EXITED) {
        describe_exit(launch, died.si_status);
    } else if (is_known) {
        describe_signal(launch, died.si_status);
    } else if (launch->has_oom || cage_oom_kills(&launch->mark.cage) > 0) {
        describe_signal(launch, SIGKILL);
    } else {
        snprintf(report->reason, sizeof report->reason, "exit");
        snprintf(report->words, sizeof report->words,
                 "it ended; how is not known, since an earlier sluice started it");
    }
}

static void on_exit_event(struct watch *watch, unsigned events)
{
    struct launch *launch = LIST_MEMBER(watch, struct launch, exit_watch);
    struct loop *loop = launch->launcher->site.loop;
    if ((events & (LOOP_READ | LOOP_HANGUP)) == 0 || launch->life > LIFE_RUNNING)
        return;
    loop_remove(loop, &launch->exit_watch);
    timer_stop(&launch->kill_timer);
    timer_stop(&launch->log_timer);
    for (int i = 0; i < LAST_LOOKS && log_tail_read(&launch->log, on_line, launch); i++)
        continue;
    log_tail_flush(&launch->log, on_line, launch);
    /* While the pid is still its own: of an adopted one another may have reaped it. */
    if (launch->is_child || launch->mark.cage.path[0] == 0)
        kill(-launch->mark.pid, SIGKILL);
    cage_kill(&launch->mark.cage);
    describe_end(launch);
    close(launch->pidfd);
    launch->pidfd = -1;
    launch->life = LIFE_CLEARING;
    launch->clear_by_us = now_of(launch) + CLEAR_WITHIN_US;
    timer_stop(&launch->tell_timer);
    clear(launch);
}

static void on_kill_time(struct timer *timer)
{
    struct launch *launch = LIST_MEMBER(timer, struct launch, kill_timer);
    if (launch->life > LIFE_RUNNING)
        return;
    launch->was_killed = true;
    server_signal(launch, SIGKILL);
    cage_kill(&launch->mark.cage);
}

/* ------------------------------------------------------------------------------------ memory */

/* Where no cage bounds it, we do. */
static void bound_memory(struct launch *launch, int64_t own_bytes)
{
    int64_t limit = launch->spec ? launch->spec->resources.memory_bytes : 0;
    if (launch->mark.cage.path[0] != 0 || limit <= 0 || own_bytes <= limit || launch->has_oom)
        return;
    launch->has_oom = true;
    server_signal(launch, SIGKILL);
}

static void note_memory(struct launch *launch, struct footprint its)
{
    struct launch_report *report = &launch->report;
    int64_t change = its.resident - report->memory_bytes;
    bool is_much = change > report->memory_bytes / 16 || -change > report->memory_bytes / 16;
    bound_memory(launch, its.own);
    if (its.resident == 0 || launch->life != LIFE_RUNNING || report->stage != LAUNCH_RUNNING ||
        launch->tell_timer.due_us != 0 ||
        (!is_much && now_of(launch) - launch->told_memory_us < MEMORY_TOLD_US))
        return;
    launch->told_memory_us = now_of(launch);
    report->memory_bytes = its.resident;
    server_tell(launch);
}

static struct footprint footprint_in(const struct cage *cage)
{
    pid_t pids[WATCHED_MAX];
    struct footprint sum = {0, 0};
    for (size_t i = cage_pids(cage, pids, WATCHED_MAX); i > 0; i--) {
        struct footprint one = footprint_of(pids[i - 1]);
        sum.resident += one.resident;
        sum.own += one.own;
    }
    return sum;
}

void server_look(struct launcher *launcher)
{
    pid_t leaders[WATCHED_MAX];
    struct launch *uncaged[WATCHED_MAX];
    struct footprint footprints[WATCHED_MAX];
    size_t count = 0;
    for (struct link *at = launcher->launches.next; at != &launcher->launches; at = at->next) {
        struct launch *launch = LIST_MEMBER(at, struct launch, link);
        if (launch->life != LIFE_RUNNING)
            continue;
        if (launch->log_watch < 0)
            read_log(launch);
        if (launch->mark.cage.path[0] != 0) {
            note_memory(launch, footprint_in(&launch->mark.cage));
        } else if (count < WATCHED_MAX) {
            leaders[count] = launch->mark.pid;
            uncaged[count++] = launch;
        }
    }
    if (count > 0)
        footprint_of_sessions(leaders, footprints, count);
    for (size_t i = 0; i < count; i++)
        note_memory(uncaged[i], footprints[i]);
}

/* ---------------------------------------------------------------------------- birth and death */

static void init_timer(struct timer *timer, void (*on_time)(struct timer *))
{
    list_init(&timer->link);
    timer->on_time = on_time;
}

void server_init(struct launch *launch, struct launcher *launcher, const struct launch_name *name)
{
    launch->launcher = launcher;
    launch->mark.name = *name;
    snprintf(launch->mark.node, sizeof launch->mark.node, "%s", launcher->node);
    launch->pidfd = launch->log.fd = launch->log_watch = -1;
    launch->began_us = loop_now_us(launcher->site.loop);
    init_timer(&launch->tell_timer, on_tell);
    init_timer(&launch->log_timer, on_log_time);
    init_timer(&launch->kill_timer, on_kill_time);
    init_timer(&launch->clear_timer, on_clear_time);
    list_push_back(&launcher->launches, &launch->link);
}

bool server_watch(struct launch *launch)
{
    if (launch->pidfd < 0)
        launch->pidfd = (int)syscall(SYS_pidfd_open, launch->mark.pid, 0);
    if (launch->pidfd < 0)
        return false;
    fcntl(launch->pidfd, F_SETFD, FD_CLOEXEC);
    launch->exit_watch = (struct watch){.fd = launch->pidfd, .on_event = on_exit_event};
    loop_add(launch->launcher->site.loop, &launch->exit_watch);
    return true;
}

static void free_buried(struct grave *grave)
{
    memory_free(LIST_MEMBER(grave, struct launch, grave));
}

void server_free(struct launch *launch)
{
    struct loop *loop = launch->launcher->site.loop;
    list_remove(&launch->link);
    timer_stop(&launch->tell_timer);
    timer_stop(&launch->log_timer);
    timer_stop(&launch->kill_timer);
    timer_stop(&launch->clear_timer);
    if (launch->log_watch >= 0)
        inotify_rm_watch(launch->launcher->inotify, launch->log_watch);
    log_tail_close(&launch->log);
    if (launch->pidfd >= 0) {
        loop_remove(loop, &launch->exit_watch);
        close(launch->pidfd);
    }
    if (launch->spec)
        spec_unref(launch->spec);
    loop_bury(loop, &launch->grave, free_buried);
}
