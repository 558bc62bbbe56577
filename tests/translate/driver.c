/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The translators, to be driven by tests: a JSON object on each line of the input, one on each line
 * of the output. Bytes go as hexadecimal digits.
 *
 *   {"op":"list"}                                                  -> {"names":[...]}
 *   {"op":"call","from":NAME,"to":NAME,"body":HEX,"model":"","stream":false,
 *    "target":{"type":"openai","model":"m"}}   ->
 * {"ok":true,"body":HEX,"path":,"headers":,"demands":, "hints":} or
 * {"ok":false,"param":,"message":}
 *   {"op":"answer","from":NAME,"to":NAME,"body":HEX,"stream_in":true,"stream_out":true,
 *    "request":HEX,"model":"m","wants_usage":true,"cuts":[3,10]}   (or "each":n, n bytes a time)
 *       ->
 * {"state":"ended","out":HEX,"end_at":n,"usage":{},"finish":"","usage_seen":true,"fault":""}
 *   {"op":"error","from":NAME,"status":429,"body":HEX}             -> {"fault":"","message":""}
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/base/json.h"
#include "gateway/base/memory.h"
#include "providers/translator.h"

enum { LINE_LIMIT = 1 << 28 };

static struct arena arena;
static struct buffer answer;

static struct text text_member(const struct json *object, const char *name)
{
    struct text text = {"", 0};
    json_to_text(json_member(object, name), &text);
    return text;
}

static bool flag_member(const struct json *object, const char *name)
{
    bool flag = false;
    json_to_bool(json_member(object, name), &flag);
    return flag;
}

static int64_t number_member(const struct json *object, const char *name)
{
    int64_t number = 0;
    json_to_int(json_member(object, name), 0, INT64_MAX, &number);
    return number;
}

static struct text bytes_member(const struct json *object, const char *name)
{
    struct text hex = text_member(object, name);
    char *bytes = arena_take(&arena, hex.len / 2 + 1);
    for (size_t i = 0; i + 1 < hex.len; i += 2) {
        char pair[3] = {hex.at[i], hex.at[i + 1], '\0'};
        bytes[i / 2] = (char)strtoul(pair, NULL, 16);
    }
    return (struct text){bytes, hex.len / 2};
}

static void put_hex(const char *name, struct text bytes)
{
    static const char digits[] = "0123456789abcdef";
    put_inner(&answer, name, TEXT(""));
    answer.end--; /* the closing quote */
    for (size_t i = 0; i < bytes.len; i++) {
        unsigned char c = (unsigned char)bytes.at[i];
        char pair[2] = {digits[c >> 4], digits[c & 15]};
        buffer_append(&answer, pair, 2);
    }
    put_literal(&answer, "\"");
}

static void put_plain(const char *name, struct text plain)
{
    put_inner(&answer, name, inner_of(&arena, plain));
}

static const struct translator *named(const struct json *ask, const char *name)
{
    const struct translator *one;
    for (size_t i = 0; (one = translator_at(i)) != NULL; i++)
        if (text_equal(one->name, text_member(ask, name)))
            return one;
    fprintf(stderr, "no translator has the name that stands under '%s'\n", name);
    exit(2);
}

static void list(void)
{
    const struct translator *one;
    put_open(&answer, "names", '[');
    for (size_t i = 0; (one = translator_at(i)) != NULL; i++)
        put_item(&answer, one->name);
    put_literal(&answer, "]");
}

static void call(const struct json *ask)
{
    const struct json *wanted = json_member(ask, "target");
    struct call_target target = {
        .type = provider_type_find(text_member(wanted, "type")),
        .model = text_member(wanted, "model"),
        .stream = flag_member(ask, "stream"),
        .max_tokens_default = number_member(wanted, "max_tokens_default"),
        .max_tokens_max = number_member(wanted, "max_tokens_max"),
        .lowered_tokens = number_member(wanted, "lowered_tokens"),
        .api_version = text_member(wanted, "api_version"),
        .project = text_member(wanted, "project"),
        .location = text_member(wanted, "location"),
    };
    struct translated_call made = {0};
    struct fault fault = {0};
    if (!target.type)
        target.type = provider_type_find(TEXT("mock"));
    if (!translate_call(&arena, named(ask, "from"), named(ask, "to"), bytes_member(ask, "body"),
                        text_member(ask, "model"), flag_member(ask, "stream"), &target, &made,
                        &fault)) {
        put_json(&answer, "ok", TEXT("false"));
        put_plain("param", text_of(fault.param ? fault.param : ""));
        put_plain("message", text_of(fault.text));
        return;
    }
    put_json(&answer, "ok", TEXT("true"));
    put_hex("body", made.body);
    put_plain("path", made.path);
    put_plain("headers", made.headers);
    put_plain("demands", made.demands);
    put_plain("hints", made.hints);
}

