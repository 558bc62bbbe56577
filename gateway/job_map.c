/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/job_map.h"

#include <stdio.h>

#include "gateway/base/hash.h"
#include "gateway/base/json.h"
#include "gateway/base/member.h"
#include "gateway/base/scan.h"
#include "gateway/http/multipart.h"

enum { NAME_MAX_BYTES = 64, ROOM = 4096 };

static const struct text dashes = {"--", 2}, newline = {"\r\n", 2}, empty_line = {"\r\n\r\n", 4};

/* ------------------------------------------------------------------------------- JSON */

/* Letters, digits, _ - . only: it is written into a call as it is, and must be what it looks like.
 */
static bool is_name(struct text name)
{
    for (size_t i = 0; i < name.len; i++) {
        char c = name.at[i];
        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
              c == '_' || c == '-' || c == '.'))
            return false;
    }
    return name.len > 0 && name.len <= NAME_MAX_BYTES;
}

static struct job_field *add_field(struct job_fields *fields, struct text name, struct fault *fault)
{
    if (!is_name(name) || fields->count == JOB_FIELDS_MAX) {
        fault_set(fault, FAULT_BAD_REQUEST,
                  "The body has too many fields, or one whose name is none.");
        return NULL;
    }
    for (size_t i = 0; i < fields->count; i++)
        if (text_equal(fields->list[i].name, name)) {
            fault_set(fault, FAULT_BAD_REQUEST, "'%.*s' stands twice in the body.",
                      TEXT_ARGS(name));
            return NULL;
        }
    struct job_field *field = &fields->list[fields->count++];
    *field = (struct job_field){.name = name};
    return field;
}

static bool read_json(struct text body, struct job_fields *fields, struct fault *fault)
{
    struct scan_value none;
    struct scan_problem problem;
    struct text rest = body, name, value;
    if (!scan_json(body, NULL, 0, &none, &problem))
        return fault_set(fault, FAULT_BAD_REQUEST, "The body is no JSON object: %s.", problem.what);
    while (member_next(&rest, &name, &value)) {
        struct job_field *field = add_field(fields, name, fault);
        if (!field)
            return false;
        field->json = value;
    }
    return true;
}

/* ------------------------------------------------------------------------------- forms */

/* Those that are texts whatever stands in them. */
static bool is_text(struct text name)
{
    static const char *const texts[] = {"prompt",
                                        "formatted_prompt",
                                        "negprompt",
                                        "style",
                                        "speaker",
                                        "language",
                                        "aspect_ratio",
                                        "init_image_url",
                                        "model",
                                        "file",
                                        "transcription_format"};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        if (text_equal(name, text_of(texts[i])))
            return true;
    return false;
}

static bool is_number(struct text value)
{
    size_t i = 0, digits = 0;
    if (value.len && value.at[0] == '-')
        i++;
    if (i + 1 < value.len && value.at[i] == '0' && value.at[i + 1] != '.')
        return false;
    for (; i < value.len && value.at[i] >= '0' && value.at[i] <= '9'; i++)
        digits++;
    if (!digits || i == value.len)
        return digits > 0;
    if (value.at[i++] != '.')
        return false;
    for (digits = 0; i < value.len && value.at[i] >= '0' && value.at[i] <= '9'; i++)
        digits++;
    return digits > 0 && i == value.len;
}

static struct text quoted(struct arena *arena, struct text value)
{
    struct buffer out;
    buffer_init(&out, value.len * 6 + 3);
    json_write_string(&out, value);
    struct text copy = arena_copy(arena, buffer_text(&out));
    buffer_done(&out);
    return copy;
}

