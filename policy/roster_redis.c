/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "gateway/base/log.h"
#include "policy/roster_remote.h"

/* How the thread sees the store: one question at a time; what is to be written waits meanwhile. */

enum {
    COMMAND_US = 1000000,
    FIRST_US = 1500000, /* how long the start waits for what the store has */
    FRESH_US = 3000000, /* so long after the last answer it counts as up */
    DOUBT_US = 100000,  /* looks follow each other so fast while it is not known what was done */
    CONNECT_US = 2000000,
};

/* --------------------------------------------------------------------------------- looking */

static void wake(struct roster_remote *remote)
{
    pthread_mutex_lock(&remote->door);
    pthread_cond_broadcast(&remote->bell);
    pthread_mutex_unlock(&remote->door);
}

/* Nothing more to ask now. */
void remote_rest(struct roster_remote *remote, bool good)
{
    bool looked = remote->step != STEP_WRITE;
    remote->step = STEP_REST;
    if (remote->own.closing)
        return;
    if (good)
        atomic_store(&remote->fresh_us, loop_now_us(remote->own.loop));
    if (good && looked) {
        atomic_fetch_add(&remote->looks, 1);
        wake(remote);
    }
    if (good != remote->known) {
        char name[REDIS_NAME_BYTES];
        redis_name(remote->roster->options.redis, name);
        remote->known = good;
        if (good)
            log_line(LOG_INFO, "keys", "Redis has the keys made through the API (%s)", name);
        else
            log_line(LOG_WARN, "keys",
                     "Redis does not answer (%s): keys stay as they were when it did last", name);
    }
    bool soon = remote->again || (!good && remote_has_doubts(remote));
    uint64_t wait = !soon ? ROSTER_POLL_US : good ? 0 : DOUBT_US;
    timer_set(remote->own.loop, &remote->own.poll, loop_now_us(remote->own.loop) + wait);
    remote->again = false;
    if (good)
        remote_write_next(remote);
}

struct text remote_text(const struct redis_reply *reply, size_t i)
{
    bool there = reply && i < redis_count(reply);
    return there ? redis_text(redis_item(reply, i)) : (struct text){"", 0};
}

uint64_t remote_number(struct text text)
{
    uint64_t number;
    return text_number(text, INT64_MAX, &number) ? number : 0;
}

static void copy_word(char out[ROSTER_WORD_BYTES], struct text from)
{
    snprintf(out, ROSTER_WORD_BYTES, "%.*s", TEXT_ARGS(text_head(from, ROSTER_WORD_BYTES - 1)));
}

void remote_read_mark(const struct redis_reply *reply, size_t at, struct roster_mark *mark)
{
    mark->number = remote_number(remote_text(reply, at));
    copy_word(mark->tag, remote_text(reply, at + 1));
    copy_word(mark->life, remote_text(reply, at + 2));
}

bool remote_read_change(struct text kind, struct text id, struct text value,
                        struct roster_change *change)
{
    size_t line = text_find_byte(value, '\n');
    *change = (struct roster_change){
        .kind = text_equal(kind, TEXT("k")) ? RECORD_KEY : RECORD_TENANT, .id = id};
    if (value.len == 0)
        return id.len > 0;
    change->version = remote_number(text_head(value, line));
    change->body = text_from(value, line == SIZE_MAX ? line : line + 1);
    return id.len > 0 && line != SIZE_MAX && change->body.len > 0;
}

/* What came about since: {"MORE", number, tag, life, kind, id, value …}. */
static void take_changes(struct roster_remote *remote, const struct redis_reply *reply)
{
    struct roster_mark mark;
    size_t all = redis_count(reply), count = 0, kept;
    struct roster_change *changes = memory_new((all / 3 + 1) * sizeof(*changes));
    remote_read_mark(reply, 1, &mark);
    for (size_t i = 4; i + 2 < all; i += 3)
        if (remote_read_change(remote_text(reply, i), remote_text(reply, i + 1),
                               remote_text(reply, i + 2), &changes[count]))
            count++;
    roster_apply(remote->roster, changes, count, &mark, &kept);
    if (remote->roster->local)
        roster_local_keep(remote->roster->local, changes, count, &mark);
    memory_free(changes);
    remote_settle_doubts(remote);
    /* Somebody who had not heard of it has made a revoked key good again. */
    if (kept)
        remote_sync(remote, SYNC_READ);
    else
        remote_rest(remote, true);
}

/* It has what our file had, of which nobody could say where it came from. */
static void know(struct roster_remote *remote)
{
    struct directory *view = roster_view(remote->roster);
    struct roster_mark mark = view->mark;
    size_t kept;
    if (view->unknown) {
        roster_apply(remote->roster, NULL, 0, &mark, &kept);
        if (remote->roster->local)
            roster_local_keep(remote->roster->local, NULL, 0, &mark);
    }
    directory_unref(view);
}

static void on_look(void *with, enum redis_fault fault, const struct redis_reply *reply)
{
    struct roster_remote *remote = with;
    struct text word = remote_text(reply, 0);
    if (fault != REDIS_ANSWERED || redis_kind(reply) != REDIS_LIST) {
        remote_note(remote, fault == REDIS_ANSWERED ? reply : NULL);
        remote_rest(remote, false);
    } else if (text_equal(word, TEXT("SAME"))) {
        know(remote);
        remote_settle_doubts(remote);
        remote_rest(remote, true);
    } else if (text_equal(word, TEXT("MORE"))) {
        take_changes(remote, reply);
    } else {
        bool begin = text_equal(word, TEXT("EMPTY")) || text_equal(word, TEXT("LOST"));
        remote_sync(remote, begin ? SYNC_BEGIN : SYNC_READ);
    }
}

