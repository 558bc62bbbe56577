/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "gateway/base/clock.h"
#include "gateway/base/json_write.h"
#include "gateway/base/member.h"
#include "gateway/base/memory.h"
#include "gateway/cli/ask.h"
#include "gateway/cli/cli.h"
#include "gateway/cli/commands.h"
#include "gateway/cli/http.h"
#include "gateway/http/sse.h"

enum {
    PROMPT_BYTES_MAX = 32 << 20,
    ANSWER_BYTES_MAX = 64 << 20, /* of one event, or of an answer that is not streamed */
    CHAT_SECONDS = 600,          /* for one wait */
    PRICE_SECONDS = 2,
    NAME_BYTES = 256,
};

struct chat {
    struct cli *cli;
    const char *model;
    bool streams, is_terminal;
    uint64_t began_us, first_us;
    struct usage usage;
    bool has_usage, failed;
    char target[NAME_BYTES];
    int64_t overhead_us; /* -1 = not said */
    char cost[NAME_BYTES];
};

/* ---------------------------------------------------------------------------- asking */

static bool read_all(FILE *from, struct buffer *into)
{
    char piece[8192];
    size_t len;
    while ((len = fread(piece, 1, sizeof piece, from)) > 0)
        if (!buffer_append(into, piece, len))
            return false;
    return true;
}

/* The words of the command line, or all of the standard input. */
static bool read_prompt(struct cli *cli, struct buffer *prompt)
{
    if (cli->argc < 2) {
        if (isatty(STDIN_FILENO))
            fputs("prompt (end it with Ctrl-D): ", stderr);
        return read_all(stdin, prompt);
    }
    for (int i = 1; i < cli->argc; i++)
        if ((i > 1 && !buffer_append(prompt, " ", 1)) ||
            !buffer_append_text(prompt, text_of(cli->argv[i])))
            return false;
    return true;
}

static void write_message(struct json_write *json, const char *role, struct text content)
{
    json_open(json, '{');
    json_text_member(json, "role", text_of(role));
    json_text_member(json, "content", content);
    json_close(json, '}');
}

static bool write_request(const struct chat *chat, struct text prompt, struct buffer *out)
{
    struct json_write json = {.out = out};
    uint64_t max_tokens = 0;
    const char *system = cli_value(chat->cli, "system");
    const char *max = cli_value(chat->cli, "max-tokens");
    json_open(&json, '{');
    json_text_member(&json, "model", text_of(chat->model));
    json_bool_member(&json, "stream", chat->streams);
    if (chat->streams) {
        json_name(&json, "stream_options");
        json_open(&json, '{');
        json_bool_member(&json, "include_usage", true);
        json_close(&json, '}');
    }
    if (max != NULL && text_number(text_of(max), INT32_MAX, &max_tokens))
        json_int_member(&json, "max_tokens", (int64_t)max_tokens);
    json_name(&json, "messages");
    json_open(&json, '[');
    if (system != NULL)
        write_message(&json, "system", text_of(system));
    write_message(&json, "user", prompt);
    json_close(&json, ']');
    json_close(&json, '}');
    return !json.is_full;
}

/* ---------------------------------------------------------------------------- the answer */

static void print_content(struct chat *chat, struct text value)
{
    if (value.at == NULL || value.len <= 2)
        return;
    char *room = memory_new(value.len);
    struct text content = cli_string(value, room, value.len);
    if (chat->first_us == 0)
        chat->first_us = clock_now_us();
    for (size_t i = 0; i < content.len; i++) {
        unsigned char c = (unsigned char)content.at[i];
        /* A model's words must not command the terminal. */
        bool is_command = c == 0x7F || (c < 0x20 && c != '\n' && c != '\t');
        putchar(chat->is_terminal && is_command ? '?' : c);
    }
    memory_free(room);
}

static void take_usage(struct chat *chat, struct text usage)
{
    if (!member_is_something(usage))
        return;
    chat->has_usage = true;
    chat->usage = (struct usage){
        .input_tokens = cli_member_int(usage, "prompt_tokens"),
        .output_tokens = cli_member_int(usage, "completion_tokens"),
        .cached_tokens = cli_member_int(usage, "prompt_tokens_details.cached_tokens"),
        .reasoning_tokens = cli_member_int(usage, "completion_tokens_details.reasoning_tokens")};
}

/* One chunk of a stream, or a whole answer: they differ in a name. */
static void take_answer(struct chat *chat, struct text json, const char *member)
{
    char message[512];
    struct text choices = cli_member(json, "choices"), ignored, choice;
    if (member_is_something(cli_member(json, "error"))) {
        struct text words = cli_member_text(json, "error.message", message, sizeof message);
        fflush(stdout);
        complaint_print("the answer broke off: %.*s", TEXT_ARGS(words));
        chat->failed = true;
        return;
    }
    if (choices.at != NULL && member_next(&choices, &ignored, &choice))
        print_content(chat, cli_member(choice, member));
    take_usage(chat, cli_member(json, "usage"));
}

