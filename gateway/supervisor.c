/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/supervisor.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "gateway/base/clock.h"
#include "gateway/base/log.h"
#include "gateway/base/memory.h"
#include "gateway/base/sanitizer.h"
#include "gateway/base/version.h"
#include "gateway/complaint.h"
#include "gateway/handoff.h"
#include "gateway/notify.h"
#include "gateway/reload.h"
#include "gateway/resident.h"
#include "gateway/service.h"
#include "gateway/sockets.h"
#include "gateway/supervisor_inside.h"
#include "gateway/watchdog.h"
#include "policy/underway.h"

enum {
    BACKOFF_MIN_US = 10000,
    BACKOFF_MAX_US = 1000000,
    HEALTHY_US = 10000000, /* a service that lived so long did not crash at its start */
    SILENCE_US = 5000000,  /* a service that gives no sign for so long is killed (starved.h) */
    STOPPED_US = 700000,   /* and one that somebody stopped (SIGSTOP) after so long */
    STOP_US = 5000000,     /* to end after SAY_STOP */
    LOCK_US = 1000000,     /* to wait for the lock of one that is just dying */
    LOCK_EVERY_US = 20000,
    WORDS_BYTES = 512,
    LINE_BYTES = 6 * WORDS_BYTES + 256, /* less than PIPE_BUF */
    SAY_MS = 100,
    ELDER_SLACK_US = 15000000, /* for one that was replaced, behind shutdown.grace */
    EXTEND_EVERY_US = 2000000, /* systemd is asked for more time, */
};

#define EXTEND "EXTEND_TIMEOUT_USEC=30000000" /* so much at a time */

/* Not when nobody takes it: who waits here starts no service and hears no signal. A pipe that polls
 * ready takes a line at once and whole. */
static void write_line(const char *line, int len)
{
    struct pollfd ready = {.fd = STDERR_FILENO, .events = POLLOUT};
    if (poll(&ready, 1, SAY_MS) > 0 && write(STDERR_FILENO, line, (size_t)len) < 0)
        return; /* there is nobody left to tell */
}

/* The log's writer is a thread, and we fork: so our few lines go out directly. */
void supervisor_say(const struct supervisor *s, enum log_level level, const char *format, ...)
{
    static const char *const levels[][2] = {
        {"DEBUG", "debug"}, {"INFO", "info"}, {"WARN", "warn"}, {"ERROR", "error"}};
    char words[WORDS_BYTES], escaped[6 * WORDS_BYTES], stamp[CLOCK_STAMP_BYTES], line[LINE_BYTES];
    int len;
    if ((int)level < (s->config != NULL ? (int)s->config->telemetry.level : (int)LOG_INFO))
        return;
    va_list args;
    va_start(args, format);
    vsnprintf(words, sizeof words, format, args);
    va_end(args);
    clock_stamp(clock_wall_us(), stamp);
    if (s->json) {
        int length = (int)log_escape(escaped, sizeof escaped, text_of(words));
        len = snprintf(
            line, sizeof line,
            "{\"ts\":\"%s\",\"level\":\"%s\",\"component\":\"supervisor\",\"msg\":\"%.*s\"}\n",
            stamp, levels[level][1], length, escaped);
    } else {
        len = snprintf(line, sizeof line, "%s %s supervisor: %s\n", stamp, levels[level][0], words);
    }
    write_line(line, len);
}

/* ------------------------------------------------------------------------------ preparation */

static void prepare_process(void)
{
    struct rlimit files, none = {0, 0};
    if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur < files.rlim_max) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
    /* Memory holds keys: no core files, no tracing by others, and no way to more rights. */
    setrlimit(RLIMIT_CORE, &none);
    if (!UNDER_SANITIZER)
        prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    /* Model servers of a service that died are ours to bury, until the next one has taken over. */
    prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); /* a limit of files' sizes is told by errno, like a full disk */
}

/* Make the directory with its parents; the last one only for us. */
static bool make_directory(const char *path)
{
    char *copy = memory_string(text_of(path));
    for (char *at = copy + 1; *at != 0; at++)
        if (*at == '/') {
            *at = 0;
            mkdir(copy, 0755);
            *at = '/';
        }
    bool is_made = mkdir(copy, 0700) == 0 || errno == EEXIST;
    memory_free(copy);
    return is_made;
}

