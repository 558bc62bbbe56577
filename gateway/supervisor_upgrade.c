/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An upgrade in place: the program at our own path is started as a second service beside the first,
 * and takes over from it (service_upgrade.c says how). Whatever goes wrong before it serves, it is
 * ended and the old one goes on. When it serves, this process executes the new program, too: so
 * that it stays the same pid, and the parent of both services, and yet is not the old program for
 * ever. It is last, for by then the program has shown that it can begin here and understands what
 * it is handed.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "gateway/base/clock.h"
#include "gateway/base/memory.h"
#include "gateway/base/sanitizer.h"
#include "gateway/base/version.h"
#include "gateway/complaint.h"
#include "gateway/handoff.h"
#include "gateway/notify.h"
#include "gateway/supervisor_inside.h"
#include "gateway/upgrade_outcome.h"

enum {
    SLACK_US = 15000000, /* more than the old service takes to give up by itself */
    WARM_US = 30000000,  /* without any sign of the new one */
    HAND_US = 20000000,  /* for the old one to hand over */
    /* for the new one to take over, while nobody is let in */
    TAKE_US = UNDER_SANITIZER ? 30000000 : 5000000,
    COMMAND_BYTES = 64 << 10,
};

/* ------------------------------------------------------------------------- the program */

static char *own_path(void)
{
    char path[4096];
    ssize_t len = readlink("/proc/self/exe", path, sizeof path - 1);
    return len > 0 ? memory_string((struct text){path, (size_t)len}) : NULL;
}

void upgrade_note_program(struct supervisor *s)
{
    char *bytes = memory_new(COMMAND_BYTES + 1);
    int file = open("/proc/self/cmdline", O_RDONLY | O_CLOEXEC);
    ssize_t len = file >= 0 ? read(file, bytes, COMMAND_BYTES) : 0;
    size_t count = 0;
    if (file >= 0)
        close(file);
    s->arguments = memory_new(sizeof(char *) * ((len > 0 ? (size_t)len : 0) + 1));
    for (ssize_t at = 0; at < len; at += (ssize_t)strlen(bytes + at) + 1)
        s->arguments[count++] = memory_string(text_of(bytes + at));
    memory_free(bytes);
    /* As it was called, so that a link that is changed is followed anew; else what runs here. */
    if (count > 0 && strchr(s->arguments[0], '/') != NULL && access(s->arguments[0], X_OK) == 0)
        s->program = memory_string(text_of(s->arguments[0]));
    else
        s->program = own_path();
}

void upgrade_forget_program(struct supervisor *s)
{
    for (size_t i = 0; s->arguments != NULL && s->arguments[i] != NULL; i++)
        memory_free(s->arguments[i]);
    memory_free(s->arguments);
    memory_free(s->program);
}

/* ------------------------------------------------------------------------- how it ends */

static void note(const struct supervisor *s, enum upgrade_state state, const char *reason)
{
    struct upgrade_outcome outcome = {.id = s->upgrade.id,
                                      .state = state,
                                      .pid = getpid(),
                                      .began_us = s->upgrade.began_wall_us,
                                      .closed_us = (int64_t)s->upgrade.closed_us};
    snprintf(outcome.from, sizeof outcome.from, "%s", PROGRAM_VERSION);
    snprintf(outcome.to, sizeof outcome.to, "%s", s->upgrade.version);
    snprintf(outcome.reason, sizeof outcome.reason, "%s", reason);
    if (!upgrade_outcome_write(s->places.state, &outcome))
        supervisor_say(s, LOG_WARN, "how the upgrade goes cannot be written down: %s",
                       strerror(errno));
}

void upgrade_forget_last(const struct supervisor *s)
{
    struct upgrade_outcome last;
    if (!upgrade_outcome_read(s->places.state, &last) || last.state != UPGRADE_RUNNING)
        return;
    last.state = UPGRADE_FAILED;
    snprintf(last.reason, sizeof last.reason, "sluice ended meanwhile");
    upgrade_outcome_write(s->places.state, &last);
}

static void close_all(struct upgrade *upgrade)
{
    if (upgrade->channel >= 0)
        close(upgrade->channel);
    if (upgrade->link >= 0)
        close(upgrade->link);
    upgrade->channel = upgrade->link = -1;
}

static void close_program(struct upgrade *upgrade)
{
    if (upgrade->program >= 0)
        close(upgrade->program);
    upgrade->program = -1;
}

