/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/job_command.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "gateway/base/clock.h"
#include "gateway/base/json.h"
#include "gateway/base/json_write.h"
#include "gateway/base/log.h"
#include "gateway/job_files.h"
#include "gateway/jobs_inside.h"

#define OUTPUT_VARIABLE "SLUICE_JOB_OUTPUT"

enum { PATH_ROOM = 64, ENVIRON_MAX = 64 * 1024 };

enum {
    ARGUMENTS_MAX = 128,
    ENVIRONMENT_MAX = 24,
    LINE_MAX_BYTES = 2000,
    LOGS_KEPT = 64, /* of commands that have ended, in memory */
    LOG_FILE_MAX = 8 << 20,
    GRACE_US = 10000000, /* from TERM to KILL */
    READS_PER_EVENT = 16,
    FILES_TOLD = 32,
    RESULT_ROOM = 128 * 1024,
};

struct command_log {
    struct link link; /* in commands->logs; the oldest first */
    char id[JOB_ID_BYTES], tenant[JOB_NAME_BYTES];
    char **lines; /* a ring */
    unsigned room, first, count;
    bool is_over;
};

struct job_commands {
    struct jobs *jobs;
    char *directory; /* of outputs */
    struct link running;
    pthread_mutex_t lock; /* over the logs */
    struct link logs;
    unsigned log_count;
};

struct command {
    struct link link;
    struct job_commands *commands;
    struct job_run *run;
    struct command_log *log;
    struct watch output, ended;
    struct timer timer;
    pid_t pid;
    struct buffer line;
    char *directory;
    bool stopped, late, has_output;
};

/* ----------------------------------------------------------------------------------- logs */

static struct command_log *log_of(struct job_commands *commands, struct text id)
{
    for (struct link *at = commands->logs.next; at != &commands->logs; at = at->next) {
        struct command_log *log = LIST_MEMBER(at, struct command_log, link);
        if (text_equal(text_of(log->id), id))
            return log;
    }
    return NULL;
}

static void log_free(struct job_commands *commands, struct command_log *log)
{
    for (unsigned i = 0; i < log->count; i++)
        memory_free(log->lines[(log->first + i) % log->room]);
    memory_free(log->lines);
    list_remove(&log->link);
    commands->log_count--;
    memory_free(log);
}

static struct command_log *log_new(struct job_commands *commands, const struct job_facts *facts,
                                   unsigned room)
{
    pthread_mutex_lock(&commands->lock);
    struct command_log *old = log_of(commands, text_of(facts->id));
    if (old)
        log_free(commands, old);
    for (struct link *at = commands->logs.next, *next;
         at != &commands->logs && commands->log_count >= LOGS_KEPT; at = next) {
        next = at->next;
        if (LIST_MEMBER(at, struct command_log, link)->is_over)
            log_free(commands, LIST_MEMBER(at, struct command_log, link));
    }
    struct command_log *log = memory_new(sizeof(*log));
    snprintf(log->id, sizeof(log->id), "%s", facts->id);
    snprintf(log->tenant, sizeof(log->tenant), "%s", facts->tenant);
    log->room = room;
    log->lines = memory_new(room * sizeof(*log->lines));
    list_push_back(&commands->logs, &log->link);
    commands->log_count++;
    pthread_mutex_unlock(&commands->lock);
    return log;
}

static void log_add(struct command *command, struct text line)
{
    struct command_log *log = command->log;
    pthread_mutex_lock(&command->commands->lock);
    if (log->count == log->room) {
        memory_free(log->lines[log->first]);
        log->first = (log->first + 1) % log->room;
        log->count--;
    }
    log->lines[(log->first + log->count++) % log->room] = memory_string(line);
    pthread_mutex_unlock(&command->commands->lock);
}

bool job_commands_logs(struct job_commands *commands, struct text id, struct text tenant,
                       size_t count, struct buffer *out)
{
    pthread_mutex_lock(&commands->lock);
    const struct command_log *log = log_of(commands, id);
    bool found = log && (!tenant.len || text_equal(text_of(log->tenant), tenant));
    unsigned skip = found && log->count > count ? log->count - (unsigned)count : 0;
    if (found)
        buffer_append_text(out, TEXT("["));
    for (unsigned i = skip; found && i < log->count; i++) {
        if (i > skip)
            buffer_append_text(out, TEXT(","));
        json_write_string(out, text_of(log->lines[(log->first + i) % log->room]));
    }
    if (found)
        buffer_append_text(out, TEXT("]"));
    pthread_mutex_unlock(&commands->lock);
    return found;
}

