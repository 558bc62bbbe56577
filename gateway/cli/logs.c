/* SPDX-License-Identifier: Apache-2.0 */
/* logs: the last calls, and those that come; trace: all that is known of one of them. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "gateway/base/clock.h"
#include "gateway/base/hash.h"
#include "gateway/base/member.h"
#include "gateway/base/memory.h"
#include "gateway/cli/ask.h"
#include "gateway/cli/cli.h"
#include "gateway/cli/commands.h"
#include "gateway/cli/content.h"
#include "gateway/cli/words.h"

enum {
    LINES_DEFAULT = 20,
    LINES_MAX = 10000,
    PAGE_ROWS = 500,
    PAGES_MAX = 40, /* read for one look, however few of their calls are wanted */
    SEEN_MAX = 4 * PAGE_ROWS,
    FOLLOW_US = 1000000,
    WORD_BYTES = 256,
};

static const char *const filters[] = {"since", "until",  "tenant",   "key",       "user",
                                      "model", "target", "provider", "operation", "status"};

/* ------------------------------------------------------------------------------- the question */

/* "tenant=acme,status=5xx" as parameters; false when that was said to be wrong. */
static bool put_filters(const struct cli *cli, struct buffer *path)
{
    const char *word = cli_value(cli, "filter");
    struct text rest = word ? text_of(word) : (struct text){NULL, 0}, pair;
    while (text_next(&rest, ',', &pair)) {
        size_t equals = text_find_byte(pair, '='), i = 0;
        struct text name = text_trim(text_head(pair, equals));
        while (i < sizeof filters / sizeof *filters && !text_equal(name, text_of(filters[i])))
            i++;
        if (equals == SIZE_MAX || i == sizeof filters / sizeof *filters) {
            const char *near = cli_nearest(name, filters, sizeof filters / sizeof *filters);
            cli_misuse(cli,
                       "--filter takes %s=…, of since until tenant key user model target "
                       "provider operation status",
                       near ? near : "tenant");
            return false;
        }
        buffer_format(path, "&%s=", filters[i]);
        cli_escape(path, text_trim(text_from(pair, equals + 1)));
    }
    return true;
}

/* -------------------------------------------------------------------------------- one line each */

static void print_line(struct text row)
{
    char at[WORD_BYTES], tenant[WORD_BYTES], key[WORD_BYTES], model[WORD_BYTES], target[WORD_BYTES],
        error[WORD_BYTES], id[WORD_BYTES], who[2 * WORD_BYTES + 1], first[24], whole[24], cost[40];
    words_member(row, "started_at", at, sizeof at);
    words_member(row, "tenant", tenant, sizeof tenant);
    words_member(row, "key", key, sizeof key);
    words_member(row, "model", model, sizeof model);
    words_member(row, "target", target, sizeof target);
    words_member(row, "error", error, sizeof error);
    words_member(row, "id", id, sizeof id);
    snprintf(who, sizeof who, "%s/%s", tenant, key);
    if (strlen(at) > 10)
        at[10] = ' ';
    printf("%-19.19s %3" PRId64 "  %-20s %-20s %-16s %8" PRId64 " %7" PRId64
           " %8s %8s %10s  %s%s%s\n",
           at, cli_member_int(row, "status"), who, model, target[0] ? target : "-",
           cli_member_int(row, "input_tokens"), cli_member_int(row, "output_tokens"),
           words_time(cli_member_int(row, "ttft_us"), first),
           words_time(cli_member_int(row, "duration_us"), whole),
           words_money(cli_member_int(row, "cost_nanos"), false, cost), id, error[0] ? "  " : "",
           error);
}

static void print_row(struct text row, bool is_json)
{
    if (is_json)
        printf("%.*s\n", TEXT_ARGS(row));
    else
        print_line(row);
}

/* ------------------------------------------------------------------------------------- looking */