/* The JSON that a form's string stands for; empty = nothing was given. */
static struct text json_of(struct arena *arena, struct text name, struct text value)
{
    static const struct text yes = {"true", 4}, no = {"false", 5};
    bool is_prompt = text_equal(name, TEXT("prompt")) || text_equal(name, TEXT("formatted_prompt"));
    bool is_none = !is_prompt && text_equal(value, TEXT("None")); /* as Python writes it */
    if (is_text(name) && !is_none)
        return quoted(arena, value);
    if (!value.len || text_equal(value, TEXT("None")) || text_equal(value, TEXT("null")))
        return TEXT("");
    if (text_equal_nocase(value, yes))
        return yes;
    if (text_equal_nocase(value, no))
        return no;
    return is_number(value) ? value : quoted(arena, value);
}

/* The value of a parameter such as name="prompt" in the head of a part. */
static bool find_parameter(struct text line, const char *name, struct text *value)
{
    char mark[32];
    snprintf(mark, sizeof(mark), "; %s=\"", name);
    size_t at = text_find(line, text_of(mark));
    if (at == SIZE_MAX) {
        snprintf(mark, sizeof(mark), ";%s=\"", name);
        at = text_find(line, text_of(mark));
    }
    if (at == SIZE_MAX)
        return false;
    struct text rest = text_from(line, at + strlen(mark));
    size_t end = text_find_byte(rest, '"');
    *value = text_head(rest, end);
    return end != SIZE_MAX && text_find_byte(*value, '\\') == SIZE_MAX;
}

struct part {
    struct text name, file_name, type, content;
    bool is_file;
};

static bool read_part_head(struct text head, struct part *part)
{
    bool named = false;
    while (head.len) {
        size_t end = text_find(head, newline);
        struct text line = text_head(head, end);
        head = text_from(head, end == SIZE_MAX ? head.len : end + newline.len);
        if (text_starts_nocase(line, TEXT("content-disposition:"))) {
            if (named || !find_parameter(line, "name", &part->name))
                return false;
            named = true;
            part->is_file = find_parameter(line, "filename", &part->file_name);
        } else if (text_starts_nocase(line, TEXT("content-type:"))) {
            part->type = text_trim(text_from(line, strlen("content-type:")));
        }
    }
    return named;
}

static bool add_part(struct arena *arena, const struct part *part, struct job_fields *fields,
                     struct fault *fault)
{
    if (part->is_file && part->content.len > JOB_FILE_MAX)
        return fault_set(fault, FAULT_TOO_LARGE,
                         "A file in a form may have 8 MiB; upload a larger one (GET /v1/upload).");
    struct text json = part->is_file ? TEXT("") : json_of(arena, part->name, part->content);
    if (!part->is_file && !json.len)
        return true;
    struct job_field *field = add_field(fields, part->name, fault);
    if (!field)
        return false;
    field->json = part->is_file ? (struct text){NULL, 0} : json;
    field->bytes = part->content;
    field->file_name = part->file_name;
    field->type = part->type;
    return true;
}

static bool read_form(struct arena *arena, struct text content_type, struct text body,
                      struct job_fields *fields, struct fault *fault)
{
    struct multipart form;
    static const char broken[] = "The form is broken.";
    if (!multipart_init(&form, content_type, NULL, 0))
        return fault_set(fault, FAULT_BAD_MEDIA,
                         "The Content-Type has no usable multipart boundary.");
    struct text mark = {form.boundary, form.boundary_len}; /* CRLF -- boundary */
    if (!multipart_feed(&form, body, fault))
        return false;
    if (!form.ended)
        return fault_set(fault, FAULT_BAD_REQUEST, broken);
    struct text first = text_from(mark, newline.len);
    size_t at = text_starts(body, first) ? first.len : text_find(body, mark);
    if (at == SIZE_MAX)
        return fault_set(fault, FAULT_BAD_REQUEST, broken);
    struct text rest = text_from(body, at == first.len ? at : at + mark.len);
    while (!text_starts(rest, dashes)) {
        struct part part = {.file_name = TEXT(""), .type = TEXT("")};
        size_t line = text_find(rest, newline), head, end;
        if (line == SIZE_MAX)
            return fault_set(fault, FAULT_BAD_REQUEST, broken);
        rest = text_from(rest, line);
        head = text_find(rest, empty_line);
        if (head == SIZE_MAX)
            return fault_set(fault, FAULT_BAD_REQUEST, broken);
        struct text lines =
            text_head(text_from(rest, newline.len), head < newline.len ? 0 : head - newline.len);
        rest = text_from(rest, head + newline.len); /* what is empty ends at once */
        end = text_find(rest, mark);
        if (end == SIZE_MAX || !read_part_head(lines, &part))
            return fault_set(fault, FAULT_BAD_REQUEST, broken);
        part.content = end < newline.len
                           ? TEXT("")
                           : text_head(text_from(rest, newline.len), end - newline.len);
        if (!add_part(arena, &part, fields, fault))
            return false;
        rest = text_from(rest, end + mark.len);
    }
    return true;
}

