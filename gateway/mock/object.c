/* SPDX-License-Identifier: Apache-2.0 */

/* Files, batches and stored responses. A batch takes a second; what it answers is made when it is
 * first looked at afterwards. */

#include <stdio.h>

#include "gateway/base/memory.h"
#include "gateway/http/multipart.h"
#include "gateway/mock/inside.h"

enum {
    OBJECTS_MAX = 4096,
    KEPT_BYTES = 1024 * 1024, /* of one object */
    LISTED_MAX = 100,
    BATCH_LINES_MAX = 10000,
    BATCH_TOKENS = 3, /* of each answer */
    OUTPUT_BYTES = 8 * 1024 * 1024,
};

static const uint64_t VALIDATING_US = 200000, WORKING_US = 1000000;
static const size_t KEPT_MAX = (size_t)64 * 1024 * 1024; /* of all objects */

enum object_kind { OBJECT_FREE, OBJECT_FILE, OBJECT_BATCH, OBJECT_RESPONSE };

struct object {
    enum object_kind kind;
    char id[48];
    char *body;
    size_t body_len;
    uint64_t bytes, made_us; /* as uploaded; on the loop's clock */
    int64_t created;
    char name[80], purpose[40];
    /* of a batch */
    char input[48], output[48], endpoint[48], model[136];
    bool cancelled, settled;
    int64_t lines, input_tokens;
};

/* ----------------------------------------------------------------------------- keeping them */

static void forget(struct object *object)
{
    memory_free(object->body);
    *object = (struct object){.kind = OBJECT_FREE};
}

void objects_free(struct mock *mock)
{
    for (size_t i = 0; i < mock->object_count; i++)
        forget(&mock->objects[i]);
    memory_free(mock->objects);
}

static size_t kept_bytes(const struct mock *mock)
{
    size_t sum = 0;
    for (size_t i = 0; i < mock->object_count; i++)
        sum += mock->objects[i].body_len;
    return sum;
}

/* A new object; the oldest makes room for it. */
static struct object *object_new(struct caller *caller, enum object_kind kind, const char *prefix)
{
    struct mock *mock = caller->mock;
    if (mock->objects == NULL)
        mock->objects = memory_new(OBJECTS_MAX * sizeof(mock->objects[0]));
    struct object *object = &mock->objects[mock->object_next];
    mock->object_next = (mock->object_next + 1) % OBJECTS_MAX;
    if (mock->object_count < OBJECTS_MAX)
        mock->object_count++;
    forget(object);
    object->kind = kind;
    object->created = caller->plan.created;
    object->made_us = loop_now_us(mock->loop);
    if (prefix != NULL)
        mock_id(mock, prefix, object->id);
    return object;
}

static void keep_body(struct mock *mock, struct object *object, struct text body)
{
    object->bytes = body.len;
    if (body.len > OUTPUT_BYTES || kept_bytes(mock) + body.len > KEPT_MAX)
        return;
    object->body = memory_string(body);
    object->body_len = body.len;
}

static struct object *object_find(struct mock *mock, struct text id)
{
    for (size_t i = 0; i < mock->object_count; i++)
        if (mock->objects[i].kind != OBJECT_FREE && text_equal(text_of(mock->objects[i].id), id))
            return &mock->objects[i];
    return NULL;
}

void object_keep_response(struct caller *caller, const char *id, struct text body)
{
    if (body.len > KEPT_BYTES)
        return;
    struct object *object = object_new(caller, OBJECT_RESPONSE, NULL);
    snprintf(object->id, sizeof(object->id), "%s", id);
    keep_body(caller->mock, object, body);
}

/* The segment behind "/files/", "/batches/" or "/responses/". */
struct text object_path_id(const struct caller *caller)
{
    struct text path = text_of(caller->request.path), segment;
    if (text_starts(path, TEXT("/v1/")))
        path = text_from(path, 3);
    path = text_from(path, 1);
    text_next(&path, '/', &segment);
    text_next(&path, '/', &segment);
    return segment;
}

