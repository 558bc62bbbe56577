/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>

#include "policy/roster_remote.h"

/*
 * Read all that Redis has, page by page, into a view that nobody sees before it is whole. Then what
 * we know and the store does not is put in it, and told to the store.
 */

enum { COMMAND_US = 2000000, MERGE_RECORDS = 50, MERGE_BYTES = 1 << 20 };

struct owed {
    struct roster_record *record; /* with a reference */
    bool force;
};

struct remote_sync {
    struct directory *view;
    struct roster_mark head; /* where the store was when we began */
    char from[ROSTER_WORD_BYTES];
    uint64_t lost;
    enum record_of kind; /* being read */
    char cursor[32];
    struct owed *owed;
    size_t owed_count, owed_room, told;
};

void remote_sync_done(struct roster_remote *remote)
{
    struct remote_sync *sync = remote->sync;
    if (!sync)
        return;
    for (size_t i = 0; i < sync->owed_count; i++)
        roster_record_unref(sync->owed[i].record);
    memory_free(sync->owed);
    if (sync->view)
        directory_unref(sync->view);
    memory_free(sync);
    remote->sync = NULL;
}

static void finish(struct roster_remote *remote, bool good)
{
    remote_sync_done(remote);
    /* Since it began more may have happened. */
    remote->again = good;
    if (good)
        remote_settle_doubts(remote);
    remote_rest(remote, good);
}

static bool ask(struct roster_remote *remote, const struct text *words, size_t count,
                redis_answer *answer)
{
    return redis_send(remote->own.redis, text_of(remote->names[NAME_VERSION]), words, count,
                      COMMAND_US, answer, remote);
}

static bool is_list(struct roster_remote *remote, enum redis_fault fault,
                    const struct redis_reply *reply)
{
    if (fault == REDIS_ANSWERED && redis_kind(reply) == REDIS_LIST)
        return true;
    remote_note(remote, fault == REDIS_ANSWERED ? reply : NULL);
    return false;
}

/* ---------------------------------------------------------------------------------- owed */

static void owe(struct remote_sync *sync, struct roster_record *record, bool force)
{
    if (sync->owed_count == sync->owed_room) {
        sync->owed_room = sync->owed_room ? 2 * sync->owed_room : 64;
        sync->owed = memory_resize(sync->owed, sync->owed_room * sizeof(*sync->owed));
    }
    sync->owed[sync->owed_count++] = (struct owed){roster_record_ref(record), force};
    directory_put(sync->view, record);
}

/* Compare what we had with what has come. <heir>: the store's life follows ours. */
static void compare(struct remote_sync *sync, const struct directory *before, enum record_of kind,
                    bool heir)
{
    struct roster_record *ours = NULL;
    while ((ours = directory_next(before, kind, ours ? ours->id : TEXT("")))) {
        const struct roster_record *theirs = directory_record(sync->view, kind, ours->id);
        bool newer =
            heir && ours->version > sync->lost && (!theirs || theirs->version < ours->version);
        bool undone = kind == RECORD_KEY && ours->revoked_us && theirs && !theirs->revoked_us;
        if (newer || undone)
            owe(sync, ours, undone);
    }
}

static void tell(struct roster_remote *remote);

static void on_told(void *with, enum redis_fault fault, const struct redis_reply *reply)
{
    struct roster_remote *remote = with;
    if (is_list(remote, fault, reply))
        tell(remote);
    else
        finish(remote, false);
}

/* The next of what is owed. */
static void tell(struct roster_remote *remote)
{
    struct remote_sync *sync = remote->sync;
    struct text words[REMOTE_WORDS_MAX];
    char versions[MERGE_RECORDS][24], tag[ROSTER_WORD_BYTES];
    size_t count = 0, bytes = 0;
    if (sync->told == sync->owed_count) {
        finish(remote, true);
        return;
    }
    roster_make_word(tag);
    words[count++] = text_of(sync->head.life);
    words[count++] = text_of(tag);
    words[count++] = text_of(remote->channel);
    for (int i = 0; i < MERGE_RECORDS && bytes < MERGE_BYTES && sync->told < sync->owed_count;
         i++) {
        const struct owed *owed = &sync->owed[sync->told++];
        const struct roster_record *record = owed->record;
        snprintf(versions[i], sizeof(versions[i]), "%llu", (unsigned long long)record->version);
        words[count++] = record->kind == RECORD_KEY ? TEXT("k") : TEXT("t");
        words[count++] = record->id;
        words[count++] = text_of(versions[i]);
        words[count++] = owed->force ? TEXT("1") : TEXT("0");
        words[count++] = record->body;
        bytes += record->body.len;
    }
    if (!remote_eval(remote, &remote_scripts[SCRIPT_MERGE], words, count, on_told))
        finish(remote, false);
}

/* --------------------------------------------------------------------------------- reading */

