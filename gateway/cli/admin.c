/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "gateway/base/member.h"
#include "gateway/cli/ask.h"
#include "gateway/cli/cli.h"
#include "gateway/cli/commands.h"
#include "gateway/cli/http.h"
#include "gateway/cli/table.h"
#include "gateway/cli/words.h"

enum { NAME_BYTES = 256, WATCH_SECONDS = 2, HEALTH_SECONDS = 5 };

/* ---------------------------------------------------------------------------- reload, drain */

/* Every string of an array, one a line. */
static void print_strings(FILE *out, const char *before, struct text array)
{
    char room[4096];
    struct text name, value;
    while (array.at != NULL && member_next(&array, &name, &value)) {
        struct text line = cli_string(value, room, sizeof room);
        fprintf(out, "%s%.*s\n", before, TEXT_ARGS(line));
    }
}

int command_reload(struct cli *cli)
{
    struct buffer body;
    buffer_init(&body, CLI_ANSWER_BYTES_MAX);
    int code = cli_ask_or_complain(cli, "POST", "/admin/v1/config/reload", &body);
    struct text json = buffer_text(&body);
    if (code == EXIT_GOOD) {
        int64_t changes = cli_member_int(json, "changes");
        printf("reloaded: generation %" PRId64 ", %" PRId64 " change%s\n",
               cli_member_int(json, "generation"), changes, changes == 1 ? "" : "s");
        print_strings(stdout, "  ", cli_member(json, "changed"));
        print_strings(stderr,
                      "sluice: not in force before a restart: ", cli_member(json, "needs_restart"));
    } else if (code == EXIT_FAILED) {
        print_strings(stderr, "", cli_member(json, "text"));
        complaint_print("not reloaded; the old configuration (generation %" PRId64
                        ") stays in force",
                        cli_member_int(json, "generation"));
    }
    buffer_done(&body);
    return code;
}

/* A process that is gone, or is not ours to ask about and so long gone. */
static bool is_running(pid_t pid)
{
    return kill(pid, 0) == 0 || errno == EPERM;
}

int command_drain(struct cli *cli)
{
    struct buffer body;
    buffer_init(&body, CLI_ANSWER_BYTES_MAX);
    int code = cli_ask_or_complain(cli, "POST", "/admin/v1/drain", &body);
    pid_t pid = (pid_t)cli_member_int(buffer_text(&body), "pid");
    if (code == EXIT_GOOD)
        printf("draining (pid %d): not ready now, listeners close in %" PRId64
               " ms, running calls may take %" PRId64 " s\n",
               (int)pid, cli_member_int(buffer_text(&body), "drain_delay_ms"),
               cli_member_int(buffer_text(&body), "grace_ms") / 1000);
    buffer_done(&body);
    fflush(stdout);
    while (code == EXIT_GOOD && cli_has(cli, "wait") && pid > 1 && is_running(pid))
        usleep(50000);
    return code;
}

/* ---------------------------------------------------------------------------- status */

static void print_uptime(int64_t seconds, FILE *out)
{
    if (seconds >= 86400)
        fprintf(out, "%" PRId64 " d %" PRId64 " h", seconds / 86400, seconds / 3600 % 24);
    else if (seconds >= 3600)
        fprintf(out, "%" PRId64 " h %" PRId64 " min", seconds / 3600, seconds / 60 % 60);
    else
        fprintf(out, "%" PRId64 " min %" PRId64 " s", seconds / 60, seconds % 60);
}

static void print_reload(struct text json)
{
    char name[NAME_BYTES], since[NAME_BYTES];
    struct text config = cli_member_text(json, "config", name, sizeof name);
    struct text stamp = cli_member_text(json, "reload.in_force_since", since, sizeof since);
    printf("config     %.*s, generation %" PRId64 ", in force since %.*s\n",
           TEXT_ARGS(config.len > 0 ? config : TEXT("built in (quickstart)")),
           cli_member_int(json, "generation"), TEXT_ARGS(stamp));
    if (!cli_member_is_true(json, "reload.good"))
        printf("           THE LAST RELOAD FAILED: sluice check says why\n");
    print_strings(stdout, "           not in force before a restart: ",
                  cli_member(json, "reload.needs_restart"));
}