/* A service holds its supervisor's lock, too, and outlives it by some milliseconds when that one is
 * killed: who starts the next at once must not fail for it. */
static bool take_lock(int fd)
{
    uint64_t until = clock_now_us() + LOCK_US;
    while (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        if (clock_now_us() >= until)
            return false;
        usleep(LOCK_EVERY_US);
    }
    return true;
}

/* Two programs on one state directory would undo each other's work. */
static bool lock_state(struct supervisor *s)
{
    const char *state = s->config->state;
    char *path = memory_format("%s/sluice.lock", state), pid[24];
    bool is_ours = false;
    if (!make_directory(state)) {
        complaint_print("%s: %s; set STATE_DIRECTORY to a directory that may be written", state,
                        strerror(errno));
    } else if ((s->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600)) < 0) {
        complaint_print("%s: %s; set STATE_DIRECTORY to a directory that may be written", path,
                        strerror(errno));
    } else if (!take_lock(s->lock)) {
        ssize_t len = pread(s->lock, pid, sizeof pid - 1, 0);
        pid[len > 0 ? len : 0] = 0;
        pid[strcspn(pid, "\n")] = 0;
        complaint_print(
            "%s is in use by another sluice (pid %s)\nEnd it (sluice drain), or give this "
            "one a directory of its own in STATE_DIRECTORY",
            state, pid[0] != 0 ? pid : "unknown");
    } else {
        int len = snprintf(pid, sizeof pid, "%d\n", (int)getpid());
        is_ours = ftruncate(s->lock, 0) == 0 && pwrite(s->lock, pid, (size_t)len, 0) == len;
        if (!is_ours)
            complaint_print("%s: %s", path, strerror(errno));
    }
    memory_free(path);
    return is_ours;
}

void supervisor_hold_signals(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGHUP);
    sigaddset(&set, SIGUSR1);
    sigaddset(&set, SIGUSR2);
    sigprocmask(SIG_BLOCK, &set, NULL);
}

static void open_signals(struct supervisor *s)
{
    static const int ours[] = {SIGTERM, SIGINT, SIGQUIT, SIGHUP, SIGUSR1, SIGUSR2, SIGCHLD};
    sigset_t set;
    sigemptyset(&set);
    for (size_t i = 0; i < sizeof ours / sizeof *ours; i++)
        sigaddset(&set, ours[i]);
    sigprocmask(SIG_BLOCK, &set, NULL);
    s->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

/* ------------------------------------------------------------------------------ the service */

/* A service that is started later begins with what is in force now, not with a file that may have
 * been edited meanwhile. */
static void keep_config(struct supervisor *s)
{
    struct config_options load = *s->options->load;
    load.words = NULL;
    struct config_result result = config_load(&load);
    if (result.config == NULL)
        return;
    if (s->start == NULL && !upgrade_suits(s, result.config)) {
        config_unref(result.config);
        return;
    }
    if (s->start == NULL)
        s->start = config_ref(result.config);
    else
        reload_adopt(result.config, s->config, s->start, NULL);
    if (s->config != NULL)
        config_unref(s->config);
    s->config = result.config;
}

static _Noreturn void be_the_service(struct supervisor *s, int channel, pid_t parent)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    if (getppid() != parent)
        _exit(EXIT_FAILED); /* it died before the line above */
    close(s->signals);
    struct service_options options = {.config = s->config,
                                      .load = s->options->load,
                                      .listener_fds = s->sockets.fds,
                                      .admin_fd = s->sockets.admin,
                                      .underway = s->underway_fd,
                                      .channel = channel};
    exit(service_run(&options));
}

/* It could not be read when we took over from another version: perhaps it can now. */
static bool has_config(struct supervisor *s)
{
    if (s->config == NULL)
        keep_config(s);
    if (s->config != NULL)
        return true;
    supervisor_say(s, LOG_ERROR, "no service can be started: the configuration is broken");
    s->start_at_us = clock_now_us() + BACKOFF_MAX_US;
    return false;
}