bool job_fields_read(struct arena *arena, struct text content_type, struct text body,
                     struct job_fields *fields, struct fault *fault)
{
    fields->count = 0;
    struct text type = text_trim(text_head(content_type, text_find_byte(content_type, ';')));
    if (text_equal_nocase(type, TEXT("multipart/form-data")))
        return read_form(arena, content_type, body, fields, fault);
    return read_json(body, fields, fault);
}

const struct job_field *job_fields_find(const struct job_fields *fields, const char *name)
{
    for (size_t i = 0; i < fields->count; i++)
        if (text_equal(fields->list[i].name, text_of(name)))
            return &fields->list[i];
    return NULL;
}

/* ------------------------------------------------------------------------- what is asked */

enum job_kind job_kind_of_name(struct text model, bool *edits)
{
    static const struct {
        const char *name;
        enum job_kind kind;
        bool edits;
    } names[] = {
        {"txt2img", JOB_IMAGE, false},
        {"sdxl-base", JOB_IMAGE, false},
        {"img2img", JOB_IMAGE, true},
        {"pix2pix", JOB_IMAGE, true},
        {"photo-maker", JOB_IMAGE, true},
        {"sunoai-bark", JOB_SPEECH, false},
        {"whisper", JOB_TRANSCRIPT, false},
        {"speech2text", JOB_TRANSCRIPT, false},
        {"speech2text-v2", JOB_TRANSCRIPT, false},
    };
    *edits = false;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (text_equal(model, text_of(names[i].name))) {
            *edits = names[i].edits;
            return names[i].kind;
        }
    return JOB_TEXT;
}

struct mapping {
    struct arena *arena;
    struct text model;
    const struct job_fields *fields;
    const struct job_reader *reader;
    struct buffer out;
    struct fault *fault;
};

static bool lacks(struct mapping *m, const char *name, const char *words)
{
    fault_set(m->fault, FAULT_BAD_REQUEST, "'%s' %s.", name, words);
    m->fault->param = name;
    return false;
}

/* The string <name>, with its quotes; empty when it is not there. */
static bool find_string(struct mapping *m, const char *name, bool needed, struct text *value)
{
    const struct job_field *field = job_fields_find(m->fields, name);
    *value = TEXT("");
    bool given = field && field->json.at && !text_equal(field->json, TEXT("null"));
    if (!given)
        return !needed || lacks(m, name, "is missing");
    if (!member_string(field->json).at)
        return lacks(m, name, "has to be a string");
    *value = field->json;
    return true;
}

static bool map_text(struct mapping *m, struct job_spec *spec)
{
    struct buffer *out = &m->out;
    if (!job_fields_find(m->fields, "prompt") && !job_fields_find(m->fields, "messages") &&
        !job_fields_find(m->fields, "formatted_prompt"))
        return lacks(m, "prompt", "is missing");
    buffer_append_text(out, TEXT("{\"model\":"));
    json_write_string(out, m->model);
    for (size_t i = 0; i < m->fields->count; i++) {
        const struct job_field *field = &m->fields->list[i];
        if (!field->json.at)
            return lacks(m, "file", "is not for this model");
        if (text_equal(field->name, TEXT("model")))
            continue;
        buffer_append_text(out, TEXT(","));
        buffer_append_text(out, TEXT("\""));
        buffer_append_text(out, field->name);
        buffer_append_text(out, TEXT("\":"));
        buffer_append_text(out, field->json);
    }
    buffer_append_text(out, TEXT("}"));
    spec->path = TEXT("/v1/generate");
    spec->content_type = TEXT("application/json");
    return true;
}