static void print_listeners(struct text json)
{
    char name[NAME_BYTES], address[NAME_BYTES];
    struct text array = cli_member(json, "listeners"), ignored, one;
    const char *title = "listeners";
    while (array.at != NULL && member_next(&array, &ignored, &one)) {
        struct text n = cli_member_text(one, "name", name, sizeof name);
        struct text a = cli_member_text(one, "address", address, sizeof address);
        printf("%-10s %.*s %.*s%s", title, TEXT_ARGS(n), TEXT_ARGS(a),
               cli_member_is_true(one, "tls") ? " (TLS):" : ":");
        struct text serve = cli_member(one, "serve"), word;
        while (serve.at != NULL && member_next(&serve, &ignored, &word))
            printf(" %.*s", TEXT_ARGS(cli_string(word, name, sizeof name)));
        putchar('\n');
        title = "";
    }
}

static void print_first_token(struct cli_table *table, int64_t us)
{
    char words[32];
    snprintf(words, sizeof words, "%" PRId64 " ms", us / 1000);
    table_cell(table, us > 0 ? text_of(words) : TEXT("-"));
}

static struct text target_state(struct text one, char room[NAME_BYTES])
{
    struct text because = cli_member_text(one, "off_because", room, NAME_BYTES);
    if (cli_member_is_true(one, "off"))
        return because.len > 0 ? because : TEXT("off");
    struct text circuit = cli_member_text(one, "circuit", room, NAME_BYTES);
    if (circuit.len > 0 && !text_equal(circuit, TEXT("closed")))
        return text_equal(circuit, TEXT("open")) ? TEXT("circuit open") : TEXT("probed");
    return cli_member_int(one, "again_in_us") > 0 ? TEXT("rests") : TEXT("on");
}

static void print_targets(struct text json)
{
    char room[NAME_BYTES];
    struct cli_table table;
    struct text array = cli_member(json, "targets"), ignored, one;
    table_begin(&table);
    table_column(&table, "target", false);
    table_column(&table, "provider", false);
    table_column(&table, "model", false);
    table_column(&table, "running", true);
    table_column(&table, "tries", true);
    table_column(&table, "failed", true);
    table_column(&table, "first token", true);
    table_column(&table, "state", false);
    while (array.at != NULL && member_next(&array, &ignored, &one)) {
        table_cell(&table, cli_member_text(one, "id", room, sizeof room));
        table_cell(&table, cli_member_text(one, "provider", room, sizeof room));
        table_cell(&table, cli_member_text(one, "model", room, sizeof room));
        table_int_cell(&table, cli_member_int(one, "in_flight"));
        table_int_cell(&table, cli_member_int(one, "attempts"));
        table_int_cell(&table, cli_member_int(one, "failures"));
        print_first_token(&table, cli_member_int(one, "first_token_us"));
        table_cell(&table, target_state(one, room));
    }
    if (table.count > 0) {
        putchar('\n');
        table_print(&table, stdout);
    }
    table_end(&table);
}

static void print_store(struct text json)
{
    char type[NAME_BYTES];
    struct text t = cli_member_text(json, "store.type", type, sizeof type);
    int64_t tenants = cli_member_int(json, "keys.tenants"),
            keys = cli_member_int(json, "keys.keys");
    printf("store      %.*s, %" PRId64 " tenant%s, %" PRId64 " key%s", TEXT_ARGS(t), tenants,
           tenants == 1 ? "" : "s", keys, keys == 1 ? "" : "s");
    if (text_equal(t, TEXT("redis")))
        printf(", %" PRId64 " replicas, answers in %" PRId64 " us",
               cli_member_int(json, "store.replicas"), cli_member_int(json, "store.latency_us"));
    bool is_up = cli_member_is_true(json, "store.up") && cli_member_is_true(json, "keys.up");
    puts(is_up ? "" : "; THE STORE CANNOT BE REACHED");
    printf("limits     %" PRId64 " calls admitted, %" PRId64 " refused, %" PRId64
           " while the store was away; %" PRId64 " counters\n",
           cli_member_int(json, "limits.granted"), cli_member_int(json, "limits.refused"),
           cli_member_int(json, "limits.away"), cli_member_int(json, "limits.counters"));
}