static void reload_if_wanted(struct supervisor *s)
{
    if (s->upgrade.wants_reload && s->child > 0)
        channel_say(s->channel, SAY_RELOAD, NULL, -1);
    s->upgrade.wants_reload = false;
}

static void fail(struct supervisor *s, const char *why)
{
    struct upgrade *upgrade = &s->upgrade;
    bool had_begun = upgrade->step != UPGRADE_PREPARING;
    supervisor_say(s, LOG_ERROR, "not upgraded: %s; the old service goes on", why);
    note(s, UPGRADE_FAILED, why);
    if (upgrade->heir > 0)
        kill(upgrade->heir, SIGKILL); /* it serves nobody; reap() buries it */
    upgrade->heir = 0;
    close_all(upgrade);
    close_program(upgrade);
    if (s->child > 0)
        channel_say(s->channel, SAY_RESUME, NULL, -1);
    else if (had_begun)
        s->start_at_us = clock_now_us();
    upgrade->step = UPGRADE_NONE;
    if (s->is_ready)
        notify_send("READY=1\nSTATUS=serving; the last upgrade FAILED, the old version serves");
    reload_if_wanted(s);
}

void upgrade_cancel(struct supervisor *s, const char *why)
{
    if (s->upgrade.step != UPGRADE_NONE)
        fail(s, why);
}

/* ------------------------------------------------------------------------- the new one */

static struct handoff handoff_of(struct supervisor *s)
{
    return (struct handoff){.lock = s->lock,
                            .underway = s->underway_fd,
                            .sockets = s->sockets,
                            .addresses = s->addresses,
                            .channel = -1,
                            .link = -1,
                            .child_channel = -1,
                            .elder_channel = -1,
                            .state = s->places.state,
                            .database = s->places.database,
                            .ledger_path = s->places.ledger_path,
                            .admin_socket = s->places.admin_socket};
}

bool upgrade_suits(struct supervisor *s, const struct config *config)
{
    struct fault fault;
    struct handoff handoff = handoff_of(s);
    if (handoff_suits(&handoff, config, &fault))
        return true;
    supervisor_say(s, LOG_ERROR, "%s", fault.text);
    return false;
}

static _Noreturn void be_the_heir(struct supervisor *s, int channel, int link, pid_t parent)
{
    char words[CHANNEL_BYTES];
    struct handoff handoff = handoff_of(s);
    prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    if (getppid() != parent)
        _exit(EXIT_FAILED); /* it died before the line above */
    handoff.channel = channel;
    handoff.link = link;
    if (handoff_write(&handoff))
        execv(s->program, s->arguments);
    snprintf(words, sizeof words, "%s cannot be started: %s", s->program, strerror(errno));
    channel_say(channel, SAY_UNABLE, words, -1);
    _exit(EXIT_FAILED);
}

static void start_heir(struct supervisor *s)
{
    struct upgrade *upgrade = &s->upgrade;
    int channel[2] = {-1, -1}, link[2] = {-1, -1};
    pid_t parent = getpid(), heir = -1;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, channel) == 0 &&
        socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, link) == 0) {
        fflush(NULL);
        heir = fork();
    }
    if (heir == 0) {
        close(channel[0]);
        close(link[0]);
        be_the_heir(s, channel[1], link[1], parent);
    }
    int problem = errno;
    if (channel[1] >= 0)
        close(channel[1]);
    if (link[1] >= 0)
        close(link[1]);
    upgrade->channel = channel[0];
    upgrade->link = link[0];
    if (heir < 0) {
        fail(s, strerror(problem));
        return;
    }
    upgrade->heir = heir;
    upgrade->step = UPGRADE_WARMING;
    upgrade->until_us = clock_now_us() + WARM_US;
}

/* ------------------------------------------------------------------------- its steps */