static void start_service(struct supervisor *s)
{
    int pair[2];
    pid_t parent = getpid();
    if (!has_config(s))
        return;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) != 0) {
        supervisor_say(s, LOG_ERROR, "cannot make a channel: %s", strerror(errno));
        s->start_at_us = clock_now_us() + BACKOFF_MAX_US;
        return;
    }
    fflush(NULL); /* what is buffered must not be written twice */
    pid_t child = fork();
    if (child == 0) {
        close(pair[0]);
        be_the_service(s, pair[1], parent);
    }
    close(pair[1]);
    if (child < 0) {
        supervisor_say(s, LOG_ERROR, "cannot start the service: %s", strerror(errno));
        close(pair[0]);
        s->start_at_us = clock_now_us() + BACKOFF_MAX_US;
        return;
    }
    s->child = child;
    s->channel = pair[0];
    s->child_started_us = clock_now_us();
    starved_heard(&s->signs, child, s->child_started_us);
    s->is_ready = false;
}

static void tell(const struct supervisor *s, enum channel_word word)
{
    if (s->child > 0)
        channel_say(s->channel, word, NULL, -1);
}

static void tell_elder(const struct supervisor *s, enum channel_word word)
{
    if (s->elder > 0)
        channel_say(s->elder_channel, word, NULL, -1);
}

static void end(struct supervisor *s, int code)
{
    s->is_over = true;
    s->code = code;
}

const char *supervisor_death_of(int status, char words[64])
{
    if (WIFSIGNALED(status))
        snprintf(words, 64, "was ended by signal %d (SIG%s)", WTERMSIG(status),
                 sigabbrev_np(WTERMSIG(status)) != NULL ? sigabbrev_np(WTERMSIG(status)) : "?");
    else
        snprintf(words, 64, "ended with exit code %d", WEXITSTATUS(status));
    return words;
}

static void on_death(struct supervisor *s, int status)
{
    char words[64];
    uint64_t now = clock_now_us();
    pid_t was = s->child;
    close(s->channel);
    s->channel = -1;
    s->child = 0;
    s->has_died = true;
    s->kill_at_us = s->stopped_us = 0;
    if (upgrade_on_child_death(s))
        return;
    if (s->is_draining || s->stops > 0) {
        end(s, WIFEXITED(status) ? WEXITSTATUS(status) : s->stops > 1 ? EXIT_GOOD : EXIT_FAILED);
        if (WIFSIGNALED(status) && s->stops <= 1)
            supervisor_say(s, LOG_ERROR, "the service (pid %d) %s while it drained", (int)was,
                           supervisor_death_of(status, words));
        return;
    }
    if (!s->was_ready && WIFEXITED(status)) { /* it could not begin, and has said why */
        end(s, WEXITSTATUS(status) != 0 ? WEXITSTATUS(status) : EXIT_FAILED);
        return;
    }
    if (now - s->child_started_us >= HEALTHY_US)
        s->backoff_us = 0;
    supervisor_say(s, LOG_ERROR, "the service (pid %d) %s; another is started in %u ms", (int)was,
                   supervisor_death_of(status, words), (unsigned)(s->backoff_us / 1000));
    s->start_at_us = now + s->backoff_us;
    s->backoff_us = s->backoff_us == 0 ? BACKOFF_MIN_US : 2 * s->backoff_us;
    if (s->backoff_us > BACKOFF_MAX_US)
        s->backoff_us = BACKOFF_MAX_US;
}

/* As pid 1 of a container we also bury what is not ours. */
static void reap(struct supervisor *s)
{
    int status;
    pid_t pid;
    while ((pid = waitpid(-1, &status, WNOHANG | WUNTRACED | WCONTINUED)) > 0) {
        if (s->underway && (WIFEXITED(status) || WIFSIGNALED(status)))
            underway_bury(s->underway, pid);
        if (pid != s->child) {
            if (WIFEXITED(status) || WIFSIGNALED(status))
                upgrade_on_death(s, pid, status);
            continue;
        }
        if (WIFSTOPPED(status))
            s->stopped_us = clock_now_us();
        else if (WIFCONTINUED(status))
            s->stopped_us = 0;
        else
            on_death(s, status);
    }
}

/* ------------------------------------------------------------------------------ what it says */

static void on_ready(struct supervisor *s)
{
    if (!s->was_ready && s->options->on_ready != NULL)
        s->options->on_ready(s->config, clock_now_us() - s->options->started_us);
    s->was_ready = s->is_ready = true;
    notify_send("READY=1\nSTATUS=serving");
    resident_shrink();
    upgrade_on_ready(s);
}