/* --------------------------------------------------------------------------------- its output */

static void take_lines(struct command *command, bool last)
{
    for (;;) {
        struct text bytes = buffer_text(&command->line);
        size_t end = text_find_byte(bytes, '\n');
        if (end == SIZE_MAX && bytes.len < LINE_MAX_BYTES && !(last && bytes.len))
            return;
        size_t length = end == SIZE_MAX ? bytes.len : end;
        struct text line = text_head(bytes, length < LINE_MAX_BYTES ? length : LINE_MAX_BYTES);
        size_t used = line.len + (line.len == length && end != SIZE_MAX);
        while (line.len && line.at[line.len - 1] == '\r')
            line.len--;
        log_add(command, line);
        buffer_drop(&command->line, used);
    }
}

/* False at its end. */
static bool read_some(struct command *command)
{
    char piece[4096];
    ssize_t n = read(command->output.fd, piece, sizeof(piece));
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return false;
    if (n <= 0)
        return false;
    buffer_append(&command->line, piece, (size_t)n);
    take_lines(command, false);
    return true;
}

static void on_output(struct watch *watch, unsigned events)
{
    struct command *command = LIST_MEMBER(watch, struct command, output);
    (void)events;
    for (int i = 0; i < READS_PER_EVENT; i++)
        if (!read_some(command))
            return;
    loop_again(command->commands->jobs->loop, watch, LOOP_READ);
}

/* ----------------------------------------------------------------------------------- its end */

static void write_log_file(struct command *command)
{
    char *path = memory_format("%s/log.txt", command->directory);
    FILE *file = fopen(path, "we");
    const struct command_log *log = command->log;
    for (unsigned i = 0; file && i < log->count; i++)
        fprintf(file, "%s\n", log->lines[(log->first + i) % log->room]);
    if (file)
        fclose(file);
    memory_free(path);
}

static void put_file(struct command *command, struct buffer *out, const char *name, int64_t bytes,
                     bool *first)
{
    struct jobs *jobs = command->commands->jobs;
    const struct job_run *run = command->run;
    struct config *config = jobs_config(jobs);
    struct job_link link = {.file = ""};
    char *path = memory_format("%s/%s", command->directory, name);
    int64_t expires_us = clock_wall_us() + config->jobs.keep_us;
    bool linked = job_files_name(jobs->files, text_of(run->facts.tenant), expires_us,
                                 config->jobs.upload_quota, link.file) &&
                  job_files_adopt(jobs->files, link.file, path, bytes, config->jobs.upload_quota);
    if (linked) {
        struct buffer url;
        buffer_init(&url, 2048);
        snprintf(link.name, sizeof(link.name), "%.*s", JOB_FILE_WORD_BYTES - 1, name);
        job_files_put_link(jobs->files, &url, run->spec.base, false, &link);
        buffer_append_text(out, *first ? TEXT("") : TEXT(","));
        json_write_string(out, buffer_text(&url));
        *first = false;
        buffer_done(&url);
    }
    memory_free(path);
    config_unref(config);
}

/* What it has left in its directory, as links, as far as the tenant's quota goes. */
static void put_result(struct command *command, struct buffer *out)
{
    DIR *directory = opendir(command->directory);
    struct dirent *entry;
    bool first = true;
    int told = 0;
    buffer_append_text(out, TEXT("{\"exit_code\":0,\"directory\":"));
    json_write_string(out, text_of(command->directory));
    buffer_append_text(out, TEXT(",\"output\":["));
    while (directory && told < FILES_TOLD && (entry = readdir(directory))) {
        struct stat facts;
        bool ours = strcmp(entry->d_name, "payload.json") == 0 ||
                    strcmp(entry->d_name, "log.txt") == 0 || entry->d_name[0] == '.';
        if (ours || fstatat(dirfd(directory), entry->d_name, &facts, AT_SYMLINK_NOFOLLOW) != 0 ||
            !S_ISREG(facts.st_mode))
            continue;
        put_file(command, out, entry->d_name, facts.st_size, &first);
        told++;
    }
    if (directory)
        closedir(directory);
    buffer_append_text(out, TEXT("]}"));
}