/* The object that the path names, of the kind that the path is for; else 404. */
static struct object *object_asked(struct caller *caller)
{
    struct object *object = object_find(caller->mock, object_path_id(caller));
    const char *path = caller->request.path;
    enum object_kind kind = strstr(path, "/files") != NULL     ? OBJECT_FILE
                            : strstr(path, "/batches") != NULL ? OBJECT_BATCH
                                                               : OBJECT_RESPONSE;
    if (object != NULL && object->kind == kind)
        return object;
    refuse(caller, 404, NULL, "id", "No such object");
    return NULL;
}

/* ---------------------------------------------------------------------------------- batches */

static struct text line_of(struct text *rest)
{
    struct text line = text_head(*rest, text_find_byte(*rest, '\n'));
    *rest = text_from(*rest, line.len + 1);
    return line;
}

static void put_batch_line(struct caller *caller, struct object *batch, struct text line,
                           struct buffer *out)
{
    struct text asked_body = member_find(line, TEXT("body")), id = member_words(line, "custom_id");
    static const char *const prompts[] = {"messages", "input", "prompt"};
    int64_t tokens = 0;
    char answer_id[48];
    for (size_t i = 0; i < sizeof(prompts) / sizeof(prompts[0]); i++)
        tokens += prose_count_json(member_find(asked_body, text_of(prompts[i])));
    mock_id(caller->mock, "chatcmpl-", answer_id);
    struct text model = member_words(asked_body, "model");
    if (model.len == 0 || model.len >= sizeof(batch->model) || !head_may_write(model))
        model = TEXT("unknown");
    if (batch->lines == 0)
        snprintf(batch->model, sizeof(batch->model), "%.*s", TEXT_ARGS(model));
    put_format(out, "{\"id\":\"batch_req_%s\",\"custom_id\":\"", answer_id + 9);
    put(out, id.len <= 256 && head_may_write(id) ? id : TEXT(""));
    put_format(out,
               "\",\"response\":{\"status_code\":200,\"request_id\":\"%s\",\"body\":{\"id\":\"%s\","
               "\"object\":\"chat.completion\",\"created\":%lld,\"model\":\"%.*s\",\"choices\":["
               "{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"Made up.\"},"
               "\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":%lld,"
               "\"completion_tokens\":%d,\"total_tokens\":%lld}}},\"error\":null}\n",
               answer_id, answer_id, (long long)batch->created, TEXT_ARGS(model), (long long)tokens,
               BATCH_TOKENS, (long long)tokens + BATCH_TOKENS);
    batch->lines++;
    batch->input_tokens += tokens;
}

/* The provider's own count of a batch is one row. */
static void count_batch(struct caller *caller, const struct object *batch)
{
    struct tally tally = {.prompt_tokens = batch->input_tokens,
                          .completion_tokens = batch->lines * BATCH_TOKENS};
    memcpy(tally.id, batch->id, sizeof(tally.id));
    memcpy(tally.model, batch->model, sizeof(tally.model));
    counters_begin(caller->mock->counters, &tally);
    counters_end(caller->mock->counters, &tally);
}

/* Its time is over: make what it answers. */
static void settle_batch(struct caller *caller, struct object *batch)
{
    struct mock *mock = caller->mock;
    if (batch->settled || batch->cancelled || loop_now_us(mock->loop) < batch->made_us + WORKING_US)
        return;
    batch->settled = true;
    struct object *input = object_find(mock, text_of(batch->input));
    struct text rest = {input != NULL ? input->body : NULL, input != NULL ? input->body_len : 0};
    struct buffer out;
    buffer_init(&out, OUTPUT_BYTES);
    while (rest.len > 0 && batch->lines < BATCH_LINES_MAX &&
           buffer_length(&out) < OUTPUT_BYTES - 4096) {
        struct text line = line_of(&rest);
        if (line.len > 2)
            put_batch_line(caller, batch, line, &out);
    }
    struct object *output = object_new(caller, OBJECT_FILE, "file-");
    snprintf(output->name, sizeof(output->name), "output.jsonl");
    snprintf(output->purpose, sizeof(output->purpose), "batch_output");
    keep_body(mock, output, buffer_text(&out));
    buffer_done(&out);
    if (batch->kind == OBJECT_BATCH) /* it was not the oldest */
        memcpy(batch->output, output->id, sizeof(batch->output));
    count_batch(caller, batch);
}