/* A start that goes on may take longer than its unit says; one that dies each time may not. */
static void extend_start(struct supervisor *s, uint64_t now)
{
    if (s->was_ready || s->has_died || s->is_draining || s->stops > 0 || now < s->extend_us)
        return;
    s->extend_us = now + EXTEND_EVERY_US;
    notify_send(EXTEND "\nSTATUS=starting");
}

static void hear(struct supervisor *s, char word, const char *words)
{
    uint64_t now = clock_now_us();
    starved_heard(&s->signs, s->child, now);
    if (upgrade_hear(s, word, words))
        return;
    switch (word) {
    case SAY_READY:
        on_ready(s);
        break;
    case SAY_RELOADED:
        keep_config(s);
        resident_shrink();
        notify_send("READY=1\nSTATUS=serving, configuration reloaded");
        break;
    case SAY_KEPT:
        notify_send("READY=1\nSTATUS=serving; the last reload FAILED, the old configuration is "
                    "in force");
        break;
    case SAY_DRAINING:
        upgrade_cancel(s, "it is draining");
        s->is_draining = true;
        notify_send("STOPPING=1\nSTATUS=draining");
        break;
    case SAY_CLOSED:
        sockets_close_clients(&s->sockets);
        break;
    default: /* SAY_BEAT */
        extend_start(s, now);
        break;
    }
}

static void read_channel(struct supervisor *s)
{
    char message[CHANNEL_BYTES];
    int passed;
    while (s->channel >= 0 && channel_hear(s->channel, message, &passed) > 0) {
        if (passed >= 0)
            close(passed);
        hear(s, message[0], message + 1);
    }
}

/* ------------------------------------------------------------------------------ what we are told
 */

/* TERM and QUIT drain with the delay, INT without; a second one ends it at once, a third by force.
 */
static void stop(struct supervisor *s, enum channel_word first)
{
    s->stops++;
    upgrade_cancel(s, "it is draining");
    if (s->stops > 1)
        tell_elder(s, SAY_STOP);
    if (s->stops > 2 && s->elder > 0)
        kill(s->elder, SIGKILL);
    if (s->child == 0) {
        end(s, EXIT_GOOD);
    } else if (s->stops == 1) {
        supervisor_say(s, LOG_INFO, "draining; once more to end at once");
        tell(s, first);
    } else if (s->stops == 2) {
        supervisor_say(s, LOG_WARN, "ending at once");
        tell(s, SAY_STOP);
        s->kill_at_us = clock_now_us() + STOP_US;
    } else {
        kill(s->child, SIGKILL);
    }
    notify_send("STOPPING=1\nSTATUS=draining");
}

static void reload(struct supervisor *s)
{
    char lines[80];
    if (s->upgrade.step != UPGRADE_NONE || s->upgrade.is_closing) { /* whoever serves then */
        s->upgrade.wants_reload = true;
        return;
    }
    snprintf(lines, sizeof lines, "RELOADING=1\nMONOTONIC_USEC=%llu\nSTATUS=reloading",
             (unsigned long long)clock_now_us());
    notify_send(lines);
    tell(s, SAY_RELOAD);
}

static void on_signal(struct supervisor *s, uint32_t number)
{
    switch (number) {
    case SIGTERM:
    case SIGQUIT:
        stop(s, SAY_DRAIN);
        break;
    case SIGINT:
        stop(s, SAY_DRAIN_NOW);
        break;
    case SIGHUP:
        reload(s);
        break;
    case SIGUSR1:
        tell(s, SAY_REOPEN);
        tell_elder(s, SAY_REOPEN);
        break;
    case SIGUSR2:
        upgrade_begin(s);
        break;
    default:
        break;
    }
}

/* What a service said last stands before its death: so the channel is read before it is buried. */
static void read_signals(struct supervisor *s)
{
    struct signalfd_siginfo info;
    while (read(s->signals, &info, sizeof info) == (ssize_t)sizeof info)
        on_signal(s, info.ssi_signo);
    read_channel(s);
    upgrade_read(s);
    reap(s);
}

/* ------------------------------------------------------------------------------ the loop */

void supervisor_earliest(uint64_t *next, uint64_t due)
{
    if (due != 0 && due < *next)
        *next = due;
}

/* One that has the processor, or waits, and gives no sign. Returns when to look again; 0 = never.
 */
