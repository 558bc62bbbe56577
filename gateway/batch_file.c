/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/batch_file.h"

#include <stdio.h>

#include "gateway/base/buffer.h"
#include "gateway/base/scan.h"
#include "gateway/config/config.h"
#include "gateway/http/head.h"
#include "gateway/lengths.h"
#include "gateway/references.h"
#include "policy/estimate.h"

enum { CHOICES_MAX = 128, TOKENS_MAX = 1000000000, NUMBERS = 8 };
static const int64_t SUM_MAX = INT64_C(1000000000000000); /* of 16 digits, so that it fits */

struct batch_reader {
    const struct config *config;
    struct estimates *estimates;
    uint64_t key;
    struct buffer line; /* the begin of a line that is not whole yet */
    uint64_t lines;
    enum operation operation;
    struct batch_facts facts;
};

/* ------------------------------------------------------------------------------- words */

static const struct {
    struct text url;
    enum operation operation;
} operations[] = {
    {TEXT("/v1/chat/completions"), OPERATION_CHAT},
    {TEXT("/v1/completions"), OPERATION_COMPLETION},
    {TEXT("/v1/responses"), OPERATION_RESPONSE},
    {TEXT("/v1/embeddings"), OPERATION_EMBEDDING},
    {TEXT("/v1/moderations"), OPERATION_MODERATION},
    {TEXT("/v1/images/generations"), OPERATION_IMAGE},
};

bool batch_operation(struct text url, enum operation *operation)
{
    for (size_t i = 0; i < sizeof(operations) / sizeof(operations[0]); i++)
        if (text_equal(operations[i].url, url)) {
            *operation = operations[i].operation;
            return true;
        }
    return false;
}

static bool writes_text(enum operation operation)
{
    return operation == OPERATION_CHAT || operation == OPERATION_COMPLETION ||
           operation == OPERATION_RESPONSE;
}

/* From here on nothing is read. */
static bool problem(struct batch_reader *reader, const char *words)
{
    reader->facts.count = 0;
    snprintf(reader->facts.problem, sizeof(reader->facts.problem), "line %llu %s",
             (unsigned long long)reader->lines, words);
    return false;
}

static void add(int64_t *sum, int64_t more)
{
    *sum = more > SUM_MAX - *sum ? SUM_MAX : *sum + more;
}

/* ------------------------------------------------------------------------------- a line */

enum want {
    WANT_MODEL,
    WANT_MAX_TOKENS,
    WANT_MAX_COMPLETION_TOKENS,
    WANT_MAX_OUTPUT_TOKENS,
    WANT_N,
    WANT_BEST_OF,
    WANT_PROMPT,
    WANT_PREVIOUS,
    WANTS
};

static const struct text wants[WANTS] = {
    [WANT_MODEL] = TEXT("model"),
    [WANT_MAX_TOKENS] = TEXT("max_tokens"),
    [WANT_MAX_COMPLETION_TOKENS] = TEXT("max_completion_tokens"),
    [WANT_MAX_OUTPUT_TOKENS] = TEXT("max_output_tokens"),
    [WANT_N] = TEXT("n"),
    [WANT_BEST_OF] = TEXT("best_of"),
    [WANT_PROMPT] = TEXT("prompt"),
    [WANT_PREVIOUS] = TEXT("previous_response_id"),
};

/* A whole number, <otherwise> when it is not given; false when it is something else. */
static bool read_number(const struct scan_value *value, uint64_t max, int64_t otherwise,
                        int64_t *number)
{
    uint64_t count;
    *number = otherwise;
    if (value->kind == SCAN_ABSENT || value->kind == SCAN_NULL)
        return true;
    if (value->kind != SCAN_NUMBER || !scan_count(value, max, &count))
        return false;
    *number = (int64_t)count;
    return true;
}