struct look {
    struct cli *cli;
    struct text question; /* path and filters */
    char **rows;          /* what is new, the newest first */
    size_t count;
    uint64_t seen[SEEN_MAX]; /* a ring of the hashes of ids */
    size_t seen_count;
    bool follows; /* what there was has been shown */
};

static uint64_t id_of(struct text row)
{
    char id[WORD_BYTES];
    return hash_name(cli_member_text(row, "id", id, sizeof id));
}

static bool is_seen(const struct look *look, uint64_t id)
{
    size_t kept = look->seen_count < SEEN_MAX ? look->seen_count : SEEN_MAX;
    for (size_t i = 0; i < kept; i++)
        if (look->seen[i] == id)
            return true;
    return false;
}

/* Take what is new of a page; returns whether all of it was, and there may be more of that. */
static bool take_page(struct look *look, struct text body)
{
    struct text rows = cli_member(body, "data"), ignored, row;
    bool all_new = true;
    size_t count = 0;
    while (rows.at != NULL && member_next(&rows, &ignored, &row)) {
        uint64_t id = id_of(row);
        count++;
        if (is_seen(look, id)) {
            all_new = false;
            continue;
        }
        look->rows = memory_resize(look->rows, (look->count + 1) * sizeof *look->rows);
        look->rows[look->count++] = memory_string(row);
    }
    /* A page with filters may be short although older calls follow: once some are known, those are
     * no news. */
    return all_new && (count == PAGE_ROWS || !look->follows);
}

/* Read pages, the newest calls first, until <enough> are there or one is known already. */
static int look_again(struct look *look, size_t enough)
{
    char next[WORD_BYTES] = "";
    int code = EXIT_GOOD;
    bool more = true;
    for (int page = 0; more && page < PAGES_MAX && code == EXIT_GOOD; page++) {
        struct buffer path, body;
        buffer_init(&path, CLI_PATH_BYTES_MAX);
        buffer_init(&body, CLI_ANSWER_BYTES_MAX);
        buffer_append_text(&path, look->question);
        if (next[0]) {
            buffer_append_text(&path, TEXT("&after="));
            cli_escape(&path, text_of(next));
        }
        code = buffer_append(&path, "", 1)
                   ? cli_ask_or_complain(look->cli, "GET", buffer_text(&path).at, &body)
                   : cli_misuse(look->cli, "the question is too long");
        if (code == EXIT_GOOD) {
            more = take_page(look, buffer_text(&body)) && look->count < enough;
            words_member(buffer_text(&body), "next", next, sizeof next);
            more = more && next[0];
        }
        buffer_done(&path);
        buffer_done(&body);
    }
    return code;
}

/* The oldest first; what is more than <most> of them is left out. */
static void print_found(struct look *look, size_t most, bool is_json)
{
    for (size_t i = look->count; i-- > 0;) {
        if (i < most)
            print_row(text_of(look->rows[i]), is_json);
        look->seen[look->seen_count++ % SEEN_MAX] = id_of(text_of(look->rows[i])); /* newest last */
        memory_free(look->rows[i]);
    }
    memory_free(look->rows);
    look->rows = NULL;
    look->count = 0;
}

static int follow(struct look *look, size_t lines, bool is_json)
{
    bool follows = cli_has(look->cli, "follow");
    uint64_t took_us = 0;
    int code = look_again(look, lines);
    if (code == EXIT_GOOD && !is_json && look->count > 0)
        printf("%-19s %3s  %-20s %-20s %-16s %8s %7s %8s %8s %10s  %s\n", "started (UTC)", "",
               "who", "model", "target", "in", "out", "first", "whole", "USD", "id");
    for (;;) {
        print_found(look, lines, is_json);
        if (fflush(stdout) != 0)
            return EXIT_FAILED;
        if (code != EXIT_GOOD || !follows)
            return code;
        lines = SIZE_MAX;
        look->follows = true;
        /* A rare filter has many rows looked at: never more than a tenth of the time. */
        usleep(took_us > FOLLOW_US / 9 ? (useconds_t)(9 * took_us) : FOLLOW_US);
        uint64_t begun_us = clock_now_us();
        code = look_again(look, lines);
        took_us = clock_now_us() - begun_us;
    }
}