/* "square" and so on, as most models of pictures have it. */
static struct text size_of(struct mapping *m)
{
    struct text ratio = {"", 0};
    find_string(m, "aspect_ratio", false, &ratio);
    if (text_equal(ratio, TEXT("\"landscape\"")))
        return TEXT("1536x1024");
    if (text_equal(ratio, TEXT("\"portrait\"")))
        return TEXT("1024x1536");
    return TEXT("1024x1024");
}

static bool find_samples(struct mapping *m, int64_t *samples)
{
    const struct job_field *field = job_fields_find(m->fields, "samples");
    *samples = 1;
    if (!field || !field->json.at)
        return true;
    return (member_count(field->json, 10, samples) && *samples > 0) ||
           lacks(m, "samples", "has to be a number from 1 to 10");
}

static bool map_image(struct mapping *m, struct job_spec *spec)
{
    struct text prompt;
    int64_t samples;
    if (!find_string(m, "prompt", true, &prompt) || !find_samples(m, &samples))
        return false;
    buffer_append_text(&m->out, TEXT("{\"model\":"));
    json_write_string(&m->out, m->model);
    buffer_append_text(&m->out, TEXT(",\"prompt\":"));
    buffer_append_text(&m->out, prompt);
    buffer_format(&m->out, ",\"n\":%lld,\"size\":\"%.*s\"}", (long long)samples,
                  TEXT_ARGS(size_of(m)));
    spec->path = TEXT("/v1/images/generations");
    spec->content_type = TEXT("application/json");
    return true;
}

static bool map_speech(struct mapping *m, struct job_spec *spec)
{
    struct text prompt, speaker;
    if (!find_string(m, "prompt", true, &prompt) || !find_string(m, "speaker", false, &speaker))
        return false;
    buffer_append_text(&m->out, TEXT("{\"model\":"));
    json_write_string(&m->out, m->model);
    buffer_append_text(&m->out, TEXT(",\"input\":"));
    buffer_append_text(&m->out, prompt);
    buffer_append_text(&m->out, TEXT(",\"voice\":"));
    buffer_append_text(&m->out, speaker.len > 2 ? speaker : TEXT("\"alloy\""));
    buffer_append_text(&m->out, TEXT("}"));
    spec->path = TEXT("/v1/audio/speech");
    spec->content_type = TEXT("application/json");
    return true;
}

/* --------------------------------------------------------------------------- calls with a file */

static const char form_boundary[] = "sluice-6f1d0b54e2c84b2d9a77";

static void put_form_text(struct mapping *m, const char *name, struct text value)
{
    buffer_format(&m->out, "--%s\r\nContent-Disposition: form-data; name=\"%s\"\r\n\r\n",
                  form_boundary, name);
    buffer_append_text(&m->out, value);
    buffer_append_text(&m->out, newline);
}

/* A string of JSON, unescaped. */
static struct text plain(struct mapping *m, struct text json)
{
    struct scan_value value = {.kind = SCAN_STRING, .raw = json};
    if (json.len < 2)
        return TEXT("");
    char *room = arena_take(m->arena, json.len);
    size_t len = scan_string(&value, room);
    return len == SIZE_MAX ? TEXT("") : (struct text){room, len};
}

/* A name and a type that may be written into the head of a part. */
static struct text word_or(struct text word, struct text otherwise)
{
    bool good = word.len > 0 && word.len <= 120;
    for (size_t i = 0; good && i < word.len; i++)
        good = (word.at[i] >= 'a' && word.at[i] <= 'z') ||
               (word.at[i] >= 'A' && word.at[i] <= 'Z') ||
               (word.at[i] >= '0' && word.at[i] <= '9') || memchr("._-/+", word.at[i], 5);
    return good ? word : otherwise;
}

