/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/upgrade_outcome.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "gateway/base/buffer.h"
#include "gateway/base/clock.h"
#include "gateway/base/member.h"
#include "gateway/base/memory.h"
#include "gateway/cli_ask.h"
#include "gateway/json_write.h"

enum { OUTCOME_BYTES = 8192 };

static const char *const names[UPGRADE_STATES] = {"running", "done", "failed"};

const char *upgrade_state_name(enum upgrade_state state)
{
    return names[state];
}

bool upgrade_outcome_write(const char *state, const struct upgrade_outcome *outcome)
{
    char *path = memory_format("%s/upgrade.json", state), *part = memory_format("%s.new", path);
    struct buffer out;
    struct json_write json;
    int64_t ended_us = outcome->state == UPGRADE_RUNNING ? 0 : clock_wall_us();
    buffer_init(&out, OUTCOME_BYTES);
    json = (struct json_write){.out = &out};
    json_open(&json, '{');
    json_int_member(&json, "id", outcome->id);
    json_text_member(&json, "state", text_of(names[outcome->state]));
    json_int_member(&json, "pid", outcome->pid);
    json_int_member(&json, "began_us", outcome->began_us);
    json_int_member(&json, "ended_us", ended_us);
    json_int_member(&json, "closed_us", outcome->closed_us);
    json_text_member(&json, "from", text_of(outcome->from));
    json_text_member(&json, "to", text_of(outcome->to));
    json_text_member(&json, "reason", text_of(outcome->reason));
    json_close(&json, '}');
    buffer_append_text(&out, TEXT("\n"));
    struct text bytes = buffer_text(&out);
    int file = open(part, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    bool good = file >= 0 && !out.overrun && write(file, bytes.at, bytes.len) == (ssize_t)bytes.len;
    int problem = errno;
    if (file >= 0)
        close(file);
    errno = problem;
    good = good && rename(part, path) == 0;
    problem = errno;
    buffer_done(&out);
    memory_free(path);
    memory_free(part);
    errno = problem;
    return good;
}

bool upgrade_outcome_read(const char *state, struct upgrade_outcome *outcome)
{
    char *path = memory_format("%s/upgrade.json", state), bytes[OUTCOME_BYTES], word[16];
    int file = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t len = file >= 0 ? read(file, bytes, sizeof bytes) : -1;
    if (file >= 0)
        close(file);
    memory_free(path);
    *outcome = (struct upgrade_outcome){.state = UPGRADE_STATES};
    if (len <= 0)
        return false;
    struct text json = {bytes, (size_t)len};
    outcome->id = cli_member_int(json, "id");
    outcome->pid = (pid_t)cli_member_int(json, "pid");
    outcome->began_us = cli_member_int(json, "began_us");
    outcome->ended_us = cli_member_int(json, "ended_us");
    outcome->closed_us = cli_member_int(json, "closed_us");
    const struct {
        const char *name;
        char *where;
        size_t bytes;
    } texts[] = {{"state", word, sizeof word},
                 {"from", outcome->from, sizeof outcome->from},
                 {"to", outcome->to, sizeof outcome->to},
                 {"reason", outcome->reason, sizeof outcome->reason}};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct text found = cli_member_text(json, texts[i].name, texts[i].where, texts[i].bytes);
        size_t kept = found.len < texts[i].bytes ? found.len : texts[i].bytes - 1;
        if (found.at != NULL && found.at != texts[i].where)
            memmove(texts[i].where, found.at, kept);
        texts[i].where[kept] = 0;
    }
    for (size_t i = 0; i < UPGRADE_STATES; i++)
        if (strcmp(word, names[i]) == 0)
            outcome->state = (enum upgrade_state)i;
    return outcome->state != UPGRADE_STATES && outcome->id > 0;
}