int command_logs(struct cli *cli)
{
    const char *format = cli_value(cli, "format"), *word = cli_value(cli, "lines");
    bool is_json = format != NULL && strcmp(format, "json") == 0;
    uint64_t lines = LINES_DEFAULT;
    struct buffer question;
    if (format != NULL && !is_json && strcmp(format, "table") != 0)
        return cli_misuse(cli, "--format is table or json, not \"%s\"", format);
    if (word && (!text_number(text_of(word), LINES_MAX, &lines) || lines == 0))
        return cli_misuse(cli, "--lines is a number from 1 to %d", LINES_MAX);
    buffer_init(&question, CLI_PATH_BYTES_MAX);
    buffer_format(&question, "/admin/v1/requests?order=desc&limit=%d", PAGE_ROWS);
    int code = EXIT_USAGE;
    if (put_filters(cli, &question)) {
        struct look *look = memory_new(sizeof *look);
        look->cli = cli;
        look->question = buffer_text(&question);
        code = follow(look, (size_t)lines, is_json);
        memory_free(look);
    }
    buffer_done(&question);
    return code;
}

/* ---------------------------------------------------------------------------------- one of them */

static void print_who(struct text row)
{
    static const char *const names[] = {"tenant", "key", "user", "tags"};
    char room[WORD_BYTES];
    fputs("who      ", stdout);
    for (size_t i = 0, some = 0; i < sizeof names / sizeof *names; i++) {
        words_member(row, names[i], room, sizeof room);
        if (room[0])
            printf("%s%s %s", some++ ? ", " : "", names[i], room);
    }
    putchar('\n');
}

static void print_way(struct text row)
{
    char operation[WORD_BYTES], dialect[WORD_BYTES], model[WORD_BYTES], target[WORD_BYTES],
        provider[WORD_BYTES], upstream[WORD_BYTES], other[WORD_BYTES];
    words_member(row, "operation", operation, sizeof operation);
    words_member(row, "dialect", dialect, sizeof dialect);
    words_member(row, "model", model, sizeof model);
    words_member(row, "target", target, sizeof target);
    words_member(row, "provider", provider, sizeof provider);
    words_member(row, "upstream_model", upstream, sizeof upstream);
    words_member(row, "upstream_dialect", other, sizeof other);
    printf("asked    %s of %s, in the words of %s%s\n", operation, model, dialect,
           cli_member_is_true(row, "stream") ? ", as a stream" : "");
    if (target[0])
        printf("went     to %s of %s as %s%s%s, attempts: %" PRId64 "\n", target, provider,
               upstream, strcmp(dialect, other) == 0 ? "" : ", in the words of ",
               strcmp(dialect, other) == 0 ? "" : other, cli_member_int(row, "attempts"));
    else
        printf("went     nowhere, attempts: %" PRId64 "\n", cli_member_int(row, "attempts"));
}

static void print_tokens(struct text row)
{
    static const struct {
        const char *member, *name;
    } parts[] = {{"cached_tokens", "of the input cached"},
                 {"cache_write_tokens", "of the input written to the cache"},
                 {"cache_write_1h_tokens", "of these for an hour"},
                 {"reasoning_tokens", "of the output reasoning"},
                 {"audio_input_tokens", "audio in"},
                 {"audio_output_tokens", "audio out"},
                 {"image_tokens", "of images"},
                 {"image_output_tokens", "of pictures made"},
                 {"units", "units"},
                 {"searches", "searches"}};
    char room[WORD_BYTES];
    printf("tokens   %" PRId64 " in, %" PRId64 " out", cli_member_int(row, "input_tokens"),
           cli_member_int(row, "output_tokens"));
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        if (cli_member_int(row, parts[i].member))
            printf(", %" PRId64 " %s", cli_member_int(row, parts[i].member), parts[i].name);
    words_member(row, "counted", room, sizeof room);
    printf("; counted by %s\n", room);
}