static void print_status(struct text json)
{
    char version[NAME_BYTES], state[NAME_BYTES];
    struct text v = cli_member_text(json, "version", version, sizeof version);
    struct text s = cli_member_text(json, "state", state, sizeof state);
    printf("sluice %.*s %.*s, pid %" PRId64 " (service %" PRId64 "), up ", TEXT_ARGS(v),
           TEXT_ARGS(s), cli_member_int(json, "pid"), cli_member_int(json, "service_pid"));
    print_uptime(cli_member_int(json, "uptime_s"), stdout);
    putchar('\n');
    print_reload(json);
    print_listeners(json);
    printf("clients    %" PRId64 " connected, %" PRId64 " calls running, %" PRId64
           " of them streams; %" PRId64 " connections to providers\n",
           cli_member_int(json, "connections"), cli_member_int(json, "calls"),
           cli_member_int(json, "streams"), cli_member_int(json, "upstream_connections"));
    printf("ledger     %" PRId64 " lines since the start, %" PRId64 " not in the store yet%s%s\n",
           cli_member_int(json, "ledger.lines"), cli_member_int(json, "ledger.undrained_lines"),
           cli_member_is_true(json, "ledger.full") ? "; FULL: calls are refused" : "",
           cli_member_int(json, "ledger.drain_errors") > 0 ? "; THE STORE HAD ERRORS" : "");
    print_store(json);
    print_targets(json);
}

int command_status(struct cli *cli)
{
    enum cli_format format;
    struct buffer body;
    bool watches = cli_has(cli, "watch");
    if (!cli_format_find(cli_value(cli, "format"), &format) || format == FORMAT_CSV)
        return cli_misuse(cli, "--format is table or json, not \"%s\"", cli_value(cli, "format"));
    buffer_init(&body, CLI_ANSWER_BYTES_MAX);
    for (;;) {
        buffer_clear(&body);
        int code = cli_ask_or_complain(cli, "GET", "/admin/v1/overview", &body);
        if (code == EXIT_GOOD && watches && format == FORMAT_TABLE && isatty(STDOUT_FILENO))
            fputs("\033[H\033[2J", stdout);
        if (code == EXIT_GOOD && format == FORMAT_JSON)
            printf("%.*s\n", TEXT_ARGS(buffer_text(&body)));
        else if (code == EXIT_GOOD)
            print_status(buffer_text(&body));
        if (code != EXIT_GOOD || !watches || fflush(stdout) != 0) {
            buffer_done(&body);
            return code;
        }
        sleep(WATCH_SECONDS);
    }
}

/* ---------------------------------------------------------------------------- top */

enum { TOP_ROWS = 15, BY_MAX = 11 };

/* What calls have cost by <by> lately, the dearest first. */
static void print_spent(struct text rows, const char *by)
{
    static const struct {
        const char *member, *name;
    } sums[] = {{"requests", "calls"},
                {"refused", "refused"},
                {"partial", "partial"},
                {"input_tokens", "tokens in"},
                {"output_tokens", "tokens out"}};
    char heads[BY_MAX][NAME_BYTES], room[NAME_BYTES], money[40];
    struct cli_table table;
    struct text names = text_of(by), name, ignored, row;
    size_t columns = 0;
    table_begin(&table);
    while (columns < BY_MAX && text_next(&names, ',', &name)) {
        snprintf(heads[columns], NAME_BYTES, "%.*s", TEXT_ARGS(name));
        table_column(&table, heads[columns++], false);
    }
    for (size_t i = 0; i < sizeof sums / sizeof *sums; i++)
        table_column(&table, sums[i].name, true);
    table_column(&table, "cost USD", true);
    for (int i = 0; i < TOP_ROWS && rows.at && member_next(&rows, &ignored, &row); i++) {
        for (size_t k = 0; k < columns; k++)
            table_cell(&table, text_of(words_member(row, heads[k], room, sizeof room)));
        for (size_t k = 0; k < sizeof sums / sizeof *sums; k++)
            table_int_cell(&table, cli_member_int(row, sums[k].member));
        table_cell(&table, text_of(words_money(cli_member_int(row, "cost_nanos"), false, money)));
    }
    if (table.count > 0)
        table_print(&table, stdout);
    table_end(&table);
}