static void take_events(struct chat *chat, struct buffer *in)
{
    struct sse_event event;
    struct text whole = text_head(buffer_text(in), sse_whole(buffer_text(in)));
    size_t length = whole.len;
    while (sse_next(&whole, &event))
        if (event.lines == 1 && !text_equal(event.data, TEXT("[DONE]")))
            take_answer(chat, event.data, "delta.content");
    buffer_drop(in, length);
    fflush(stdout);
}

static void take_head(struct chat *chat, const struct head *head)
{
    uint64_t number;
    struct text target = text_head(head_value(head, TEXT("x-sluice-target")), NAME_BYTES - 1);
    struct text cost = text_head(head_value(head, TEXT("x-sluice-cost-usd")), NAME_BYTES - 1);
    snprintf(chat->target, sizeof chat->target, "%.*s", TEXT_ARGS(target));
    snprintf(chat->cost, sizeof chat->cost, "%.*s", TEXT_ARGS(cost));
    chat->overhead_us =
        text_number(head_value(head, TEXT("x-sluice-overhead-us")), INT32_MAX, &number)
            ? (int64_t)number
            : -1;
}

static int read_answer(struct chat *chat, struct cli_http *http)
{
    struct buffer in;
    struct text piece;
    struct fault why;
    enum cli_http_result result;
    buffer_init(&in, ANSWER_BYTES_MAX);
    take_head(chat, &http->head);
    bool is_stream =
        text_starts(head_value(&http->head, TEXT("content-type")), TEXT("text/event-stream"));
    while ((result = cli_http_read(http, &piece, &why)) == CLI_HTTP_DATA) {
        if (!buffer_append_text(&in, piece)) {
            fault_set(&why, FAULT_TOO_LARGE, "the answer is too long");
            result = CLI_HTTP_BROKEN;
            break;
        }
        if (is_stream)
            take_events(chat, &in);
    }
    if (result == CLI_HTTP_END && !is_stream)
        take_answer(chat, buffer_text(&in), "message.content");
    buffer_done(&in);
    if (chat->first_us != 0)
        putchar('\n');
    fflush(stdout);
    if (result == CLI_HTTP_BROKEN)
        complaint_print("the answer broke off: %s", why.text);
    return result == CLI_HTTP_BROKEN || chat->failed ? EXIT_FAILED : EXIT_GOOD;
}

static int complain_status(struct cli_http *http)
{
    char message[512];
    struct buffer body;
    struct text piece;
    struct fault why;
    unsigned status = http->head.status;
    buffer_init(&body, 1 << 20);
    while (cli_http_read(http, &piece, &why) == CLI_HTTP_DATA)
        if (!buffer_append_text(&body, piece))
            break;
    struct text words =
        cli_member_text(buffer_text(&body), "error.message", message, sizeof message);
    if (words.len == 0)
        words = text_head(buffer_text(&body), 200);
    complaint_print("%u: %.*s", status, TEXT_ARGS(words));
    buffer_done(&body);
    return status == 401 || status == 403 || status == 404 ? EXIT_NOT_FOUND : EXIT_FAILED;
}

/* ---------------------------------------------------------------------------- what it cost */

/* Is the gateway on this machine? Then its admin socket is most likely that of the same one. */
static bool is_local(const char *url)
{
    return url == NULL || strncmp(url, "unix:", 5) == 0 || strncmp(url, "http://127.", 11) == 0 ||
           strncmp(url, "http://[::1]", 12) == 0 || strncmp(url, "http://localhost", 16) == 0;
}