static const char *batch_status(const struct caller *caller, const struct object *batch)
{
    uint64_t age = loop_now_us(caller->mock->loop) - batch->made_us;
    if (batch->cancelled)
        return "cancelled";
    if (batch->settled)
        return "completed";
    return age < VALIDATING_US ? "validating" : "in_progress";
}

static void put_batch(struct caller *caller, const struct object *batch, struct buffer *out)
{
    long long output = (long long)batch->lines * BATCH_TOKENS, lines = (long long)batch->lines;
    put_format(out,
               "{\"id\":\"%s\",\"object\":\"batch\",\"endpoint\":\"%s\",\"errors\":null,"
               "\"input_file_id\":\"%s\",\"completion_window\":\"24h\",\"status\":\"%s\","
               "\"output_file_id\":%s%s%s,\"error_file_id\":null,\"created_at\":%lld,",
               batch->id, batch->endpoint, batch->input, batch_status(caller, batch),
               batch->settled ? "\"" : "", batch->settled ? batch->output : "null",
               batch->settled ? "\"" : "", (long long)batch->created);
    put_format(out,
               "\"request_counts\":{\"total\":%lld,\"completed\":%lld,\"failed\":0},\"usage\":{"
               "\"input_tokens\":%lld,\"input_tokens_details\":{\"cached_tokens\":0},"
               "\"output_tokens\":%lld,\"output_tokens_details\":{\"reasoning_tokens\":0},"
               "\"total_tokens\":%lld},\"metadata\":null}",
               lines, lines, (long long)batch->input_tokens, output,
               (long long)batch->input_tokens + output);
}

void answer_batch(struct caller *caller)
{
    struct text body = asked(caller);
    struct text input = member_words(body, "input_file_id"), end = member_words(body, "endpoint");
    struct object *file = object_find(caller->mock, input);
    if (file == NULL || file->kind != OBJECT_FILE) {
        refuse(caller, 400, NULL, "input_file_id", "There is no such input file");
        return;
    }
    if (end.len == 0 || end.len >= sizeof(file->endpoint)) {
        refuse(caller, 400, "missing_required_parameter", "endpoint", "Say which endpoint");
        return;
    }
    struct object *batch = object_new(caller, OBJECT_BATCH, "batch_");
    snprintf(batch->input, sizeof(batch->input), "%.*s", TEXT_ARGS(input));
    snprintf(batch->endpoint, sizeof(batch->endpoint), "%.*s", TEXT_ARGS(end));
    put_batch(caller, batch, &caller->plan.text);
    reply(caller, 200, "application/json");
}

static void answer_object_of(struct caller *caller, struct object *object);

/* ------------------------------------------------------------------------------------ files */

/* The part of a form that is the file, and its name. */
static struct text file_part(struct text body, struct text delimiter, struct text *name)
{
    size_t at = text_find(body, TEXT("filename=\""));
    if (at == SIZE_MAX)
        return TEXT("");
    struct text rest = text_from(body, at + sizeof("filename=\"") - 1);
    *name = text_head(rest, text_find_byte(rest, '"'));
    rest = text_from(rest, text_find(rest, TEXT("\r\n\r\n")) + 4);
    return text_head(rest, text_find(rest, delimiter));
}