static int print_top(const struct cli *cli, const char *by, const char *since, bool clears)
{
    struct buffer path, overview, usage;
    char version[NAME_BYTES], state[NAME_BYTES];
    buffer_init(&path, CLI_PATH_BYTES_MAX);
    buffer_init(&overview, CLI_ANSWER_BYTES_MAX);
    buffer_init(&usage, CLI_ANSWER_BYTES_MAX);
    buffer_append_text(&path, TEXT("/admin/v1/usage?by="));
    cli_escape(&path, text_of(by));
    buffer_append_text(&path, TEXT("&since="));
    cli_escape(&path, text_of(since));
    int code = buffer_append(&path, "", 1)
                   ? cli_ask_or_complain(cli, "GET", "/admin/v1/overview", &overview)
                   : cli_misuse(cli, "--by is too long");
    if (code == EXIT_GOOD)
        code = cli_ask_or_complain(cli, "GET", buffer_text(&path).at, &usage);
    struct text json = buffer_text(&overview);
    if (code == EXIT_GOOD) {
        if (clears)
            fputs("\033[H\033[2J", stdout);
        printf("sluice %s %s, up ", words_member(json, "version", version, sizeof version),
               words_member(json, "state", state, sizeof state));
        print_uptime(cli_member_int(json, "uptime_s"), stdout);
        printf("; %" PRId64 " clients, %" PRId64 " calls running, %" PRId64 " of them streams\n",
               cli_member_int(json, "connections"), cli_member_int(json, "calls"),
               cli_member_int(json, "streams"));
        printf("\nthe last %s\n", since);
        print_spent(buffer_text(&usage), by);
        print_targets(json);
    }
    buffer_done(&path);
    buffer_done(&overview);
    buffer_done(&usage);
    return code;
}

int command_top(struct cli *cli)
{
    const char *by = cli_value(cli, "by"), *since = cli_value(cli, "since");
    bool watches = isatty(STDOUT_FILENO);
    for (;;) {
        int code = print_top(cli, by ? by : "tenant,model", since ? since : "5m", watches);
        if (code != EXIT_GOOD || !watches || fflush(stdout) != 0)
            return code;
        sleep(WATCH_SECONDS);
    }
}

/* ---------------------------------------------------------------------------- healthcheck */

/* The first listener that serves health, as a URL; false when there is none. */
static bool health_url(const struct cli *cli, char *url, size_t bytes)
{
    const char *path = cli_config_path(cli);
    struct config_options options = {
        .path = path, .quickstart = path == NULL, .allow_inert = true, .allow_unset = true};
    struct config_result result = config_load(&options);
    bool is_found = false;
    for (size_t i = 0; result.config != NULL && i < result.config->listener_count && !is_found;
         i++) {
        const struct listener_settings *listener = &result.config->listeners[i];
        if ((listener->serve & SERVE_HEALTH) == 0 || listener->has_tls ||
            strncmp(listener->address, "systemd:", 8) == 0)
            continue;
        const char *address = listener->address;
        is_found = true;
        if (strncmp(address, "unix:", 5) == 0)
            snprintf(url, bytes, "%s", address);
        else if (strncmp(address, "0.0.0.0:", 8) == 0)
            snprintf(url, bytes, "http://127.0.0.1:%s", address + 8);
        else if (strncmp(address, "[::]:", 5) == 0)
            snprintf(url, bytes, "http://[::1]:%s", address + 5);
        else
            snprintf(url, bytes, "http://%s", address);
    }
    if (result.config != NULL)
        config_unref(result.config);
    return is_found;
}

