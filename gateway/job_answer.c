/* SPDX-License-Identifier: Apache-2.0 */
/* Answers as results of jobs. On the jobs' thread: files are written here. */
#include <stdio.h>

#include "gateway/base/hash.h"
#include "gateway/base/json.h"
#include "gateway/base/member.h"
#include "gateway/base/scan.h"
#include "gateway/job_files.h"
#include "gateway/job_map.h"

enum { OUTPUTS_MAX = 32, RESULT_MORE = 4096 };

static bool is_json(struct text type)
{
    struct text plain = text_trim(text_head(type, text_find_byte(type, ';')));
    return text_equal_nocase(plain, TEXT("application/json")) ||
           (text_starts_nocase(plain, TEXT("application/")) && text_ends(plain, TEXT("+json")));
}

/* Keep <bytes> as a file, and write its link. */
static bool put_file(const struct job_answer *answer, struct buffer *out, struct text bytes,
                     const char *name, struct text type, struct fault *fault)
{
    struct job_link link = {.file = ""};
    if (!job_files_name(answer->files, answer->tenant, answer->expires_us, answer->quota,
                        link.file) ||
        !job_files_put(answer->files, link.file, bytes, answer->quota))
        return fault_set(fault, FAULT_OVERLOADED,
                         "There is no room for the result: jobs.upload_quota, or the disk.");
    snprintf(link.name, sizeof(link.name), "%s", name);
    snprintf(link.type, sizeof(link.type), "%.*s",
             TEXT_ARGS(text_head(text_head(type, text_find_byte(type, ';')), 100)));
    struct buffer url;
    buffer_init(&url, RESULT_MORE);
    job_files_put_link(answer->files, &url, answer->base, false, &link);
    json_write_string(out, buffer_text(&url));
    buffer_done(&url);
    return true;
}

static bool put_call(const struct job_answer *answer, struct buffer *out, struct fault *fault)
{
    if (is_json(answer->type) && scan_is_valid(answer->bytes))
        return buffer_append_text(out, answer->bytes);
    buffer_append_text(out, TEXT("{\"content_type\":"));
    json_write_string(out, answer->type);
    buffer_format(out, ",\"bytes\":%zu,\"url\":", answer->bytes.len);
    bool good = put_file(answer, out, answer->bytes, "result", answer->type, fault);
    buffer_append_text(out, TEXT("}"));
    return good;
}

static bool misses(struct fault *fault, const char *what)
{
    return fault_set(fault, FAULT_TARGET_INVALID, "The target's answer has no %s.", what);
}

/* {"response":{"text":["…"]}}, which the exchange has made of whatever the target said. */
static bool put_text(const struct job_answer *answer, struct buffer *out, struct fault *fault)
{
    struct text list = member_find(member_find(answer->bytes, TEXT("response")), TEXT("text"));
    struct text rest = list, name, first;
    if (!scan_is_valid(answer->bytes) || !list.at || !member_next(&rest, &name, &first) ||
        !member_string(first).at)
        return misses(fault, "text");
    buffer_append_text(out, TEXT("{\"text\":"));
    buffer_append_text(out, first);
    if (member_next(&rest, &name, &first)) {
        buffer_append_text(out, TEXT(",\"texts\":"));
        buffer_append_text(out, list);
    }
    return buffer_append_text(out, TEXT("}"));
}

static bool put_transcript(const struct job_answer *answer, struct buffer *out, struct fault *fault)
{
    struct text text = member_find(answer->bytes, TEXT("text"));
    if (!scan_is_valid(answer->bytes) || !member_string(text).at)
        return misses(fault, "text");
    buffer_append_text(out, TEXT("{\"text\":"));
    buffer_append_text(out, text);
    return buffer_append_text(out, TEXT("}"));
}

static struct text type_of(struct text bytes)
{
    if (text_starts(bytes, TEXT("\x89PNG")))
        return TEXT("image/png");
    if (text_starts(bytes, TEXT("\xff\xd8\xff")))
        return TEXT("image/jpeg");
    if (text_starts(bytes, TEXT("RIFF")) && text_starts(text_from(bytes, 8), TEXT("WEBP")))
        return TEXT("image/webp");
    return TEXT("application/octet-stream");
}

static bool put_picture(const struct job_answer *answer, struct buffer *out, struct text item,
                        struct fault *fault)
{
    struct text url = member_find(item, TEXT("url"));
    if (member_string(url).len)
        return buffer_append_text(out, url);
    struct text coded = member_string(member_find(item, TEXT("b64_json")));
    if (!coded.len)
        return misses(fault, "picture");
    uint8_t *bytes = memory_new(3 * ((coded.len + 3) / 4));
    size_t len = hash_unbase64(coded, bytes);
    struct text file = {(const char *)bytes, len};
    bool good = len != SIZE_MAX ? put_file(answer, out, file, "image", type_of(file), fault)
                                : misses(fault, "picture");
    memory_free(bytes);
    return good;
}

static bool put_pictures(const struct job_answer *answer, struct buffer *out, struct fault *fault)
{
    struct text rest = member_find(answer->bytes, TEXT("data")), name, item;
    int count = 0;
    if (!scan_is_valid(answer->bytes) || !rest.at)
        return misses(fault, "picture");
    buffer_append_text(out, TEXT("{\"output\":["));
    while (count < OUTPUTS_MAX && member_next(&rest, &name, &item)) {
        if (count++)
            buffer_append_text(out, TEXT(","));
        if (!put_picture(answer, out, item, fault))
            return false;
    }
    buffer_append_text(out, TEXT("]}"));
    return count > 0 || misses(fault, "picture");
}

static bool put_speech(const struct job_answer *answer, struct buffer *out, struct fault *fault)
{
    buffer_append_text(out, TEXT("{\"output\":["));
    bool good = answer->bytes.len > 0
                    ? put_file(answer, out, answer->bytes, "speech", answer->type, fault)
                    : misses(fault, "sound");
    buffer_append_text(out, TEXT("]}"));
    return good;
}

/* What the command has made is told by itself. */
static bool put_command(const struct job_answer *answer, struct buffer *out, struct fault *fault)
{
    return scan_is_valid(answer->bytes) ? buffer_append_text(out, answer->bytes)
                                        : misses(fault, "result");
}

struct job_result *job_map_answer(const struct job_answer *answer, struct fault *fault)
{
    static bool (*const puts[JOB_KINDS])(const struct job_answer *, struct buffer *,
                                         struct fault *) = {
        [JOB_CALL] = put_call,
        [JOB_TEXT] = put_text,
        [JOB_IMAGE] = put_pictures,
        [JOB_SPEECH] = put_speech,
        [JOB_TRANSCRIPT] = put_transcript,
        [JOB_COMMAND] = put_command,
    };
    struct buffer out;
    struct job_result *result = NULL;
    buffer_init(&out, answer->max + RESULT_MORE);
    bool good = puts[answer->kind](answer, &out, fault);
    if (good && out.overrun)
        good = fault_set(fault, FAULT_TOO_LARGE, "The result is larger than jobs.result_max.");
    if (good)
        result = job_result_new(buffer_text(&out), TEXT("application/json"));
    buffer_done(&out);
    return result;
}