static bool read_length(struct batch_reader *reader, const struct scan_value *values,
                        int64_t *length)
{
    *length = 0;
    for (int i = WANT_MAX_TOKENS; i <= WANT_MAX_OUTPUT_TOKENS; i++) {
        int64_t one;
        if (!lengths_says(reader->operation, (enum length_name)(i - WANT_MAX_TOKENS)))
            continue;
        if (!read_number(&values[i], TOKENS_MAX, 0, &one))
            return problem(reader, "has a length that is no number of tokens");
        *length = one > *length ? one : *length;
    }
    return true;
}

static bool read_choices(struct batch_reader *reader, const struct scan_value *values,
                         int64_t *choices)
{
    int64_t best_of;
    if (!read_number(&values[WANT_N], CHOICES_MAX, 1, choices) ||
        !read_number(&values[WANT_BEST_OF], CHOICES_MAX, 1, &best_of) || *choices < 1)
        return problem(reader, "has a number of answers that cannot be read");
    if (reader->operation == OPERATION_COMPLETION) {
        *choices = best_of > *choices ? best_of : *choices;
        *choices *= lengths_prompts(&values[WANT_PROMPT]);
    }
    return true;
}

/* The sums of the model that a line names. */
static struct batch_model *find_model(struct batch_reader *reader, const struct scan_value *value)
{
    char name[6 * BATCH_NAME_MAX + 2];
    struct batch_facts *facts = &reader->facts;
    size_t len = value->kind == SCAN_STRING && value->raw.len <= sizeof(name)
                     ? scan_string(value, name)
                     : SIZE_MAX;
    if (len == SIZE_MAX || len == 0 || len > BATCH_NAME_MAX ||
        !head_may_write((struct text){name, len}))
        problem(reader, "names no model, or one whose name cannot be read");
    for (size_t i = 0; i < facts->count; i++)
        if (text_equal(text_of(facts->models[i].name), (struct text){name, len}))
            return &facts->models[i];
    if (facts->problem[0])
        return NULL;
    if (facts->count == BATCH_PARTS_MAX) {
        problem(reader, "names one model more than a batch may have");
        return NULL;
    }
    struct batch_model *model = &facts->models[facts->count++];
    memcpy(model->name, name, len);
    return model;
}

/* Under which name calls of it are learnt from. */
static struct text learnt_as(const struct config *config, const char *name)
{
    for (size_t i = 0; config && i < config->model_count; i++)
        for (size_t t = 0; t < config->models[i].target_count; t++)
            if (text_equal(config->models[i].targets[t].model, text_of(name)))
                return config->models[i].name;
    return text_of(name);
}

static void count_call(struct batch_reader *reader, struct batch_model *model, struct text body,
                       int64_t length, int64_t choices)
{
    struct estimate_facts facts = {.model = learnt_as(reader->config, model->name),
                                   .key = reader->key,
                                   .body_bytes = (int64_t)body.len,
                                   .max_tokens = length,
                                   .choices = choices};
    struct estimate estimate;
    estimate_look(body, NULL, &facts);
    add(&model->contexts, facts.refers + facts.rounds);
    facts.refers = false;
    facts.rounds = 0;
    estimate_make(reader->estimates, &facts, &estimate);
    add(&model->calls, 1);
    add(&model->input_tokens, estimate.input_bound);
    add(&model->input_likely, estimate.input_likely);
    for (int64_t i = 0; i < choices && facts.searches; i++)
        add(&model->searches, facts.searches);
    if (reader->operation == OPERATION_IMAGE) {
        add(&model->units, choices);
        add(&model->output_tokens, choices * ESTIMATE_PICTURE_TOKENS);
    } else if (writes_text(reader->operation) && length > 0) {
        add(&model->output_tokens, estimate.output_bound);
    } else if (writes_text(reader->operation)) {
        add(&model->open_answers, choices);
    }
    if (writes_text(reader->operation))
        add(&model->output_likely, estimate.output_likely);
}