static void command_over(struct command *command)
{
    struct job_run *run = command->run;
    struct loop *loop = command->commands->jobs->loop;
    timer_stop(&command->timer);
    if (command->has_output) {
        loop_remove(loop, &command->output);
        close(command->output.fd);
    }
    if (command->ended.fd >= 0) {
        loop_remove(loop, &command->ended);
        close(command->ended.fd);
    }
    pthread_mutex_lock(&command->commands->lock);
    command->log->is_over = true;
    pthread_mutex_unlock(&command->commands->lock);
    list_remove(&command->link);
    run->desk = NULL;
    run->is_over = true;
    buffer_done(&command->line);
    memory_free(command->directory);
    memory_free(command);
    jobs_run_over(run);
}

static void fail(struct job_run *run, const char *type, const char *words)
{
    run->status = 500;
    run->fault = FAULT_NONE;
    snprintf(run->error, sizeof(run->error), "%s", words);
    snprintf(run->facts.error_type, sizeof(run->facts.error_type), "%s", type);
}

static void tell_end(struct command *command, const siginfo_t *how)
{
    struct job_run *run = command->run;
    char words[160], *payload = memory_format("%s/payload.json", command->directory);
    bool good = how->si_code == CLD_EXITED && how->si_status == 0;
    unlink(payload);
    memory_free(payload);
    write_log_file(command);
    if (good) {
        run->status = 200;
        snprintf(run->type, sizeof(run->type), "application/json");
        buffer_init(&run->answer, RESULT_ROOM);
        put_result(command, &run->answer);
    } else if (command->late) {
        fail(run, "timeout", "It ran longer than jobs.finetune.timeout.");
    } else {
        snprintf(words, sizeof(words), "It ended with %s %d.",
                 how->si_code == CLD_EXITED ? "exit code" : "signal", how->si_status);
        fail(run, "command_failed", words);
    }
    command_over(command);
}

static void on_ended(struct watch *watch, unsigned events)
{
    struct command *command = LIST_MEMBER(watch, struct command, ended);
    siginfo_t how = {0};
    (void)events;
    if (waitid(P_PIDFD, (id_t)watch->fd, &how, WEXITED | WNOHANG) != 0 || how.si_pid == 0)
        return;
    while (command->has_output && read_some(command)) {
    }
    take_lines(command, true);
    kill(-command->pid, SIGKILL); /* what it has left behind */
    tell_end(command, &how);
}

static void end_group(struct command *command)
{
    kill(-command->pid, command->stopped ? SIGKILL : SIGTERM);
    command->stopped = true;
    timer_stop(&command->timer);
    timer_set(command->commands->jobs->loop, &command->timer,
              loop_now_us(command->commands->jobs->loop) + GRACE_US);
}

static void on_time(struct timer *timer)
{
    struct command *command = LIST_MEMBER(timer, struct command, timer);
    command->late = command->late || !command->stopped;
    end_group(command);
}

void job_command_stop(struct job_commands *commands, struct job_run *run)
{
    for (struct link *at = commands->running.next; at != &commands->running; at = at->next) {
        struct command *command = LIST_MEMBER(at, struct command, link);
        if (command->run == run && !command->stopped) {
            end_group(command);
            return;
        }
    }
}

/* --------------------------------------------------------------------------------- its begin */

/* {id} and so on in one argument. */
static char *fill_in(const struct command *command, struct text from)
{
    const struct job_run *run = command->run;
    char *payload = memory_format("%s/payload.json", command->directory);
    const struct {
        struct text mark, value;
    } marks[] = {{TEXT("{id}"), text_of(run->facts.id)},
                 {TEXT("{kind}"), run->spec.path},
                 {TEXT("{payload}"), text_of(payload)},
                 {TEXT("{output}"), text_of(command->directory)}};
    struct buffer out;
    buffer_init(&out, 64 * 1024);
    while (from.len) {
        size_t taken = 0;
        for (size_t i = 0; i < sizeof(marks) / sizeof(marks[0]) && !taken; i++)
            if (text_starts(from, marks[i].mark)) {
                buffer_append_text(&out, marks[i].value);
                taken = marks[i].mark.len;
            }
        if (!taken) {
            buffer_append(&out, from.at, 1);
            taken = 1;
        }
        from = text_from(from, taken);
    }
    char *whole = memory_string(buffer_text(&out));
    buffer_done(&out);
    memory_free(payload);
    return whole;
}