static void put_in_force(struct roster_remote *remote)
{
    struct remote_sync *sync = remote->sync;
    struct directory *before = roster_view(remote->roster);
    bool heir = sync->from[0] && strcmp(sync->from, before->mark.life) == 0;
    for (int kind = RECORD_TENANT; kind <= RECORD_KEY; kind++)
        compare(sync, before, (enum record_of)kind, heir);
    directory_unref(before);
    sync->view->mark = sync->head;
    struct directory *view = sync->view;
    sync->view = NULL;
    roster_replace(remote->roster, view);
    if (remote->roster->local) {
        struct directory *now = roster_view(remote->roster);
        roster_local_keep_all(remote->roster->local, now);
        directory_unref(now);
    }
    tell(remote);
}

static void scan(struct roster_remote *remote);

static void on_page(void *with, enum redis_fault fault, const struct redis_reply *reply)
{
    struct roster_remote *remote = with;
    struct remote_sync *sync = remote->sync;
    if (!is_list(remote, fault, reply) || redis_count(reply) != 2) {
        finish(remote, false);
        return;
    }
    const struct redis_reply *page = redis_item(reply, 1);
    for (size_t i = 0; i + 1 < redis_count(page); i += 2) {
        struct roster_change change;
        struct text id = remote_text(page, i), value = remote_text(page, i + 1);
        if (remote_read_change(sync->kind == RECORD_KEY ? TEXT("k") : TEXT("t"), id, value,
                               &change))
            roster_load(sync->view, &change);
    }
    snprintf(sync->cursor, sizeof(sync->cursor), "%.*s",
             TEXT_ARGS(text_head(remote_text(reply, 0), sizeof(sync->cursor) - 1)));
    if (strcmp(sync->cursor, "0") != 0)
        scan(remote);
    else if (sync->kind == RECORD_TENANT) {
        sync->kind = RECORD_KEY;
        scan(remote);
    } else {
        put_in_force(remote);
    }
}

static void scan(struct roster_remote *remote)
{
    const struct remote_sync *sync = remote->sync;
    const char *name = remote->names[sync->kind == RECORD_KEY ? NAME_KEYS : NAME_TENANTS];
    const struct text words[] = {TEXT("HSCAN"), text_of(name), text_of(sync->cursor), TEXT("COUNT"),
                                 TEXT("200")};
    if (!ask(remote, words, 5, on_page))
        finish(remote, false);
}

static void on_head(void *with, enum redis_fault fault, const struct redis_reply *reply)
{
    struct roster_remote *remote = with;
    struct remote_sync *sync = remote->sync;
    if (!is_list(remote, fault, reply)) {
        finish(remote, false);
        return;
    }
    remote_read_mark(reply, 0, &sync->head);
    snprintf(sync->from, sizeof(sync->from), "%.*s",
             TEXT_ARGS(text_head(remote_text(reply, 3), sizeof(sync->from) - 1)));
    sync->lost = remote_number(remote_text(reply, 4));
    if (!sync->head.life[0]) { /* emptied again */
        finish(remote, false);
        return;
    }
    struct directory *before = roster_view(remote->roster);
    sync->view = directory_blank(before);
    directory_unref(before);
    strcpy(sync->cursor, "0");
    scan(remote);
}

static void read_head(struct roster_remote *remote)
{
    const struct text words[] = {TEXT("HMGET"),  text_of(remote->names[NAME_VERSION]),
                                 TEXT("number"), TEXT("tag"),
                                 TEXT("life"),   TEXT("from"),
                                 TEXT("lost")};
    if (!ask(remote, words, 7, on_head))
        finish(remote, false);
}

static void on_begun(void *with, enum redis_fault fault, const struct redis_reply *reply)
{
    struct roster_remote *remote = with;
    if (is_list(remote, fault, reply))
        read_head(remote);
    else
        finish(remote, false);
}

static void begin(struct roster_remote *remote)
{
    char number[24], life[ROSTER_WORD_BYTES], tag[ROSTER_WORD_BYTES];
    struct directory *view = roster_view(remote->roster);
    snprintf(number, sizeof(number), "%llu", (unsigned long long)view->mark.number);
    roster_make_word(life);
    roster_make_word(tag);
    const struct text words[] = {
        text_of(number), text_of(view->mark.tag), text_of(view->mark.life), text_of(life),
        text_of(tag),    text_of(remote->channel)};
    if (!remote_eval(remote, &remote_scripts[SCRIPT_BEGIN], words, 6, on_begun))
        finish(remote, false);
    directory_unref(view);
}

void remote_sync(struct roster_remote *remote, enum sync_way way)
{
    remote->step = STEP_SYNC;
    remote->sync = memory_new(sizeof(*remote->sync));
    if (way == SYNC_BEGIN)
        begin(remote);
    else
        read_head(remote);
}