void answer_upload(struct caller *caller)
{
    static const struct text fields[] = {{"purpose", 7}};
    struct multipart form;
    struct fault why;
    struct text name = TEXT("upload");
    if (!multipart_init(&form, text_of(caller->request.type), fields, 1) ||
        !multipart_feed(&form, asked(caller), &why)) {
        refuse(caller, 400, NULL, NULL, "That is no form with a file in it");
        return;
    }
    struct text content = file_part(asked(caller), text_of(form.boundary), &name);
    if (content.len == 0 || !head_may_write(name) || text_find_byte(name, '\\') != SIZE_MAX) {
        refuse(caller, 400, "missing_required_parameter", "file", "There is no file in the form");
        return;
    }
    struct object *file = object_new(caller, OBJECT_FILE, "file-");
    snprintf(file->name, sizeof(file->name), "%.*s", (int)text_head(name, 79).len, name.at);
    struct text purpose = {form.fields[0].value, form.fields[0].len};
    bool is_plain = purpose.len > 0 && purpose.len < sizeof(file->purpose) &&
                    text_find_byte(purpose, '"') == SIZE_MAX && head_may_write(purpose);
    snprintf(file->purpose, sizeof(file->purpose), "%.*s", (int)(is_plain ? purpose.len : 9),
             is_plain ? purpose.at : "user_data");
    keep_body(caller->mock, file, content);
    if (caller->body_bytes > buffer_length(&caller->body)) /* not all of it was kept */
        file->bytes += caller->body_bytes - buffer_length(&caller->body);
    answer_object_of(caller, file);
}

static void put_file(const struct object *file, struct buffer *out)
{
    put_format(out,
               "{\"id\":\"%s\",\"object\":\"file\",\"bytes\":%llu,\"created_at\":%lld,"
               "\"filename\":\"%s\",\"purpose\":\"%s\",\"status\":\"processed\","
               "\"status_details\":null}",
               file->id, (unsigned long long)file->bytes, (long long)file->created, file->name,
               file->purpose);
}

/* ---------------------------------------------------------------------------------- objects */

static void put_object(struct caller *caller, struct object *object, struct buffer *out)
{
    if (object->kind == OBJECT_BATCH)
        put_batch(caller, object, out);
    else if (object->kind == OBJECT_FILE)
        put_file(object, out);
    else
        put(out, (struct text){object->body, object->body_len});
}

static void answer_object_of(struct caller *caller, struct object *object)
{
    if (object->kind == OBJECT_BATCH)
        settle_batch(caller, object);
    put_object(caller, object, &caller->plan.text);
    reply(caller, 200, "application/json");
}

void answer_object(struct caller *caller)
{
    struct object *object = object_asked(caller);
    if (object != NULL)
        answer_object_of(caller, object);
}

void answer_content(struct caller *caller)
{
    struct object *object = object_asked(caller);
    if (object == NULL)
        return;
    put(&caller->plan.text, (struct text){object->body, object->body_len});
    reply(caller, 200, "application/octet-stream");
}

void answer_object_delete(struct caller *caller)
{
    struct object *object = object_asked(caller);
    if (object == NULL)
        return;
    put_format(&caller->plan.text, "{\"id\":\"%s\",\"object\":\"%s\",\"deleted\":true}", object->id,
               object->kind == OBJECT_FILE ? "file" : "response");
    forget(object);
    reply(caller, 200, "application/json");
}

void answer_cancel(struct caller *caller)
{
    struct object *object = object_asked(caller);
    if (object == NULL)
        return;
    object->cancelled |= object->kind == OBJECT_BATCH && !object->settled;
    answer_object_of(caller, object);
}

void answer_input_items(struct caller *caller)
{
    if (object_asked(caller) == NULL)
        return;
    put(&caller->plan.text, TEXT("{\"object\":\"list\",\"data\":[],\"first_id\":null,"
                                 "\"last_id\":null,\"has_more\":false}"));
    reply(caller, 200, "application/json");
}

/* Files or batches, the newest first. */
void answer_objects(struct caller *caller)
{
    struct mock *mock = caller->mock;
    struct buffer *out = &caller->plan.text;
    bool is_file = strstr(caller->request.path, "/files") != NULL;
    enum object_kind kind = is_file ? OBJECT_FILE : OBJECT_BATCH;
    size_t listed = 0;
    put(out, TEXT("{\"object\":\"list\",\"data\":["));
    for (size_t i = 0; i < mock->object_count && listed < LISTED_MAX; i++) {
        size_t at = (mock->object_next + OBJECTS_MAX - 1 - i) % OBJECTS_MAX;
        struct object *object = &mock->objects[at];
        if (object->kind != kind)
            continue;
        put(out, listed++ > 0 ? TEXT(",") : TEXT(""));
        put_object(caller, object, out);
    }
    put(out, TEXT("],\"has_more\":false}"));
    reply(caller, 200, "application/json");
}