void upgrade_begin(struct supervisor *s)
{
    struct upgrade *upgrade = &s->upgrade;
    const char *why = NULL;
    if (upgrade->step != UPGRADE_NONE || upgrade->is_closing) {
        supervisor_say(s, LOG_WARN, "an upgrade is under way already");
        return;
    }
    struct upgrade_outcome last;
    *upgrade =
        (struct upgrade){.step = UPGRADE_PREPARING,
                         .id = upgrade_outcome_read(s->places.state, &last) ? last.id + 1 : 1,
                         .channel = -1,
                         .link = -1,
                         .began_us = clock_now_us(),
                         .began_wall_us = clock_wall_us()};
    if (s->stops > 0 || s->is_draining)
        why = "it is draining";
    else if (s->elder > 0)
        why = "the service that was replaced last has calls that still run";
    else if (!s->is_ready || s->child == 0)
        why = "no service is ready that could be replaced";
    if (why == NULL) {
        int64_t grace = s->config != NULL ? s->config->grace_us : 0;
        upgrade->until_us = upgrade->began_us + (uint64_t)grace + SLACK_US;
        supervisor_say(s, LOG_INFO, "upgrading: %s is started beside this one", s->program);
        note(s, UPGRADE_RUNNING, "");
        if (!channel_say(s->channel, SAY_PREPARE, NULL, -1))
            why = "the service hears nothing";
    }
    if (why != NULL)
        fail(s, why);
}

bool upgrade_hear(struct supervisor *s, char word, const char *words)
{
    struct upgrade *upgrade = &s->upgrade;
    if (upgrade->step == UPGRADE_NONE)
        return word == SAY_PREPARED || word == SAY_HANDED || word == SAY_UNABLE;
    if (word == SAY_PREPARED && upgrade->step == UPGRADE_PREPARING) {
        start_heir(s);
    } else if (word == SAY_HANDED && upgrade->step == UPGRADE_HANDING) {
        uint64_t now = clock_now_us();
        upgrade->step = UPGRADE_TAKING;
        upgrade->until_us = now + TAKE_US;
        upgrade->closed_us = now - strtoull(words, NULL, 10);
        if (!channel_say(upgrade->channel, SAY_TAKE, NULL, -1))
            fail(s, "the new service hears nothing");
    } else if (word == SAY_UNABLE) {
        fail(s, words);
    } else {
        return false;
    }
    return true;
}

/* This process becomes the new program. It keeps its pid, its children and its descriptors. */
static void execute(struct supervisor *s)
{
    struct handoff handoff = handoff_of(s);
    handoff.to_supervisor = true;
    handoff.child = s->child;
    handoff.child_channel = s->channel;
    handoff.elder = s->elder;
    handoff.elder_channel = s->elder_channel;
    handoff.elder_until_us = s->elder_until_us;
    if (handoff_write(&handoff)) {
        fexecve(s->upgrade.program, s->arguments, environ); /* the file that serves already */
        handoff_forget(&handoff);
    }
    close_program(&s->upgrade);
    supervisor_say(s, LOG_WARN,
                   "the supervisor stays as it is, for %s cannot be executed: %s; a service that "
                   "dies is replaced by the old version",
                   s->program, strerror(errno));
}

/* From here on there is no way back: nobody has been let in by the new one so far. */
static void commit(struct supervisor *s)
{
    struct upgrade *upgrade = &s->upgrade;
    uint64_t now = clock_now_us();
    if (!channel_say(upgrade->channel, SAY_ACCEPT, NULL, -1)) {
        fail(s, "the new service hears nothing");
        return;
    }
    if (s->child > 0) {
        channel_say(s->channel, SAY_LEAVE, NULL, -1);
        s->elder = s->child;
        s->elder_channel = s->channel;
        s->elder_until_us =
            now + (uint64_t)(s->config != NULL ? s->config->grace_us : 0) + SLACK_US;
    }
    s->child = upgrade->heir;
    s->channel = upgrade->channel;
    s->child_started_us = now;
    s->stopped_us = s->kill_at_us = s->backoff_us = 0;
    starved_heard(&s->signs, s->child, now);
    s->was_ready = s->is_ready = true;
    upgrade->heir = 0;
    upgrade->channel = -1;
    close_all(upgrade);
    upgrade->step = UPGRADE_NONE;
    upgrade->is_closing = true;
}

void upgrade_on_ready(struct supervisor *s)
{
    struct upgrade *upgrade = &s->upgrade;
    if (!upgrade->is_closing)
        return;
    upgrade->is_closing = false;
    upgrade->closed_us = clock_now_us() - upgrade->closed_us;
    supervisor_say(s, LOG_INFO,
                   "upgraded from %s to %s: service %d serves, nobody was let in for %llu ms; the "
                   "old one (pid %d) ends with its calls",
                   PROGRAM_VERSION, upgrade->version, (int)s->child,
                   (unsigned long long)(upgrade->closed_us + 500) / 1000, (int)s->elder);
    note(s, UPGRADE_DONE, "");
    reload_if_wanted(s);
    execute(s);
}