static void put_form_file(struct mapping *m, const char *name, const struct job_field *file)
{
    buffer_format(&m->out,
                  "--%s\r\nContent-Disposition: form-data; name=\"%s\"; filename=\"%.*s\"\r\n"
                  "Content-Type: %.*s\r\n\r\n",
                  form_boundary, name, TEXT_ARGS(word_or(file->file_name, TEXT("file"))),
                  TEXT_ARGS(word_or(file->type, TEXT("application/octet-stream"))));
    buffer_append_text(&m->out, file->bytes);
    buffer_append_text(&m->out, newline);
}

/* The file <name>: in the form itself, or one of ours that a URL names. */
static bool find_file(struct mapping *m, const char *name, struct job_field *file)
{
    const struct job_field *field = job_fields_find(m->fields, name);
    if (!field)
        return lacks(m, name, "is missing");
    *file = *field;
    if (!field->json.at)
        return true;
    struct text url = plain(m, field->json);
    if (url.len && m->reader && m->reader->read(m->reader->with, m->arena, url, file))
        return true;
    return lacks(m, name,
                 "has to be a file, or the download_url of one that was uploaded here "
                 "(GET /v1/upload) and is still there; other addresses are not read");
}

static void end_form(struct mapping *m, const char *path, struct job_spec *spec)
{
    buffer_format(&m->out, "--%s--\r\n", form_boundary);
    spec->path = text_of(path);
    spec->content_type = arena_format(m->arena, "multipart/form-data; boundary=%s", form_boundary);
}

static bool map_transcript(struct mapping *m, struct job_spec *spec)
{
    struct job_field file;
    struct text prompt, language;
    if (!find_file(m, "file", &file) || !find_string(m, "prompt", false, &prompt) ||
        !find_string(m, "language", false, &language))
        return false;
    put_form_text(m, "model", m->model);
    if (language.len > 2)
        put_form_text(m, "language", plain(m, language));
    if (prompt.len > 2)
        put_form_text(m, "prompt", plain(m, prompt));
    put_form_text(m, "response_format", TEXT("json"));
    put_form_file(m, "file", &file);
    end_form(m, "/v1/audio/transcriptions", spec);
    return true;
}

static bool map_edit(struct mapping *m, struct job_spec *spec)
{
    struct job_field file;
    struct text prompt;
    int64_t samples;
    if (!find_file(m, "init_image_url", &file) || !find_string(m, "prompt", true, &prompt) ||
        !find_samples(m, &samples))
        return false;
    char digits[TEXT_NUMBER_BYTES];
    put_form_text(m, "model", m->model);
    put_form_text(m, "prompt", plain(m, prompt));
    put_form_text(m, "n", text_write_number((uint64_t)samples, digits));
    put_form_file(m, "image", &file);
    end_form(m, "/v1/images/edits", spec);
    return true;
}

bool job_map_call(struct arena *arena, const struct job_wish *wish, struct job_spec *spec,
                  struct fault *fault)
{
    struct mapping m = {.arena = arena,
                        .model = wish->model,
                        .fields = wish->fields,
                        .reader = wish->reader,
                        .fault = fault};
    bool (*const maps[JOB_KINDS])(struct mapping *, struct job_spec *) = {
        [JOB_TEXT] = map_text,
        [JOB_IMAGE] = wish->edits ? map_edit : map_image,
        [JOB_SPEECH] = map_speech,
        [JOB_TRANSCRIPT] = map_transcript,
    };
    buffer_init(&m.out, wish->max);
    bool good = maps[wish->kind] && maps[wish->kind](&m, spec);
    if (good && m.out.overrun)
        good = fault_set(fault, FAULT_TOO_LARGE, "The call is larger than jobs.payload_max.");
    if (good)
        spec->payload = arena_copy(arena, buffer_text(&m.out));
    buffer_done(&m.out);
    return good;
}