/* The next piece's end: by the list of cuts, or so many bytes each time, or all. */
static size_t next_cut(const struct json *ask, size_t at, size_t *cut, size_t length)
{
    const struct json *cuts = json_member(ask, "cuts");
    int64_t each = number_member(ask, "each"), place = 0;
    if (each > 0)
        return at + (size_t)each < length ? at + (size_t)each : length;
    while (*cut < json_count(cuts)) {
        json_to_int(json_item(cuts, (*cut)++), 0, INT64_MAX, &place);
        if ((size_t)place > at && (size_t)place < length)
            return (size_t)place;
    }
    return length;
}

static void put_usage(const struct answer *seen)
{
    put_open(&answer, "usage", '{');
    put_number(&answer, "input", seen->usage.input_tokens);
    put_number(&answer, "cached", seen->usage.cached_tokens);
    put_number(&answer, "cache_write", seen->usage.cache_write_tokens);
    put_number(&answer, "output", seen->usage.output_tokens);
    put_number(&answer, "reasoning", seen->usage.reasoning_tokens);
    put_literal(&answer, "}");
}

static void put_answer(const struct translation *t, enum translation_state state,
                       const struct answer *seen, struct buffer *out, size_t end_at)
{
    static const char *const states[] = {"goes", "ended", "failed"};
    put_plain("state", text_of(states[state]));
    put_hex("out", buffer_text(out));
    put_number(&answer, "end_at", (int64_t)end_at);
    put_usage(seen);
    put_plain("finish", text_of(seen->finish));
    put_said(&answer, "usage_seen", seen->usage_seen ? SAID_YES : SAID_NO);
    if (state == TRANSLATION_FAILED) {
        put_plain("fault", text_of(fault_rule(translation_fault(t)->kind)->name));
        put_plain("message", text_of(translation_fault(t)->text));
    }
}

static void answer_one(const struct json *ask)
{
    struct text body = bytes_member(ask, "body");
    struct answer_way way = {
        .from = named(ask, "from"),
        .to = named(ask, "to"),
        .id = TEXT("0123456789abcdef"),
        .model = text_member(ask, "model"),
        .now_s = 1700000000,
        .stream_in = flag_member(ask, "stream_in"),
        .stream_out = flag_member(ask, "stream_out"),
        .wants_usage = flag_member(ask, "wants_usage"),
        .call = bytes_member(ask, "request"),
    };
    struct answer seen = {.operation = translator_operation(way.from)};
    struct translation *t = translation_new(&way, &seen);
    struct buffer out;
    buffer_init(&out, LINE_LIMIT);
    enum translation_state state = TRANSLATION_GOES;
    size_t at = 0, cut = 0, end_at = 0;
    while (at < body.len && state == TRANSLATION_GOES) {
        size_t to = next_cut(ask, at, &cut, body.len);
        /* A copy of just these bytes: what is read behind them is found by the sanitizers. */
        char *piece = memory_new(to - at);
        memcpy(piece, body.at + at, to - at);
        state = translation_feed(t, (struct text){piece, to - at}, &out);
        memory_free(piece);
        at = to;
    }
    if (state == TRANSLATION_GOES)
        state = translation_close(t, &out);
    end_at = translation_end_at(t);
    put_answer(t, state, &seen, &out, end_at);
    buffer_done(&out);
    translation_free(t);
}

static void error_one(const struct json *ask)
{
    struct provider_error error = {.kind = FAULT_NONE};
    named(ask, "from")
        ->read_error((unsigned)number_member(ask, "status"), bytes_member(ask, "body"), &error);
    put_plain("fault", text_of(fault_rule(error.kind)->name));
    put_plain("message", text_of(error.message));
}

static void do_line(struct text line)
{
    struct json_problem problem;
    struct json *ask = json_read(line, &problem);
    if (!ask) {
        fprintf(stderr, "%zu:%zu: %s\n", problem.line, problem.column, problem.what);
        exit(2);
    }
    struct text op = text_member(ask, "op");
    put_literal(&answer, "{");
    if (text_equal(op, TEXT("list")))
        list();
    else if (text_equal(op, TEXT("call")))
        call(ask);
    else if (text_equal(op, TEXT("answer")))
        answer_one(ask);
    else if (text_equal(op, TEXT("error")))
        error_one(ask);
    put_literal(&answer, "}\n");
    fwrite(answer.data + answer.begin, 1, buffer_length(&answer), stdout);
    fflush(stdout);
    buffer_clear(&answer);
    json_free(ask);
    arena_reset(&arena);
}

int main(void)
{
    char *line = NULL;
    size_t room = 0;
    ssize_t length;
    arena_init(&arena, 65536);
    buffer_init(&answer, LINE_LIMIT);
    while ((length = getline(&line, &room, stdin)) > 0)
        do_line((struct text){line, (size_t)length});
    free(line);
    arena_done(&arena);
    buffer_done(&answer);
    return 0;
}
