/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/cli_ask.h"

#include <stdlib.h>
#include <unistd.h>

#include "gateway/base/member.h"
#include "gateway/base/memory.h"
#include "gateway/base/scan.h"
#include "gateway/cli_http.h"

enum { SOCKETS_MAX = 6, ASK_SECONDS = 60, STRING_BYTES_MAX = 1 << 20 };

/* ---------------------------------------------------------------------------- where */

struct sockets_found {
    char *urls[SOCKETS_MAX]; /* "unix:/…" */
    size_t count;
};

static void add_socket(struct sockets_found *found, const char *path)
{
    char *url = memory_format("unix:%s", path);
    for (size_t i = 0; i < found->count; i++)
        if (strcmp(found->urls[i], url) == 0) {
            memory_free(url);
            return;
        }
    found->urls[found->count++] = url;
}

static void add_state(struct sockets_found *found, const char *state, const char *below)
{
    if (state == NULL || *state == 0)
        return;
    char *path = memory_format("%s%s/admin.sock", state, below);
    if (access(path, F_OK) == 0)
        add_socket(found, path);
    memory_free(path);
}

/* The configuration may be unreadable here and now (its variables are those of the service), so
 * the usual places are looked at too. */
static void find_sockets(const struct cli *cli, struct sockets_found *found)
{
    const char *path = cli_config_path(cli);
    struct config_options options = {.path = path, .quickstart = path == NULL, .allow_inert = true};
    struct config_result result = config_load(&options);
    if (result.config != NULL) {
        if (result.config->admin_socket != NULL)
            add_socket(found, result.config->admin_socket);
        config_unref(result.config);
    }
    add_state(found, getenv("STATE_DIRECTORY"), "");
    add_state(found, "/var/lib/sluice", "");
    add_state(found, getenv("XDG_DATA_HOME"), "/sluice");
    add_state(found, getenv("HOME"), "/.local/share/sluice");
}

unsigned cli_ask(const struct cli *cli, const char *method, const char *path, int timeout_s,
                 struct buffer *body, struct fault *why)
{
    struct cli_request request = {.method = method, .path = path, .accept = "application/json"};
    if (cli->admin != NULL) {
        request.key = getenv("SLUICE_ADMIN_KEY");
        return cli_http_ask(cli->admin, &request, timeout_s, body, why);
    }
    struct sockets_found found = {.count = 0};
    unsigned status = 0;
    find_sockets(cli, &found);
    fault_set(why, FAULT_TARGET_DOWN, "no admin socket was found");
    for (size_t i = 0; i < found.count && status == 0; i++) {
        buffer_clear(body);
        status = cli_http_ask(found.urls[i], &request, timeout_s, body, why);
        if (status == 0 && why->kind != FAULT_TARGET_DOWN)
            break; /* somebody is there, and is not well: do not ask another */
    }
    for (size_t i = 0; i < found.count; i++)
        memory_free(found.urls[i]);
    return status;
}

int cli_ask_or_complain(const struct cli *cli, const char *method, const char *path,
                        struct buffer *body)
{
    struct fault why;
    char detail[512];
    unsigned status = cli_ask(cli, method, path, ASK_SECONDS, body, &why);
    if (status == 0 && why.kind == FAULT_BAD_KEY) {
        cli_complain("%s\nAsk as the user that sluice runs as, or as root", why.text);
        return EXIT_NOT_FOUND;
    }
    if (status == 0) {
        cli_complain("%s\nIs it running? Start it with: sluice run; or name it with --admin URL",
                     why.text);
        return EXIT_UNREACHABLE;
    }
    if (status / 100 == 2)
        return EXIT_GOOD;
    struct text words = cli_member_text(buffer_text(body), "detail", detail, sizeof detail);
    if (words.len == 0)
        words = cli_member_text(buffer_text(body), "error.message", detail, sizeof detail);
    if (status == 401 || status == 403) {
        cli_complain("not allowed: %.*s%sOver TCP the admin API wants the key in SLUICE_ADMIN_KEY",
                     TEXT_ARGS(words), words.len > 0 ? "\n" : "");
        return EXIT_NOT_FOUND;
    }
    if (status != 422) /* that one's words are for the command */
        cli_complain("%s %s: %u %.*s", method, path, status, TEXT_ARGS(words));
    return status == 404 ? EXIT_NOT_FOUND : EXIT_FAILED;
}

/* ---------------------------------------------------------------------------- what it says */

struct text cli_member(struct text json, const char *name)
{
    struct text rest = text_of(name), part;
    while (json.at != NULL && text_next(&rest, '.', &part)) {
        json = member_find(json, part);
    }
    return json;
}

struct text cli_string(struct text value, char *room, size_t bytes)
{
    struct text inside = member_string(value);
    if (inside.at == NULL)
        return (struct text){"", 0};
    struct scan_value string = {.kind = SCAN_STRING, .raw = value, .escaped = true};
    char *whole = memory_new(value.len + 1);
    size_t length = value.len > STRING_BYTES_MAX ? SIZE_MAX : scan_string(&string, whole);
    /* A lone surrogate cannot be resolved: then it is shown as it stands. */
    struct text found = length == SIZE_MAX ? inside : (struct text){whole, length};
    found = text_head(found, bytes);
    memcpy(room, found.at, found.len);
    memory_free(whole);
    return (struct text){room, found.len};
}

struct text cli_member_text(struct text json, const char *name, char *room, size_t bytes)
{
    return cli_string(cli_member(json, name), room, bytes);
}

int64_t cli_member_int(struct text json, const char *name)
{
    int64_t number = 0;
    return member_count(cli_member(json, name), INT64_MAX, &number) ? number : 0;
}

bool cli_member_is_true(struct text json, const char *name)
{
    return text_equal(cli_member(json, name), TEXT("true"));
}
