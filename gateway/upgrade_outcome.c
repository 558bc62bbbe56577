/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/upgrade_outcome.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "gateway/base/buffer.h"
#include "gateway/base/clock.h"
#include "gateway/base/json_write.h"
#include "gateway/base/member.h"
#include "gateway/base/memory.h"
#include "gateway/base/scan.h"

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

static int64_t number_of(struct text json, const char *name)
{
    int64_t number = 0;
    return member_count(member_find(json, text_of(name)), INT64_MAX, &number) ? number : 0;
}

/* Cut to what there is room for. */
static void read_words(struct text json, const char *name, char *words, size_t room)
{
    struct text inside = member_string(member_find(json, text_of(name)));
    words[0] = 0;
    if (inside.at == NULL || inside.len >= OUTCOME_BYTES)
        return;
    char plain[OUTCOME_BYTES];
    struct scan_value string = {
        .kind = SCAN_STRING, .raw = member_find(json, text_of(name)), .escaped = true};
    size_t length = scan_string(&string, plain);
    struct text found = length == SIZE_MAX ? inside : (struct text){plain, length};
    size_t kept = found.len < room ? found.len : room - 1;
    memcpy(words, found.at, kept);
    words[kept] = 0;
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
    outcome->id = number_of(json, "id");
    outcome->pid = (pid_t)number_of(json, "pid");
    outcome->began_us = number_of(json, "began_us");
    outcome->ended_us = number_of(json, "ended_us");
    outcome->closed_us = number_of(json, "closed_us");
    read_words(json, "state", word, sizeof word);
    read_words(json, "from", outcome->from, sizeof outcome->from);
    read_words(json, "to", outcome->to, sizeof outcome->to);
    read_words(json, "reason", outcome->reason, sizeof outcome->reason);
    for (size_t i = 0; i < UPGRADE_STATES; i++)
        if (strcmp(word, names[i]) == 0)
            outcome->state = (enum upgrade_state)i;
    return outcome->state != UPGRADE_STATES && outcome->id > 0;
}
