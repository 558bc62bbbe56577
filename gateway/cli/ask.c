/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/cli/ask.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "gateway/base/member.h"
#include "gateway/base/memory.h"
#include "gateway/base/scan.h"
#include "gateway/cli/http.h"

enum {
    SOCKETS_MAX = 6,
    ASK_SECONDS = 60,
    STRING_BYTES_MAX = 1 << 20,
    KEY_BYTES_MAX = 1024,
    CURSOR_BYTES_MAX = 512,
};

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

/* The configuration may be unreadable here and now, so the usual places are looked at too. */
static void find_sockets(const struct cli *cli, struct sockets_found *found)
{
    const char *path = cli_config_path(cli);
    struct config_options options = {
        .path = path, .quickstart = path == NULL, .allow_inert = true, .allow_unset = true};
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

/* The key from --admin-key-file, in <room>; NULL when it cannot be read. */
static const char *read_key(const char *path, char room[KEY_BYTES_MAX], struct fault *why)
{
    FILE *file = fopen(path, "re");
    size_t length = file != NULL ? fread(room, 1, KEY_BYTES_MAX - 1, file) : 0;
    bool is_read = file != NULL && ferror(file) == 0;
    int problem = errno;
    if (file != NULL)
        fclose(file);
    room[length] = 0;
    room[strcspn(room, "\r\n")] = 0;
    if (is_read && *room != 0)
        return room;
    fault_set(why, FAULT_UNKNOWN_OBJECT, "%.200s: %s", path,
              is_read ? "there is no key in it" : strerror(problem));
    return NULL;
}

static unsigned ask_url(const struct cli *cli, struct cli_request *request, int timeout_s,
                        struct buffer *body, struct fault *why)
{
    char room[KEY_BYTES_MAX];
    request->key = getenv("SLUICE_ADMIN_KEY");
    if (cli->admin_key_file != NULL &&
        (request->key = read_key(cli->admin_key_file, room, why)) == NULL)
        return 0;
    unsigned status = cli_http_ask(cli->admin, request, timeout_s, body, why);
    request->key = NULL;
    memory_wipe(room, sizeof room);
    return status;
}

unsigned cli_ask(const struct cli *cli, const struct cli_question *question, struct buffer *body,
                 struct fault *why)
{
    struct cli_request request = {.method = question->method,
                                  .path = question->path,
                                  .accept = "application/json",
                                  .body = question->sent};
    int timeout_s = question->timeout_s > 0 ? question->timeout_s : ASK_SECONDS;
    if (cli->admin != NULL)
        return ask_url(cli, &request, timeout_s, body, why);
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

static int complain_silence(const struct fault *why)
{
    if (why->kind == FAULT_BAD_KEY) {
        complaint_print("%s\nAsk as the user that sluice runs as, or as root", why->text);
        return EXIT_NOT_FOUND;
    }
    if (why->kind == FAULT_UNKNOWN_OBJECT || why->kind == FAULT_BAD_REQUEST ||
        why->kind == FAULT_UNSUPPORTED) { /* nobody was asked */
        complaint_print("%s", why->text);
        return why->kind == FAULT_UNKNOWN_OBJECT ? EXIT_NOT_FOUND : EXIT_USAGE;
    }
    complaint_print("%s\nIs it running? Start it with: sluice run; or name it with --admin URL",
                    why->text);
    return EXIT_UNREACHABLE;
}

/* What the answer says is wrong, and with which field. */
static int complain_answer(const struct cli_question *question, unsigned status, struct text json)
{
    char detail[512], name[128];
    struct text words = cli_member_text(json, "detail", detail, sizeof detail);
    struct text field = cli_member_text(json, "field", name, sizeof name);
    if (words.len == 0)
        words = cli_member_text(json, "error.message", detail, sizeof detail);
    if (status == 401) {
        complaint_print(
            "not allowed: %.*s%sOver TCP the admin API wants the key in SLUICE_ADMIN_KEY",
            TEXT_ARGS(words), words.len > 0 ? "\n" : "");
        return EXIT_NOT_FOUND;
    }
    if (status == 403)
        complaint_print("not allowed: %.*s", TEXT_ARGS(words));
    else if (status == 404)
        complaint_print("not found: %.*s", TEXT_ARGS(words));
    else if (status != 422) /* that one's words are for the command */
        complaint_print("%s %s: %u %.*s%s%.*s", question->method, question->path, status,
                        TEXT_ARGS(field), field.len > 0 ? ": " : "", TEXT_ARGS(words));
    return status == 404 || status == 403 ? EXIT_NOT_FOUND : EXIT_FAILED;
}

bool cli_is_running(const struct cli *cli)
{
    struct buffer body;
    struct fault why;
    struct cli_question question = {"GET", "/livez", {NULL, 0}, 0};
    buffer_init(&body, CLI_ANSWER_BYTES_MAX);
    unsigned status = cli_ask(cli, &question, &body, &why);
    buffer_done(&body);
    return status != 0 || why.kind != FAULT_TARGET_DOWN;
}

int cli_send_or_complain(const struct cli *cli, const char *method, const char *path,
                         struct text sent, struct buffer *body)
{
    struct fault why;
    struct cli_question question = {.method = method, .path = path, .sent = sent};
    unsigned status = cli_ask(cli, &question, body, &why);
    if (status == 0)
        return complain_silence(&why);
    return status / 100 == 2 ? EXIT_GOOD : complain_answer(&question, status, buffer_text(body));
}

int cli_ask_or_complain(const struct cli *cli, const char *method, const char *path,
                        struct buffer *body)
{
    return cli_send_or_complain(cli, method, path, (struct text){NULL, 0}, body);
}

/* ---------------------------------------------------------------------------- lists */

void cli_escape(struct buffer *out, struct text value)
{
    static const char safe[] = "-._~:,@";
    for (size_t i = 0; i < value.len; i++) {
        unsigned char c = (unsigned char)value.at[i];
        bool is_word = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        if (is_word || (c != 0 && strchr(safe, c) != NULL))
            buffer_append(out, &value.at[i], 1);
        else
            buffer_format(out, "%%%02X", c);
    }
}

int cli_each(const struct cli *cli, const char *path, void (*see)(void *with, struct text item),
             void *with)
{
    char cursor[CURSOR_BYTES_MAX] = "";
    struct buffer place, body;
    int code = EXIT_GOOD;
    buffer_init(&place, CLI_PATH_BYTES_MAX);
    buffer_init(&body, CLI_ANSWER_BYTES_MAX);
    do {
        buffer_clear(&place);
        buffer_clear(&body);
        buffer_format(&place, "%s%slimit=500", path, strchr(path, '?') != NULL ? "&" : "?");
        if (*cursor != 0) {
            buffer_append_text(&place, TEXT("&after="));
            cli_escape(&place, text_of(cursor));
        }
        if (!buffer_append(&place, "", 1)) {
            complaint_print("the question is too long");
            code = EXIT_FAILED;
            break;
        }
        code = cli_ask_or_complain(cli, "GET", buffer_text(&place).at, &body);
        if (code != EXIT_GOOD)
            break;
        struct text items = cli_member(buffer_text(&body), "data"), ignored, item;
        while (items.at != NULL && member_next(&items, &ignored, &item))
            see(with, item);
        struct text next = cli_member_text(buffer_text(&body), "next", cursor, sizeof cursor - 1);
        cursor[next.len] = 0;
    } while (*cursor != 0);
    buffer_done(&place);
    buffer_done(&body);
    return code;
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