/* What a program needs to run at all, and none of our secrets. */
static void fill_environment(const struct command *command, char *out[ENVIRONMENT_MAX])
{
    static const char *const passed[] = {"PATH",
                                         "HOME",
                                         "USER",
                                         "LANG",
                                         "LC_ALL",
                                         "TMPDIR",
                                         "HF_HOME",
                                         "VIRTUAL_ENV",
                                         "TZ",
                                         "PYTHONPATH",
                                         "LD_LIBRARY_PATH",
                                         "CUDA_VISIBLE_DEVICES",
                                         "ROCR_VISIBLE_DEVICES"};
    size_t count = 0;
    for (size_t i = 0; i < sizeof(passed) / sizeof(passed[0]); i++) {
        const char *value = getenv(passed[i]);
        if (value)
            out[count++] = memory_format("%s=%s", passed[i], value);
    }
    out[count++] = memory_format("SLUICE_JOB=%s", command->run->facts.id);
    out[count++] = memory_format("SLUICE_JOB_TENANT=%s", command->run->facts.tenant);
    out[count++] = memory_format(OUTPUT_VARIABLE "=%s", command->directory);
    out[count] = NULL;
}

/* Only what is safe behind a fork of a process with threads. */
static void become(char *const arguments[], char *const environment[], int output,
                   const char *directory, size_t memory)
{
    sigset_t none;
    struct sigaction usual = {.sa_handler = SIG_DFL};
    int null = open("/dev/null", O_RDONLY);
    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    sigemptyset(&none);
    for (int number = 1; number < 32; number++)
        sigaction(number, &usual, NULL);
    sigprocmask(SIG_SETMASK, &none, NULL);
    if (memory) {
        struct rlimit limit = {memory, memory};
        setrlimit(RLIMIT_AS, &limit);
    }
    if (null >= 0)
        dup2(null, STDIN_FILENO);
    dup2(output, STDOUT_FILENO);
    dup2(output, STDERR_FILENO);
    if (chdir(directory) == 0)
        execvpe(arguments[0], arguments, environment);
    static const char words[] = "the command cannot be run\n";
    ssize_t ignored = write(STDERR_FILENO, words, sizeof(words) - 1);
    (void)ignored;
    _exit(127);
}

static bool write_payload(const struct command *command)
{
    char *path = memory_format("%s/payload.json", command->directory);
    struct text payload = command->run->spec.payload;
    int fd = open(path, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC | O_NOFOLLOW, 0600);
    bool good = fd >= 0 && write(fd, payload.at, payload.len) == (ssize_t)payload.len;
    if (fd >= 0)
        close(fd);
    memory_free(path);
    return good;
}

static bool spawn(struct command *command, const struct config *config)
{
    char *arguments[ARGUMENTS_MAX + 1] = {NULL}, *environment[ENVIRONMENT_MAX] = {NULL};
    int pipes[2];
    size_t count = config->jobs.finetune.count;
    if (count > ARGUMENTS_MAX || pipe2(pipes, O_CLOEXEC) != 0)
        return false;
    for (size_t i = 0; i < count; i++)
        arguments[i] = fill_in(command, config->jobs.finetune.command[i]);
    fill_environment(command, environment);
    command->pid = fork();
    if (command->pid == 0)
        become(arguments, environment, pipes[1], command->directory, config->jobs.finetune.memory);
    close(pipes[1]);
    for (size_t i = 0; i < count; i++)
        memory_free(arguments[i]);
    for (size_t i = 0; environment[i]; i++)
        memory_free(environment[i]);
    command->output = (struct watch){.fd = pipes[0], .on_event = on_output};
    command->has_output = true;
    fcntl(pipes[0], F_SETFL, O_NONBLOCK);
    loop_add(command->commands->jobs->loop, &command->output);
    if (command->pid < 0)
        return false;
    setpgid(command->pid, command->pid); /* whoever comes first */
    int fd = (int)syscall(SYS_pidfd_open, command->pid, 0);
    command->ended = (struct watch){.fd = fd, .on_event = on_ended};
    if (fd < 0) {
        kill(-command->pid, SIGKILL);
        waitpid(command->pid, NULL, 0);
        return false;
    }
    loop_add_level(command->commands->jobs->loop, &command->ended, LOOP_READ);
    return true;
}