/* Streams cannot say the cost in their head: it is reckoned from the gateway's own prices. */
static void find_cost(struct chat *chat)
{
    char room[NAME_BYTES];
    struct fault why;
    struct buffer body;
    struct text ignored, model, target;
    if (chat->cost[0] != 0 || !chat->has_usage ||
        (chat->cli->admin == NULL && !is_local(cli_value(chat->cli, "url"))))
        return;
    buffer_init(&body, CLI_ANSWER_BYTES_MAX);
    struct cli_question question = {"GET", "/admin/v1/models", {NULL, 0}, PRICE_SECONDS};
    bool is_known = cli_ask(chat->cli, &question, &body, &why) == 200;
    struct text models = cli_member(buffer_text(&body), "models");
    while (is_known && models.at != NULL && member_next(&models, &ignored, &model)) {
        struct text targets = cli_member(model, "targets");
        while (targets.at != NULL && member_next(&targets, &ignored, &target)) {
            struct text price = cli_member(target, "price");
            if (!text_equal(cli_member_text(target, "id", room, sizeof room),
                            text_of(chat->target)) ||
                cli_member(price, "input").at == NULL)
                continue;
            struct price of = {.input = cli_member_int(price, "input"),
                               .cached_input = cli_member_int(price, "cached_input"),
                               .cache_write = cli_member_int(price, "cache_write"),
                               .output = cli_member_int(price, "output"),
                               .reasoning = cli_member_int(price, "reasoning"),
                               .request = cli_member_int(price, "request"),
                               .known = true};
            int64_t nanos = price_cost(&of, &chat->usage);
            snprintf(chat->cost, sizeof chat->cost, "%" PRId64 ".%09" PRId64, nanos / 1000000000,
                     nanos % 1000000000);
        }
    }
    buffer_done(&body);
}

static void print_figures(struct chat *chat)
{
    uint64_t now = clock_now_us();
    if (cli_has(chat->cli, "quiet"))
        return;
    find_cost(chat);
    if (chat->has_usage)
        fprintf(stderr, "%" PRId64 " + %" PRId64 " tokens", chat->usage.input_tokens,
                chat->usage.output_tokens);
    else
        fputs("no usage was reported", stderr);
    if (chat->cost[0] != 0)
        fprintf(stderr, " · %s USD", chat->cost);
    if (chat->first_us != 0)
        fprintf(stderr, " · first after %.3f s", (double)(chat->first_us - chat->began_us) / 1e6);
    fprintf(stderr, " · %.3f s", (double)(now - chat->began_us) / 1e6);
    if (chat->overhead_us >= 0)
        fprintf(stderr, " · of it sluice %" PRId64 " us", chat->overhead_us);
    if (chat->target[0] != 0)
        fprintf(stderr, " · %s", chat->target);
    fputc('\n', stderr);
}

static const char *chat_key(const struct cli *cli)
{
    const char *key = cli_value(cli, "key");
    if (key == NULL)
        key = getenv("SLUICE_API_KEY");
    if (key == NULL || *key == 0)
        key = getenv("OPENAI_API_KEY");
    return key;
}

static int ask_model(struct chat *chat, struct text request_body)
{
    struct fault why;
    struct cli_http http;
    char *url = cli_gateway_url(cli_value(chat->cli, "url"));
    struct cli_request request = {.method = "POST",
                                  .path = "/v1/chat/completions",
                                  .key = chat_key(chat->cli),
                                  .accept =
                                      chat->streams ? "text/event-stream" : "application/json",
                                  .body = request_body};
    chat->began_us = clock_now_us();
    bool is_open = cli_http_open(&http, url, &request, CHAT_SECONDS, &why);
    memory_free(url);
    if (!is_open) {
        if (why.kind != FAULT_TARGET_DOWN) {
            complaint_print("%s", why.text);
            return EXIT_FAILED;
        }
        complaint_print("%s\nIs sluice running? Start it with: sluice quickstart; or name it with "
                        "--url",
                        why.text);
        return EXIT_UNREACHABLE;
    }
    int code = http.head.status == 200 ? read_answer(chat, &http) : complain_status(&http);
    bool is_answered = http.head.status == 200;
    cli_http_close(&http);
    if (is_answered)
        print_figures(chat);
    return code;
}

int command_chat(struct cli *cli)
{
    uint64_t ignored;
    struct buffer prompt, body;
    if (cli->argc < 1)
        return cli_misuse(cli, "name a model; sluice models ls shows them");
    if (cli_has(cli, "max-tokens") &&
        !text_number(text_of(cli_value(cli, "max-tokens")), INT32_MAX, &ignored))
        return cli_misuse(cli, "--max-tokens takes a whole number");
    struct chat chat = {.cli = cli,
                        .model = cli->argv[0],
                        .streams = !cli_has(cli, "no-stream"),
                        .is_terminal = isatty(STDOUT_FILENO)};
    buffer_init(&prompt, PROMPT_BYTES_MAX);
    buffer_init(&body, 6 * (size_t)PROMPT_BYTES_MAX);
    int code = EXIT_FAILED;
    if (!read_prompt(cli, &prompt) || !write_request(&chat, buffer_text(&prompt), &body))
        complaint_print("the prompt is too long");
    else if (buffer_length(&prompt) == 0)
        code = cli_misuse(cli, "there is no prompt");
    else
        code = ask_model(&chat, buffer_text(&body));
    buffer_done(&prompt);
    buffer_done(&body);
    return code;
}