int command_healthcheck(struct cli *cli)
{
    char url[NAME_BYTES];
    struct fault why;
    struct buffer body;
    const char *path = cli_has(cli, "live") ? "/livez" : "/readyz";
    struct cli_request request = {.method = "GET", .path = path};
    unsigned status = 0;
    buffer_init(&body, CLI_ANSWER_BYTES_MAX);
    if (cli_value(cli, "url") != NULL) {
        status = cli_http_ask(cli_value(cli, "url"), &request, HEALTH_SECONDS, &body, &why);
    } else {
        struct cli_question question = {"GET", path, {NULL, 0}, HEALTH_SECONDS};
        status = cli_ask(cli, &question, &body, &why);
        if (status == 0 && cli->admin == NULL && health_url(cli, url, sizeof url))
            status = cli_http_ask(url, &request, HEALTH_SECONDS, &body, &why);
    }
    if (!cli_has(cli, "quiet")) {
        if (status == 0)
            complaint_print("%s", why.text);
        else
            printf("%.*s", TEXT_ARGS(buffer_text(&body)));
    }
    buffer_done(&body);
    return status == 200 ? EXIT_GOOD : EXIT_FAILED;
}

/* ---------------------------------------------------------------------------- models ls */

/* Nano-dollars per million tokens as dollars, without zeros at the end. */
static struct text price_text(struct text target, const char *name, char out[32])
{
    if (cli_member(target, "price.input").at == NULL)
        return TEXT("?");
    int64_t nanos = cli_member_int(target, name);
    int length =
        snprintf(out, 32, "%" PRId64 ".%09" PRId64, nanos / 1000000000, nanos % 1000000000);
    while (out[length - 1] == '0' && out[length - 3] != '.')
        length--;
    return (struct text){out, (size_t)length};
}

static void add_model(struct cli_table *table, struct text model)
{
    char name[NAME_BYTES], room[NAME_BYTES], price[32];
    struct text targets = cli_member(model, "targets"), ignored, target;
    struct text n = cli_member_text(model, "name", name, sizeof name);
    while (targets.at != NULL && member_next(&targets, &ignored, &target)) {
        table_cell(table, n);
        table_cell(table, cli_member_text(target, "id", room, sizeof room));
        table_cell(table, cli_member_text(target, "provider", room, sizeof room));
        table_cell(table, cli_member_text(target, "model", room, sizeof room));
        table_cell(table, price_text(target, "price.input", price));
        table_cell(table, price_text(target, "price.output", price));
        struct text because = cli_member_text(target, "off_because", room, sizeof room);
        table_cell(table, !cli_member_is_true(target, "off") ? TEXT("on")
                          : because.len > 0                  ? because
                                                             : TEXT("off"));
    }
}

int command_models_ls(struct cli *cli)
{
    static const char *const names[] = {"model",     "target",     "provider", "upstream_model",
                                        "usd_input", "usd_output", "state"};
    enum cli_format format;
    struct buffer body;
    if (!cli_format_find(cli_value(cli, "format"), &format))
        return cli_misuse(cli, "--format is table, json or csv, not \"%s\"",
                          cli_value(cli, "format"));
    buffer_init(&body, CLI_ANSWER_BYTES_MAX);
    int code = cli_ask_or_complain(cli, "GET", "/admin/v1/models", &body);
    struct text models = cli_member(buffer_text(&body), "models"), ignored, model;
    if (code == EXIT_GOOD && format == FORMAT_JSON) {
        printf("%.*s\n", TEXT_ARGS(models));
    } else if (code == EXIT_GOOD) {
        struct cli_table table;
        table_begin(&table);
        for (size_t i = 0; i < sizeof names / sizeof *names; i++)
            table_column(&table, names[i], i == 4 || i == 5);
        while (models.at != NULL && member_next(&models, &ignored, &model))
            add_model(&table, model);
        if (format == FORMAT_CSV)
            table_print_csv(&table, stdout);
        else
            table_print(&table, stdout);
        table_end(&table);
    }
    buffer_done(&body);
    return code;
}
