/* SPDX-License-Identifier: Apache-2.0 */
#include "deploy/models/desk_story.h"

#include <stdio.h>

#include "gateway/base/clock.h"
#include "gateway/base/memory.h"

struct line {
    struct link link;
    uint64_t number;
    size_t length;
    char replica[STORY_REPLICA_MAX];
    char bytes[];
};

struct happening {
    struct link link;
    struct deployment_event event;
};

enum { LINE_OVERHEAD = sizeof(struct line) + 16 };

void story_init(struct story *story)
{
    list_init(&story->lines);
    list_init(&story->events);
}

static struct line *line_at(struct link *link)
{
    return LIST_MEMBER(link, struct line, link);
}

static struct happening *happening_at(struct link *link)
{
    return LIST_MEMBER(link, struct happening, link);
}

static void drop_line(struct story *story)
{
    struct line *oldest = line_at(story->lines.next);
    list_remove(&oldest->link);
    story->bytes -= oldest->length + LINE_OVERHEAD;
    memory_free(oldest);
}

static void drop_event(struct story *story)
{
    struct happening *oldest = happening_at(story->events.next);
    list_remove(&oldest->link);
    story->event_count--;
    memory_free(oldest);
}

void story_clear(struct story *story)
{
    while (!list_is_empty(&story->lines))
        drop_line(story);
    while (!list_is_empty(&story->events))
        drop_event(story);
}

void story_line(struct story *story, const char *replica, struct text line)
{
    struct line *one = memory_new(sizeof(*one) + line.len);
    one->number = ++story->newest;
    one->length = line.len;
    snprintf(one->replica, sizeof one->replica, "%s", replica);
    if (line.len > 0)
        memcpy(one->bytes, line.at, line.len);
    list_push_back(&story->lines, &one->link);
    story->bytes += line.len + LINE_OVERHEAD;
    while (story->bytes > STORY_BYTES)
        drop_line(story);
}

/* One word, and behind a colon which of its kind. */
bool deployment_event_is_failure(const char *reason)
{
    static const char *const words[] = {"exit",        "signal",   "oom_killed", "launch_failed",
                                        "rolled_back", "bad_spec", "too_large",  "lost"};
    static const char *const ends[] = {"_failed", "_missing", "_timeout"};
    struct text word = text_head(text_of(reason), text_find_byte(text_of(reason), ':'));
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        if (text_equal(word, text_of(words[i])))
            return true;
    for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++) {
        struct text end = text_of(ends[i]);
        if (word.len > end.len && text_equal(text_from(word, word.len - end.len), end))
            return true;
    }
    return false;
}

void story_event(struct story *story, const char *replica, const char *reason, const char *words)
{
    struct happening *one = memory_new(sizeof(*one));
    struct deployment_event *event = &one->event;
    event->number = ++story->newest;
    event->at_us = clock_wall_us();
    snprintf(event->replica, sizeof event->replica, "%s", replica);
    snprintf(event->reason, sizeof event->reason, "%s", reason);
    snprintf(event->words, sizeof event->words, "%s", words);
    list_push_back(&story->events, &one->link);
    if (++story->event_count > STORY_EVENTS)
        drop_event(story);
}

static void put_line(const struct line *line, struct buffer *out)
{
    buffer_append(out, line->bytes, line->length);
    buffer_append_text(out, TEXT("\n"));
}

void story_last(const struct story *story, struct text replica, unsigned count, struct buffer *out)
{
    struct link *at = story->lines.prev;
    const struct link *end = &story->lines;
    for (unsigned found = 0; at != end; at = at->prev) {
        found += replica.len == 0 || text_equal(text_of(line_at(at)->replica), replica);
        if (found == count)
            break;
    }
    at = at == end ? at->next : at;
    for (; count > 0 && at != end; at = at->next)
        if (replica.len == 0 || text_equal(text_of(line_at(at)->replica), replica))
            put_line(line_at(at), out);
}

static bool fits(const struct buffer *out, size_t bytes)
{
    return buffer_length(out) + bytes + 1 <= out->limit;
}

static bool put_happening(const struct deployment_event *event, struct buffer *out)
{
    char words[FLEET_WORDS_MAX + FLEET_REASON_MAX + STORY_REPLICA_MAX + SPEC_NAME_MAX + 32];
    int length =
        snprintf(words, sizeof words, "[%s%s%s%s%s]\n", event->replica, *event->replica ? ": " : "",
                 event->reason, *event->words ? ": " : "", event->words);
    bool has_room = fits(out, (size_t)length);
    if (has_room)
        buffer_append(out, words, (size_t)length);
    return has_room;
}

/* Both lists are in the order of their numbers: the smaller one first. */
uint64_t story_follow(const struct story *story, uint64_t after, struct buffer *out)
{
    struct link *line = story->lines.next, *event = story->events.next;
    for (;;) {
        while (line != &story->lines && line_at(line)->number <= after)
            line = line->next;
        while (event != &story->events && happening_at(event)->event.number <= after)
            event = event->next;
        bool has_line = line != &story->lines, has_event = event != &story->events;
        if (!has_line && !has_event)
            return story->newest > after ? story->newest : after;
        bool is_line =
            has_line && (!has_event || line_at(line)->number < happening_at(event)->event.number);
        if (is_line && !fits(out, line_at(line)->length + 1))
            return after;
        if (is_line)
            put_line(line_at(line), out);
        else if (!put_happening(&happening_at(event)->event, out))
            return after;
        after = is_line ? line_at(line)->number : happening_at(event)->event.number;
    }
}

size_t story_events(const struct story *story, uint64_t after, struct deployment_event *into,
                    size_t max)
{
    size_t count = 0;
    for (struct link *at = story->events.next; at != &story->events && count < max; at = at->next)
        if (happening_at(at)->event.number > after)
            into[count++] = happening_at(at)->event;
    return count;
}