/* How its first target was chosen when it came. */
static void print_decision(struct text decision)
{
    char policy[WORD_BYTES], strategy[WORD_BYTES];
    if (!decision.at || text_equal(decision, TEXT("null")))
        return;
    words_member(decision, "policy", policy, sizeof policy);
    words_member(decision, "strategy", strategy, sizeof strategy);
    printf("chosen   by policy %s%s%s, from:\n", policy, strategy[0] ? ", " : "", strategy);
    cli_print_candidates(decision);
}

static void print_trace(struct text row)
{
    char id[WORD_BYTES], at[WORD_BYTES], outcome[WORD_BYTES], error[WORD_BYTES], finish[WORD_BYTES],
        a[40], b[40];
    words_member(row, "id", id, sizeof id);
    words_member(row, "started_at", at, sizeof at);
    words_member(row, "outcome", outcome, sizeof outcome);
    words_member(row, "error", error, sizeof error);
    words_member(row, "finish", finish, sizeof finish);
    /* What a try before had failed of, where another one was answered. */
    const char *why = strcmp(outcome, "complete") == 0 ? ", after " : ", error ";
    printf("%s  %s\nended    %" PRId64 ", %s%s%s%s%s\n", id, at, cli_member_int(row, "status"),
           outcome, finish[0] ? ", finish reason " : "", finish, error[0] ? why : "", error);
    print_who(row);
    print_way(row);
    fputs("time     ", stdout);
    if (cli_member_int(row, "ttft_us") > 0)
        printf("first token after %s, ", words_time(cli_member_int(row, "ttft_us"), a));
    printf("all after %s, sluice's own part %s\n",
           words_time(cli_member_int(row, "duration_us"), a),
           words_time(cli_member_int(row, "overhead_us"), b));
    print_tokens(row);
    printf("cost     %s USD, price version %" PRId64,
           words_money(cli_member_int(row, "cost_nanos"), false, a),
           cli_member_int(row, "price_version"));
    char tier[16];
    words_member(row, "service_tier", tier, sizeof tier);
    if (tier[0] && strcmp(tier, "standard") != 0)
        printf(", tier %s", tier);
    if (cli_member_int(row, "saved_nanos"))
        printf("; saved by the cache %s USD",
               words_money(cli_member_int(row, "saved_nanos"), false, b));
    putchar('\n');
    print_decision(cli_member(row, "decision"));
    cli_print_content(cli_member(row, "content"));
}

int command_trace(struct cli *cli)
{
    const char *format = cli_value(cli, "format");
    bool is_json = format != NULL && strcmp(format, "json") == 0;
    struct buffer path, body;
    if (format != NULL && !is_json && strcmp(format, "table") != 0)
        return cli_misuse(cli, "--format is table or json, not \"%s\"", format);
    if (cli->argc == 0)
        return cli_misuse(cli, "which call? its x-request-id, or one that sluice logs shows");
    buffer_init(&path, CLI_PATH_BYTES_MAX);
    buffer_init(&body, CLI_ANSWER_BYTES_MAX);
    buffer_append_text(&path, TEXT("/admin/v1/requests/"));
    cli_escape(&path, text_of(cli->argv[0]));
    int code = buffer_append(&path, "", 1)
                   ? cli_ask_or_complain(cli, "GET", buffer_text(&path).at, &body)
                   : cli_misuse(cli, "the id is too long");
    if (code == EXIT_GOOD && is_json)
        printf("%.*s\n", TEXT_ARGS(buffer_text(&body)));
    else if (code == EXIT_GOOD)
        print_trace(buffer_text(&body));
    buffer_done(&path);
    buffer_done(&body);
    return code;
}