static uint64_t look_whether_stuck(struct supervisor *s, uint64_t now)
{
    if (!s->watches)
        return 0;
    if (now >= starved_look_at_us(&s->signs, SILENCE_US) &&
        starved_is_stuck(&s->signs, SILENCE_US, now)) {
        supervisor_say(s, LOG_ERROR, "the service (pid %d) gave no sign for %u s: killed",
                       (int)s->child, (unsigned)((now - s->signs.heard_us) / 1000000));
        kill(s->child, SIGKILL);
        starved_heard(&s->signs, s->child, now);
    }
    return starved_look_at_us(&s->signs, SILENCE_US);
}

/* Kill one that is stuck, or takes too long to end. */
static void keep_child(struct supervisor *s, uint64_t now, uint64_t *next)
{
    uint64_t look_at = look_whether_stuck(s, now);
    uint64_t stopped_at = s->stopped_us ? s->stopped_us + STOPPED_US : 0;
    if (stopped_at != 0 && now >= stopped_at) {
        supervisor_say(s, LOG_ERROR, "the service (pid %d) was stopped and does not go on: killed",
                       (int)s->child);
        kill(s->child, SIGKILL);
        s->stopped_us = stopped_at = 0;
    }
    if (s->kill_at_us != 0 && now >= s->kill_at_us) {
        kill(s->child, SIGKILL);
        s->kill_at_us = 0;
    }
    supervisor_earliest(next, s->kill_at_us);
    supervisor_earliest(next, look_at);
    supervisor_earliest(next, stopped_at);
}

/* Do what is due; returns when to look again. */
static uint64_t keep_time(struct supervisor *s)
{
    uint64_t now = clock_now_us(), next = now + 60000000U;
    if (s->next_us != 0 && now > s->next_us + 1000000)
        starved_heard(&s->signs, s->child, now); /* we were stopped ourselves, and it perhaps */
    if (s->stopped_us != 0 && s->next_us != 0 && now > s->next_us + 100000)
        s->stopped_us = now;
    if (s->child == 0 && !s->is_over && now >= s->start_at_us)
        start_service(s);
    if (s->child > 0)
        keep_child(s, now, &next);
    else if (!s->is_over)
        supervisor_earliest(&next, s->start_at_us);
    if (s->watchdog_us > 0 && now >= s->watchdog_next_us) {
        if (s->is_ready || !s->was_ready)
            notify_send("WATCHDOG=1");
        s->watchdog_next_us = now + s->watchdog_us / 2;
    }
    supervisor_earliest(&next, s->watchdog_next_us);
    upgrade_keep_time(s, now, &next);
    s->next_us = next;
    return next;
}

/* Is it still open, and the other end is not? */
static bool is_dying(int channel, const struct pollfd *seen)
{
    return channel >= 0 && channel == seen->fd && (seen->revents & (POLLHUP | POLLERR)) != 0;
}

static int supervise(struct supervisor *s)
{
    /* One that was replaced is waited for: its calls would end with us. */
    while (!s->is_over || s->elder > 0) {
        uint64_t next = keep_time(s), now = clock_now_us();
        struct pollfd fds[4] = {{.fd = s->signals, .events = POLLIN},
                                {.fd = s->channel, .events = POLLIN},
                                {.fd = s->upgrade.channel, .events = POLLIN},
                                {.fd = s->elder_channel, .events = POLLIN}};
        poll(fds, 4, next > now ? (int)((next - now + 999) / 1000) : 0);
        read_channel(s);
        read_signals(s);
        /* its end of a channel is closed, so it is dying: no event but SIGCHLD tells more */
        if (is_dying(s->channel, &fds[1]) || is_dying(s->upgrade.channel, &fds[2]) ||
            is_dying(s->elder_channel, &fds[3])) {
            struct pollfd signal = {.fd = s->signals, .events = POLLIN};
            poll(&signal, 1, 100);
        }
    }
    return s->code;
}

/* What the first configuration says of places, for upgrades. */
static void note_places(struct supervisor *s, const struct config *config)
{
    s->places.state = memory_string(text_of(config->state));
    s->places.database = memory_string(text_of(config->database));
    s->places.ledger_path = memory_string(text_of(config->ledger_path));
    if (config->admin_socket != NULL)
        s->places.admin_socket = memory_string(text_of(config->admin_socket));
    s->addresses = memory_new((config->listener_count + 1) * sizeof *s->addresses);
    for (size_t i = 0; i < config->listener_count; i++)
        s->addresses[i] = memory_string(text_of(config->listeners[i].address));
}