static bool read_url(struct batch_reader *reader, const struct scan_value *value)
{
    char url[BATCH_URL_BYTES];
    size_t len = value->kind == SCAN_STRING && value->raw.len <= sizeof(url)
                     ? scan_string(value, url)
                     : SIZE_MAX;
    struct text asked = {url, len == SIZE_MAX ? 0 : len};
    if (!reader->facts.url[0] && batch_operation(asked, &reader->operation))
        memcpy(reader->facts.url, asked.at, asked.len);
    return (asked.len && text_equal(text_of(reader->facts.url), asked)) ||
           problem(reader, "has a url that no batch can have, or another than the first line");
}

static bool read_body(struct batch_reader *reader, struct text body)
{
    struct scan_value values[WANTS];
    struct scan_problem why;
    int64_t length, choices;
    if (!scan_request(body, wants, WANTS, values, &why, NULL))
        return problem(reader, "has a body that cannot be read, or a name twice");
    struct batch_model *model = find_model(reader, &values[WANT_MODEL]);
    if (!model || !read_length(reader, values, &length) || !read_choices(reader, values, &choices))
        return false;
    bool refers = values[WANT_PREVIOUS].kind == SCAN_STRING || references_any(body);
    reader->facts.names_objects = reader->facts.names_objects || refers;
    count_call(reader, model, body, length, choices);
    return true;
}

static bool is_blank(struct text line)
{
    for (size_t i = 0; i < line.len; i++)
        if (line.at[i] != ' ' && line.at[i] != '\t' && line.at[i] != '\r')
            return false;
    return true;
}

static bool read_line(struct batch_reader *reader, struct text line)
{
    static const struct text members[] = {TEXT("url"), TEXT("body")};
    struct scan_value values[2];
    struct scan_problem why;
    reader->lines++;
    if (is_blank(line))
        return true;
    if (!scan_request(line, members, 2, values, &why, NULL) || values[1].kind != SCAN_OBJECT)
        return problem(reader, "is no JSON object with a body");
    return read_url(reader, &values[0]) && read_body(reader, values[1].raw);
}

/* ------------------------------------------------------------------------------ the file */

struct batch_reader *batch_reader_new(const struct config *config, struct estimates *estimates,
                                      uint64_t key)
{
    struct batch_reader *reader = memory_new(sizeof(*reader));
    *reader = (struct batch_reader){.config = config, .estimates = estimates, .key = key};
    buffer_init(&reader->line, BATCH_LINE_MAX);
    return reader;
}

void batch_reader_free(struct batch_reader *reader)
{
    if (!reader)
        return;
    buffer_done(&reader->line);
    memory_free(reader);
}

static void too_long(struct batch_reader *reader)
{
    reader->lines++;
    problem(reader, "is too long");
    buffer_done(&reader->line);
}

void batch_reader_feed(struct batch_reader *reader, struct text piece)
{
    while (piece.len && !reader->facts.problem[0]) {
        size_t end = text_find_byte(piece, '\n');
        struct text line = text_head(piece, end);
        piece = text_from(piece, line.len + 1);
        if (buffer_length(&reader->line) || end == SIZE_MAX) {
            if (!buffer_append_text(&reader->line, line)) {
                too_long(reader);
                return;
            }
            if (end == SIZE_MAX)
                return;
            line = buffer_text(&reader->line);
        }
        if (line.len > BATCH_LINE_MAX)
            too_long(reader);
        else
            read_line(reader, line);
        buffer_clear(&reader->line);
    }
}

const struct batch_facts *batch_reader_end(struct batch_reader *reader)
{
    if (!reader->facts.problem[0] && buffer_length(&reader->line))
        read_line(reader, buffer_text(&reader->line));
    buffer_done(&reader->line);
    if (!reader->facts.count && !reader->facts.problem[0])
        snprintf(reader->facts.problem, sizeof(reader->facts.problem), "there is no call in it");
    return &reader->facts;
}

/* ---------------------------------------------------------------------------- as a text */