void job_command_start(struct job_commands *commands, struct job_run *run)
{
    struct config *config = jobs_config(commands->jobs);
    struct command *command = memory_new(sizeof(*command));
    struct loop *loop = commands->jobs->loop;
    command->commands = commands;
    command->run = run;
    command->ended.fd = -1;
    command->directory = memory_format("%s/%s", commands->directory, run->facts.id);
    command->timer.on_time = on_time;
    buffer_init(&command->line, LINE_MAX_BYTES * 4);
    list_push_back(&commands->running, &command->link);
    command->log = log_new(commands, &run->facts, config->jobs.finetune.log_lines);
    bool made = mkdir(command->directory, 0750) == 0 || errno == EEXIST;
    if (config->jobs.finetune.count && made && write_payload(command) && spawn(command, config)) {
        timer_set(loop, &command->timer,
                  loop_now_us(loop) + (uint64_t)config->jobs.finetune.timeout_us);
        log_line(LOG_INFO, "jobs", "job %s: the command runs as process %d", run->facts.id,
                 (int)command->pid);
    } else {
        fail(run, "command_failed", "The command cannot be started.");
        command_over(command);
    }
    config_unref(config);
}

/* ------------------------------------------------------------------------------ strangers */

/* "PID (NAME) STATE PPID PGRP …", proc(5); the name may have anything in it. */
static bool read_family(const char *process, long *parent, long *group)
{
    char path[PATH_ROOM], words[1024];
    snprintf(path, sizeof(path), "/proc/%.20s/stat", process);
    FILE *file = fopen(path, "re");
    size_t len = file ? fread(words, 1, sizeof(words) - 1, file) : 0;
    if (file)
        fclose(file);
    words[len] = '\0';
    const char *behind = strrchr(words, ')');
    return behind && sscanf(behind, ") %*c %ld %ld", parent, group) == 2;
}

static bool has_output_below(const char *process, const char *directory)
{
    char path[PATH_ROOM], words[ENVIRON_MAX];
    snprintf(path, sizeof(path), "/proc/%.20s/environ", process);
    FILE *file = fopen(path, "re");
    struct text rest = {words, file ? fread(words, 1, sizeof(words), file) : 0}, one;
    if (file)
        fclose(file);
    while (text_next(&rest, '\0', &one))
        if (text_starts(one, TEXT(OUTPUT_VARIABLE "="))) {
            struct text output = text_from(one, sizeof(OUTPUT_VARIABLE));
            return text_starts(output, text_of(directory));
        }
    return false;
}

/* Has a command ever run on this state? Each has a directory here, which stays. */
static bool has_run_any(const struct job_commands *commands)
{
    DIR *all = opendir(commands->directory);
    bool found = all == NULL;
    for (struct dirent *each; !found && (each = readdir(all)) != NULL;)
        found = each->d_name[0] != '.';
    if (all)
        closedir(all);
    return found;
}

/* What a command had begun outlives it when we are killed: the kernel ends the command itself only.
 * It has come to our supervisor then, or to init; the job is run again, so it must go. */
static void end_strangers(const struct job_commands *commands)
{
    DIR *all = opendir("/proc");
    unsigned ended = 0;
    for (struct dirent *each; all && (each = readdir(all)) != NULL;) {
        long parent, group;
        if (each->d_name[0] < '1' || each->d_name[0] > '9' ||
            !read_family(each->d_name, &parent, &group) ||
            (parent != 1 && parent != (long)getppid()) || group <= 1 || group == (long)getpgrp() ||
            !has_output_below(each->d_name, commands->directory))
            continue;
        ended += kill((pid_t)-group, SIGKILL) == 0;
    }
    if (all)
        closedir(all);
    if (ended)
        log_line(LOG_WARN, "jobs", "ended what %u commands of a killed sluice had left", ended);
}

struct job_commands *job_commands_new(struct jobs *jobs, const char *state)
{
    struct job_commands *commands = memory_new(sizeof(*commands));
    commands->jobs = jobs;
    commands->directory = memory_format("%s/output", state);
    mkdir(commands->directory, 0750);
    list_init(&commands->running);
    list_init(&commands->logs);
    pthread_mutex_init(&commands->lock, NULL);
    if (has_run_any(commands))
        end_strangers(commands);
    return commands;
}

void job_commands_free(struct job_commands *commands)
{
    if (!commands)
        return;
    while (!list_is_empty(&commands->running)) {
        struct command *command = LIST_MEMBER(commands->running.next, struct command, link);
        kill(-command->pid, SIGKILL);
        waitpid(command->pid, NULL, 0);
        command->run->cut = true;
        command_over(command);
    }
    while (!list_is_empty(&commands->logs))
        log_free(commands, LIST_MEMBER(commands->logs.next, struct command_log, link));
    pthread_mutex_destroy(&commands->lock);
    memory_free(commands->directory);
    memory_free(commands);
}