static void hear_heir(struct supervisor *s, char word, const char *words, int *passed)
{
    struct upgrade *upgrade = &s->upgrade;
    uint64_t now = clock_now_us();
    switch (word) {
    case SAY_BEAT:
        if (upgrade->step == UPGRADE_WARMING)
            upgrade->until_us = now + WARM_US;
        break;
    case SAY_WARM:
        if (upgrade->step != UPGRADE_WARMING)
            break;
        snprintf(upgrade->version, sizeof upgrade->version, "%.60s", words);
        upgrade->program = *passed;
        *passed = -1;
        upgrade->step = UPGRADE_HANDING;
        upgrade->until_us = now + HAND_US;
        if (!channel_say(s->channel, SAY_HAND_OVER, NULL, upgrade->link))
            fail(s, "the old service hears nothing");
        if (upgrade->link >= 0)
            close(upgrade->link);
        upgrade->link = -1;
        break;
    case SAY_READY:
        if (upgrade->step == UPGRADE_TAKING)
            commit(s);
        break;
    case SAY_UNABLE:
        snprintf(upgrade->reason, sizeof upgrade->reason, "%s", words);
        break; /* and its death comes next */
    default:
        break;
    }
}

void upgrade_read(struct supervisor *s)
{
    char message[CHANNEL_BYTES];
    int passed;
    while (s->upgrade.channel >= 0 && channel_hear(s->upgrade.channel, message, &passed) > 0) {
        hear_heir(s, message[0], message + 1, &passed);
        if (passed >= 0)
            close(passed);
    }
    while (s->elder_channel >= 0 && channel_hear(s->elder_channel, message, &passed) > 0) {
        if (passed >= 0)
            close(passed);
        if (message[0] == SAY_DRAINING && s->child > 0) /* it was told to as it handed over */
            channel_say(s->channel, SAY_DRAIN, NULL, -1);
    }
}

/* ------------------------------------------------------------------------- deaths and time */

bool upgrade_on_death(struct supervisor *s, pid_t pid, int status)
{
    char words[64], why[CHANNEL_BYTES + 64];
    if (pid == s->elder) {
        supervisor_say(s, WIFEXITED(status) && WEXITSTATUS(status) == 0 ? LOG_INFO : LOG_ERROR,
                       "the service that was replaced (pid %d) %s", (int)pid,
                       supervisor_death_of(status, words));
        close(s->elder_channel);
        s->elder_channel = -1;
        s->elder = 0;
        return true;
    }
    if (pid != s->upgrade.heir)
        return false;
    s->upgrade.heir = 0;
    if (s->upgrade.reason[0] != 0)
        snprintf(why, sizeof why, "%s", s->upgrade.reason);
    else
        snprintf(why, sizeof why, "the new service %s before it served",
                 supervisor_death_of(status, words));
    fail(s, why);
    return true;
}

bool upgrade_on_child_death(struct supervisor *s)
{
    if (s->upgrade.is_closing) {
        s->upgrade.is_closing = false;
        close_program(&s->upgrade);
        note(s, UPGRADE_FAILED,
             "the new service died as it began to serve; the old version is "
             "started again");
    }
    if (s->upgrade.step == UPGRADE_TAKING) {
        supervisor_say(s, LOG_ERROR, "the old service died when it had handed over");
        s->start_at_us = s->upgrade.until_us + 1000000; /* the new one takes its place */
        return true;
    }
    upgrade_cancel(s, "the old service died");
    return false;
}

void upgrade_keep_time(struct supervisor *s, uint64_t now, uint64_t *next)
{
    if (s->upgrade.step != UPGRADE_NONE && now >= s->upgrade.until_us)
        fail(s, s->upgrade.step == UPGRADE_PREPARING
                    ? "the old service was not ready for it in time"
                : s->upgrade.step == UPGRADE_WARMING ? "the new service gave no sign"
                : s->upgrade.step == UPGRADE_HANDING ? "the old service did not hand over in time"
                                                     : "the new service did not take over in time");
    if (s->upgrade.step != UPGRADE_NONE)
        supervisor_earliest(next, s->upgrade.until_us);
    if (s->elder > 0 && now >= s->elder_until_us) {
        supervisor_say(s, LOG_ERROR, "the service that was replaced (pid %d) does not end: killed",
                       (int)s->elder);
        kill(s->elder, SIGKILL);
        s->elder_until_us = now + SLACK_US;
    }
    if (s->elder > 0)
        supervisor_earliest(next, s->elder_until_us);
}