static const char names_mark[] = " *";
static const char searches_mark[] = "?";

/* The url, marked when objects are named, then for each model its figures and its name; or "!" and
 * the problem. Searches stand, marked, in front of the others, and only where there may be any: a
 * version that does not know of them takes such a file for one that it cannot understand. */
struct text batch_facts_write(const struct batch_facts *facts, char *out)
{
    struct buffer text;
    buffer_init(&text, OBJECT_FACTS_BYTES);
    if (!facts->count)
        buffer_format(&text, "!%s", facts->problem);
    else
        buffer_format(&text, "%s%s\n", facts->url, facts->names_objects ? names_mark : "");
    for (size_t i = 0; i < facts->count; i++) {
        const struct batch_model *m = &facts->models[i];
        if (m->searches)
            buffer_format(&text, "%s%lld ", searches_mark, (long long)m->searches);
        buffer_format(&text, "%lld %lld %lld %lld %lld %lld %lld %lld %s\n", (long long)m->calls,
                      (long long)m->input_tokens, (long long)m->contexts,
                      (long long)m->output_tokens, (long long)m->open_answers, (long long)m->units,
                      (long long)m->input_likely, (long long)m->output_likely, m->name);
    }
    struct text made = buffer_text(&text);
    memcpy(out, made.at, made.len);
    out[made.len] = '\0';
    buffer_done(&text);
    return (struct text){out, made.len};
}

/* The number that <line> begins with, and a space behind it. */
static bool read_figure(struct text *line, int64_t *figure)
{
    size_t space = text_find_byte(*line, ' ');
    uint64_t number;
    if (space == SIZE_MAX || !text_number(text_head(*line, space), (uint64_t)SUM_MAX, &number))
        return false;
    *figure = (int64_t)number;
    *line = text_from(*line, space + 1);
    return true;
}

static bool read_model(struct text line, struct batch_model *model)
{
    int64_t *numbers[NUMBERS] = {&model->calls,         &model->input_tokens, &model->contexts,
                                 &model->output_tokens, &model->open_answers, &model->units,
                                 &model->input_likely,  &model->output_likely};
    if (text_starts(line, text_of(searches_mark))) {
        line = text_from(line, sizeof(searches_mark) - 1);
        if (!read_figure(&line, &model->searches))
            return false;
    }
    for (int i = 0; i < NUMBERS; i++)
        if (!read_figure(&line, numbers[i]))
            return false;
    if (line.len == 0 || line.len > BATCH_NAME_MAX)
        return false;
    memcpy(model->name, line.at, line.len);
    return true;
}

void batch_facts_read(struct text text, struct batch_facts *facts)
{
    *facts = (struct batch_facts){.count = 0};
    if (text.len && text.at[0] == '!') {
        snprintf(facts->problem, sizeof(facts->problem), "%.*s", (int)text.len - 1, text.at + 1);
        if (facts->problem[0])
            return;
    }
    size_t end = text_find_byte(text, '\n');
    struct text url = text_head(text, end);
    facts->names_objects = text_ends(url, text_of(names_mark));
    url = text_head(url, url.len - (facts->names_objects ? sizeof(names_mark) - 1 : 0));
    bool good = end != SIZE_MAX && url.len > 0 && url.len < BATCH_URL_BYTES;
    if (good)
        memcpy(facts->url, url.at, url.len);
    for (text = text_from(text, good ? end + 1 : text.len); good && text.len;) {
        end = text_find_byte(text, '\n');
        good = end != SIZE_MAX && facts->count < BATCH_PARTS_MAX &&
               read_model(text_head(text, end), &facts->models[facts->count++]);
        text = text_from(text, good ? end + 1 : text.len);
    }
    if (good && facts->count)
        return;
    *facts = (struct batch_facts){.count = 0};
    snprintf(facts->problem, sizeof(facts->problem),
             "it was not uploaded as a file with the purpose 'batch'");
}
