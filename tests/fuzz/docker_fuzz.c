/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What an engine of containers says: its log is the same lines however it is cut, and nothing it
 * says of containers, events and pulls is written where it does not belong. The first byte of the
 * input says how it is cut.
 */

#include <assert.h>
#include <stdlib.h>

#include "deploy/models/docker_log.h"
#include "deploy/models/docker_read.h"
#include "deploy/models/docker_write.h"
#include "deploy/models/line_cut.h"

enum { LONGEST = 100 };

struct outcome {
    uint64_t sum;
    size_t lines;
    bool bad;
};

static void on_line(void *with, struct text line)
{
    struct outcome *out = with;
    int64_t ns = -1;
    assert(line.len <= LONGEST && text_find_byte(line, '\n') == SIZE_MAX);
    if (docker_take_time(&line, &ns))
        assert(ns >= 0);
    out->lines++;
    for (size_t i = 0; i < line.len; i++)
        out->sum = (out->sum ^ (unsigned char)line.at[i]) * 0x100000001b3;
    out->sum = (out->sum ^ line.len) * 0x100000001b3;
}

static void take_frames(struct docker_frames *frames, struct text bytes, struct line_cut *cut,
                        struct outcome *out)
{
    struct text piece;
    unsigned stream;
    enum docker_frame what;
    while ((what = docker_frame_next(frames, &bytes, &stream, &piece)) == DOCKER_FRAME_DATA) {
        assert(piece.len > 0 && stream <= 3);
        line_cut_feed(cut, piece);
    }
    out->bad = what == DOCKER_FRAME_BAD;
    assert(out->bad || bytes.len == 0);
}

/* As a log in frames, or as plain lines; in pieces of <step>. */
static struct outcome feed(struct text from, size_t step, bool framed, bool splits)
{
    struct outcome out = {0};
    struct docker_frames frames = {0};
    struct line_cut cut;
    line_cut_init(&cut, LONGEST, splits, on_line, &out);
    for (size_t at = 0; at < from.len && !out.bad; at += step) {
        struct text part = text_head(text_from(from, at), step);
        char *copy = malloc(part.len); /* so that a byte too far is seen */
        memcpy(copy, part.at, part.len);
        struct text bytes = {copy, part.len};
        if (framed)
            take_frames(&frames, bytes, &cut, &out);
        else
            line_cut_feed(&cut, bytes);
        free(copy);
    }
    line_cut_end(&cut);
    return out;
}

static void check_cuts(struct text from, size_t step)
{
    for (int kind = 0; kind < 4; kind++) {
        struct outcome all = feed(from, from.len + 1, kind & 1, kind & 2);
        struct outcome cut = feed(from, step, kind & 1, kind & 2);
        assert(all.sum == cut.sum && all.lines == cut.lines && all.bad == cut.bad);
    }
}

static void check_container(const struct docker_container *each)
{
    for (const char *c = each->id; *c; c++)
        assert((*c >= '0' && *c <= '9') || (*c >= 'a' && *c <= 'f'));
    assert(!(each->runs && each->ended));
    assert(each->port <= UINT16_MAX);
}

static void on_each(void *with, const struct docker_container *each)
{
    (void)with;
    check_container(each);
}

static void check_words(struct text from)
{
    struct docker_container container;
    struct docker_event event;
    char id[DOCKER_ID_MAX + 1], words[LAUNCH_WORDS_MAX];
    if (docker_read_container(from, "127.0.0.1", true, &container))
        check_container(&container);
    docker_read_list(from, on_each, NULL);
    if (docker_read_event(from, &event))
        assert(event.id[0] && event.action[0] && event.time_ns >= 0);
    docker_read_id(from, id);
    assert(docker_read_memory(from) >= 0);
    docker_read_error(from, 500, words);
    for (const char *c = words; *c; c++)
        assert((unsigned char)*c >= 0x20 && *c != 0x7F);
    docker_pull_verdict(words);
}

static void on_pull_line(void *with, struct text line)
{
    struct docker_pull *pull = with;
    int before = pull->permille;
    docker_pull_line(pull, line);
    assert(pull->permille >= before && pull->permille <= 1000 && pull->count <= DOCKER_LAYERS_MAX);
}

static void check_pull(struct text from)
{
    struct docker_pull *pull = calloc(1, sizeof(*pull));
    struct line_cut cut;
    pull->permille = -1;
    line_cut_init(&cut, 4096, false, on_pull_line, pull);
    line_cut_feed(&cut, from);
    line_cut_end(&cut);
    free(pull);
}

/* What is a name needs no escapes where it is written. */
static void check_image(struct text from)
{
    struct buffer out;
    if (!docker_image_is_name(from))
        return;
    buffer_init(&out, 4096);
    docker_write_pull(from, &out);
    struct text query = buffer_text(&out);
    assert(text_starts(query, TEXT("fromImage=")));
    for (size_t i = 0; i < query.len; i++)
        assert(query.at[i] > 0x20 && !strchr("%#?\"\\", query.at[i]));
    buffer_done(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2 || size > 20000)
        return 0;
    struct text from = {(const char *)data + 1, size - 1};
    check_cuts(from, data[0] % 16 + 1);
    check_words(from);
    check_pull(from);
    check_image(from);
    return 0;
}