/* One of another version has executed us: its service runs, and perhaps one that ends. */
static void go_on(struct supervisor *s, struct handoff *from)
{
    uint64_t now = clock_now_us();
    int64_t grace_us = s->config != NULL ? s->config->grace_us : 0;
    s->lock = from->lock;
    s->underway_fd = from->underway;
    s->sockets = from->sockets;
    s->addresses = from->addresses;
    s->places.state = from->state;
    s->places.database = from->database;
    s->places.ledger_path = from->ledger_path;
    s->places.admin_socket = from->admin_socket;
    s->child = from->child;
    s->channel = from->child_channel;
    s->elder = from->elder;
    s->elder_channel = from->elder_channel;
    s->elder_until_us = from->elder_until_us; /* by the configuration that it had */
    if (s->elder_until_us == 0)
        s->elder_until_us = now + (uint64_t)grace_us + ELDER_SLACK_US;
    s->child_started_us = now;
    starved_heard(&s->signs, s->child, now);
    s->was_ready = s->is_ready = true;
    memory_free(from); /* what it had is ours */
    supervisor_say(s, LOG_INFO, "the supervisor is sluice %s now", PROGRAM_VERSION);
}

/* One that another version has made, and that is not known here, is of no use to what we start. */
static void open_underway(struct supervisor *s)
{
    s->underway = underway_open(s->underway_fd);
    if (s->underway != NULL)
        return;
    if (s->underway_fd >= 0)
        close(s->underway_fd);
    if (s->options->handoff != NULL)
        supervisor_say(s, LOG_WARN,
                       "calls with an Idempotency-Key that the service before makes may be made "
                       "again: its table of them is another version's");
    s->underway_fd = underway_make();
    s->underway = underway_open(s->underway_fd);
}

static bool prepare(struct supervisor *s)
{
    struct fault why;
    if (s->options->handoff != NULL) {
        go_on(s, s->options->handoff);
        open_underway(s);
        open_signals(s);
        return true;
    }
    note_places(s, s->config);
    if (!lock_state(s))
        return false;
    upgrade_forget_last(s);
    open_underway(s);
    open_signals(s);
    if (sockets_open(&s->sockets, s->config, &why))
        return true;
    complaint_print("%s", why.text);
    return false;
}

static void clean_up(struct supervisor *s)
{
    for (size_t i = 0; s->addresses != NULL && s->addresses[i] != NULL; i++)
        memory_free(s->addresses[i]); /* also where no socket was opened */
    memory_free(s->addresses);
    sockets_close(&s->sockets);
    memory_free(s->places.state);
    memory_free(s->places.database);
    memory_free(s->places.ledger_path);
    memory_free(s->places.admin_socket);
    upgrade_forget_program(s);
    if (s->signals >= 0)
        close(s->signals);
    underway_close(s->underway);
    if (s->underway_fd >= 0)
        close(s->underway_fd);
    if (s->lock >= 0)
        close(s->lock);
    if (s->config != NULL)
        config_unref(s->config);
    if (s->start != NULL)
        config_unref(s->start);
}

int supervisor_run(const struct supervisor_options *options)
{
    struct config *config = options->config;
    struct supervisor s = {.options = options,
                           .config = config != NULL ? config_ref(config) : NULL,
                           .start = config != NULL ? config_ref(config) : NULL,
                           .sockets.admin = -1,
                           .lock = -1,
                           .underway_fd = -1,
                           .signals = -1,
                           .channel = -1,
                           .elder_channel = -1,
                           .upgrade = {.program = -1, .channel = -1, .link = -1},
                           .code = EXIT_FAILED,
                           .watches = watchdog_limit_us() > 0,
                           .watchdog_us = notify_watchdog_us()};
    int format = config != NULL ? (int)config->telemetry.format : (int)LOG_AUTO;
    s.json = format == LOG_JSON || (format == LOG_AUTO && !isatty(STDERR_FILENO));
    prepare_process();
    upgrade_note_program(&s);
    if (prepare(&s))
        supervise(&s);
    clean_up(&s);
    return s.code;
}