/* An error in words, once until something else happens. */
void remote_note(struct roster_remote *remote, const struct redis_reply *reply)
{
    if (reply && redis_kind(reply) == REDIS_ERROR && remote->known)
        log_line(LOG_ERROR, "keys", "Redis: %.*s", TEXT_ARGS(text_head(redis_text(reply), 200)));
}

bool remote_eval(struct roster_remote *remote, const struct redis_script *script,
                 const struct text *more, size_t count, redis_answer *answer)
{
    struct text words[REMOTE_WORDS_MAX];
    size_t at = 0;
    words[at++] = text_of(remote->names[NAME_VERSION]);
    words[at++] = text_of(remote->names[NAME_TENANTS]);
    words[at++] = text_of(remote->names[NAME_KEYS]);
    words[at++] = text_of(remote->names[NAME_LOG]);
    for (size_t i = 0; i < count; i++)
        words[at++] = more[i];
    return redis_eval(remote->own.redis, script, REMOTE_KEYS, words, at, COMMAND_US, answer,
                      remote);
}

static void look(struct roster_remote *remote)
{
    char number[24];
    struct directory *view = roster_view(remote->roster);
    const struct roster_mark *mark = &view->mark;
    snprintf(number, sizeof(number), "%llu", (unsigned long long)mark->number);
    const struct text words[] = {text_of(number), text_of(mark->tag), text_of(mark->life)};
    remote->step = STEP_LOOK;
    if (!remote_eval(remote, &remote_scripts[SCRIPT_LOOK], words, 3, on_look))
        remote_rest(remote, false);
    directory_unref(view);
}

void remote_look(struct roster_remote *remote)
{
    if (remote->step == STEP_REST)
        look(remote);
    else
        remote->again = true;
}

static void on_poll(struct timer *timer)
{
    struct roster_remote *remote = LIST_MEMBER(timer, struct roster_remote, own.poll);
    uint64_t now = loop_now_us(remote->own.loop);
    if (remote->step == STEP_REST && !redis_is_up(remote->own.redis) &&
        now - remote->began_us < CONNECT_US)
        timer_set(remote->own.loop, timer, now + ROSTER_POLL_US); /* it is told when it is up */
    else
        remote_look(remote);
}

static void on_message(void *with, struct text text)
{
    (void)text;
    remote_look(with);
}

static void on_connection(void *with)
{
    struct roster_remote *remote = with;
    if (redis_is_up(remote->own.redis))
        remote_look(remote);
}

/* ------------------------------------------------------------------------- begin and end */

static void on_end(void *with)
{
    struct roster_remote *remote = with;
    remote_drop_jobs(remote);
    remote_sync_done(remote);
}

static bool start(struct roster_remote *remote, struct fault *fault)
{
    static const char *const ends[REMOTE_KEYS] = {"version", "tenants", "keys", "log"};
    const struct roster_options *options = &remote->roster->options;
    const struct redis_thread_work work = {on_poll, on_message, on_connection, on_end, remote};
    const char *prefix = options->prefix ? options->prefix : "sluice:";
    for (int i = 0; i < REMOTE_KEYS; i++)
        snprintf(remote->names[i], sizeof(remote->names[i]), "%.128s{roster}:%s", prefix, ends[i]);
    snprintf(remote->channel, sizeof(remote->channel), "%.128s{roster}", prefix);
    remote->began_us = clock_now_us();
    return redis_thread_start(&remote->own, options->redis, text_of(remote->channel), &work, fault);
}

static void wait_for_first(struct roster_remote *remote)
{
    struct timespec until = clock_until(FIRST_US);
    pthread_mutex_lock(&remote->door);
    while (!atomic_load(&remote->looks) &&
           pthread_cond_timedwait(&remote->bell, &remote->door, &until) == 0)
        continue;
    pthread_mutex_unlock(&remote->door);
    if (atomic_load(&remote->looks))
        return;
    struct directory *view = roster_view(remote->roster);
    char name[REDIS_NAME_BYTES];
    redis_name(remote->roster->options.redis, name);
    if (view->unknown)
        log_line(LOG_WARN, "keys",
                 "Redis has never answered here (%s): until it does, only the file's keys open, "
                 "and who calls without one, or with another, is refused (503)",
                 name);
    else
        log_line(LOG_WARN, "keys",
                 "Redis does not answer yet (%s): keys are those of the last time", name);
    directory_unref(view);
}

struct roster_remote *roster_remote_open(struct roster *roster, struct fault *fault)
{
    struct roster_remote *remote = memory_new(sizeof(*remote));
    pthread_condattr_t attributes;
    remote->roster = roster;
    remote->known = true;
    list_init(&remote->jobs);
    pthread_mutex_init(&remote->door, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&remote->bell, &attributes);
    pthread_condattr_destroy(&attributes);
    remote_scripts_init();
    if (!start(remote, fault)) {
        roster_remote_close(remote);
        return NULL;
    }
    if (roster->local)
        roster_local_start(roster->local);
    wait_for_first(remote);
    return remote;
}

void roster_remote_close(struct roster_remote *remote)
{
    redis_thread_end(&remote->own);
    pthread_mutex_destroy(&remote->door);
    pthread_cond_destroy(&remote->bell);
    memory_free(remote);
}

bool roster_remote_is_up(const struct roster_remote *remote)
{
    uint64_t fresh = atomic_load(&remote->fresh_us);
    return fresh != 0 && clock_now_us() - fresh < FRESH_US;
}
