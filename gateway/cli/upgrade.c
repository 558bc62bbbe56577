/* SPDX-License-Identifier: Apache-2.0 */
/* `sluice upgrade`: USR2 to the supervisor, and what has become of it. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "gateway/base/clock.h"
#include "gateway/base/json_write.h"
#include "gateway/base/memory.h"
#include "gateway/cli/cli.h"
#include "gateway/cli/commands.h"
#include "gateway/cli/table.h"
#include "gateway/config/document.h"
#include "gateway/upgrade_outcome.h"

enum {
    LOOK_US = 20000,
    HEAR_US = 15000000, /* until it has begun; a version that cannot says nothing */
    JSON_BYTES = 8192,
};

/* The supervisor of <state>; 0: none runs. */
static pid_t find_supervisor(const char *state)
{
    char *path = memory_format("%s/sluice.lock", state), words[24];
    int lock = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    bool is_held = lock >= 0 && flock(lock, LOCK_SH | LOCK_NB) != 0 && errno == EWOULDBLOCK;
    ssize_t len = is_held ? pread(lock, words, sizeof words - 1, 0) : 0;
    words[len > 0 ? len : 0] = 0;
    if (lock >= 0)
        close(lock);
    memory_free(path);
    return (pid_t)strtol(words, NULL, 10);
}

static bool is_running(pid_t pid)
{
    return kill(pid, 0) == 0 || errno == EPERM;
}

static void print_json(const struct upgrade_outcome *outcome)
{
    struct buffer out;
    struct json_write json = {.out = &out};
    buffer_init(&out, JSON_BYTES);
    json_open(&json, '{');
    json_text_member(&json, "state", text_of(upgrade_state_name(outcome->state)));
    json_int_member(&json, "pid", outcome->pid);
    json_text_member(&json, "from", text_of(outcome->from));
    json_text_member(&json, "to", text_of(outcome->to));
    json_time_member(&json, "began_at", outcome->began_us);
    json_time_member(&json, "ended_at", outcome->ended_us);
    json_int_member(&json, "closed_us", outcome->closed_us);
    json_text_member(&json, "reason", text_of(outcome->reason));
    json_close(&json, '}');
    printf("%.*s\n", TEXT_ARGS(buffer_text(&out)));
    buffer_done(&out);
}

static int tell(const struct upgrade_outcome *outcome, bool as_json)
{
    if (as_json)
        print_json(outcome);
    else if (outcome->state == UPGRADE_DONE)
        printf("upgraded from %s to %s (pid %d): for %" PRId64
               " ms nobody was let in, and nobody was turned away\n",
               outcome->from, outcome->to, (int)outcome->pid, (outcome->closed_us + 500) / 1000);
    if (outcome->state == UPGRADE_DONE)
        return EXIT_GOOD;
    if (!as_json)
        complaint_print("not upgraded: %s\nThe old version goes on as before", outcome->reason);
    return EXIT_FAILED;
}

/* <before>: the last one that there was. */
static int wait_for(const char *state, pid_t pid, int64_t before, bool as_json)
{
    struct upgrade_outcome now;
    uint64_t until = clock_now_us() + HEAR_US;
    for (;;) {
        bool has_begun = upgrade_outcome_read(state, &now) && now.id > before;
        if (has_begun && now.state != UPGRADE_RUNNING)
            return tell(&now, as_json);
        if (!is_running(pid)) {
            complaint_print("the sluice (pid %d) has ended meanwhile", (int)pid);
            return EXIT_FAILED;
        }
        if (!has_begun && clock_now_us() >= until) {
            complaint_print(
                "the sluice (pid %d) does not say that it upgrades: its version cannot, "
                "or %s/upgrade.json cannot be written; its log says more",
                (int)pid, state);
            return EXIT_FAILED;
        }
        usleep(LOOK_US);
    }
}

static int upgrade(const char *state, bool as_json)
{
    struct upgrade_outcome last;
    pid_t pid = find_supervisor(state);
    if (pid <= 1 && pid != 1) {
        complaint_print("no sluice runs on %s\nFor another one set STATE_DIRECTORY", state);
        return EXIT_UNREACHABLE;
    }
    bool is_known = upgrade_outcome_read(state, &last);
    if (is_known && last.state == UPGRADE_RUNNING && last.pid == pid) {
        complaint_print("an upgrade is under way already");
        return EXIT_FAILED;
    }
    if (kill(pid, SIGUSR2) != 0) {
        complaint_print("pid %d: %s", (int)pid, strerror(errno));
        return errno == EPERM ? EXIT_NOT_FOUND : EXIT_FAILED;
    }
    return wait_for(state, pid, is_known ? last.id : 0, as_json);
}

int command_upgrade(struct cli *cli)
{
    enum cli_format format;
    struct arena arena;
    if (!cli_format_find(cli_value(cli, "format"), &format) || format == FORMAT_CSV)
        return cli_misuse(cli, "--format is table or json, not \"%s\"", cli_value(cli, "format"));
    arena_init(&arena, 4096);
    int code = upgrade(host_state_directory(&arena), format == FORMAT_JSON);
    arena_done(&arena);
    return code;
}
