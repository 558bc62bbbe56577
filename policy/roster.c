/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "gateway/base/log.h"
#include "policy/roster_inside.h"

/* ------------------------------------------------------------------------------- the view */

struct directory *roster_view(struct roster *roster)
{
    pthread_mutex_lock(&roster->lock);
    struct directory *view = directory_ref(roster->view);
    pthread_mutex_unlock(&roster->lock);
    return view;
}

/* <after>, whose reference is taken, follows <before>. False, and nothing has happened, when
 * another view has come between. */
static bool put_in_force(struct roster *roster, struct directory *before, struct directory *after,
                         bool tell)
{
    pthread_mutex_lock(&roster->lock);
    bool good = roster->view == before;
    if (good) {
        roster->view = after;
        after->version = before->version + 1;
        if (tell)
            directory_ref(after);
    }
    pthread_mutex_unlock(&roster->lock);
    directory_unref(good ? before : after);
    if (good && tell)
        roster->options.on_change(roster->options.with, after);
    return good;
}

bool roster_load(struct directory *view, const struct roster_change *change)
{
    char problem[256];
    struct roster_record *record =
        roster_read(change->kind, change->body, &view->declared->file, problem);
    if (record && !text_equal(record->id, change->id)) {
        snprintf(problem, sizeof(problem), "it has another id.");
        roster_record_unref(record);
        record = NULL;
    }
    if (!record) {
        log_line(LOG_ERROR, "keys", "%.*s in the store cannot be used: %s",
                 TEXT_ARGS(text_head(change->id, 200)), problem);
        return false;
    }
    record->version = change->version;
    directory_put(view, record);
    roster_record_unref(record);
    return true;
}

static bool is_revoked(const struct roster_record *record)
{
    return record && record->kind == RECORD_KEY && record->revoked_us;
}

/* Does it have a limit that counts in no counter of one that <before> (NULL = none) had? */
static bool has_more_limits(const struct roster_record *record, const struct roster_record *before)
{
    bool more = false;
    for (size_t i = 0; i < record->limits.count && !more; i++)
        more = record->limits.at[i].kind != LIMIT_CONCURRENT &&
               !(before && limit_has_same(&before->limits, &record->limits.at[i]));
    return more;
}

/* Was this revoked one a key of a tenant of before, whose name another one has now? Times are kept
 * in seconds: within one of them it is taken for that. */
static bool is_of_before(const struct directory *view, const struct roster_record *key)
{
    const struct roster_record *tenant = directory_record(view, RECORD_TENANT, key->owner);
    return tenant && key->revoked_us <= tenant->created_us;
}

/* Does a key have a limit now that may have had calls before? One that is new has had none, but
 * where another of its tenant had its name: limits go by names, as the ledger does. Of the two we
 * may hear in any order. */
static bool has_gained(const struct directory *view, const struct roster_record *record,
                       const struct roster_record *before)
{
    if (!record || record == before || record->kind != RECORD_KEY)
        return false;
    if (record->revoked_us) {
        const struct roster_record *next = directory_member_like(view, record);
        return next && !is_of_before(view, record) && has_more_limits(next, NULL);
    }
    const struct roster_record *revoked = directory_revoked_like(view, record);
    bool follows = revoked && !is_of_before(view, revoked);
    return (before || follows) && has_more_limits(record, before);
}

static void load_again(struct directory *view, const struct roster_change *change,
                       struct roster_record *before)
{
    roster_load(view, change);
    view->gains += has_gained(view, directory_record(view, change->kind, change->id), before);
}

/* One change; true when it would have made a key good again that was revoked. */
static bool change_view(struct directory *view, const struct roster_change *change)
{
    struct roster_record *before = directory_record(view, change->kind, change->id);
    if (!change->body.at) {
        directory_drop(view, change->kind, change->id);
        return false;
    }
    if (before)
        roster_record_ref(before);
    load_again(view, change, before);
    if (!is_revoked(before)) {
        if (before)
            roster_record_unref(before);
        return false;
    }
    bool undone = !is_revoked(directory_record(view, change->kind, change->id));
    if (undone)
        directory_put(view, before);
    roster_record_unref(before);
    return undone;
}

void roster_apply(struct roster *roster, const struct roster_change *changes, size_t count,
                  const struct roster_mark *mark, size_t *kept)
{
    for (bool done = false; !done;) {
        struct directory *before = roster_view(roster);
        struct directory *after = directory_copy(before);
        *kept = 0;
        for (size_t i = 0; i < count; i++)
            *kept += change_view(after, &changes[i]);
        after->mark = *mark;
        after->unknown = false;
        done = put_in_force(roster, before, after, true);
        directory_unref(before);
    }
}

/* All records of <before>, read anew for the file that <view> has. */
static void read_again(struct directory *next, const struct directory *before)
{
    for (int kind = RECORD_TENANT; kind <= RECORD_KEY; kind++) {
        const struct roster_record *record = NULL;
        while ((record =
                    directory_next(before, (enum record_of)kind, record ? record->id : TEXT("")))) {
            struct roster_change change = {record->kind, record->id, record->version, record->body};
            roster_load(next, &change);
        }
    }
}

void roster_replace(struct roster *roster, struct directory *view)
{
    for (bool done = false; !done;) {
        struct directory *before = roster_view(roster);
        if (before->declared != view->declared) { /* a reload has come between */
            struct directory *next = directory_blank(before);
            read_again(next, view);
            next->mark = view->mark;
            directory_unref(view);
            view = next;
        }
        view->gains = before->gains + 1; /* what was, is not compared */
        directory_ref(view);
        done = put_in_force(roster, before, view, true);
        directory_unref(before);
    }
    directory_unref(view);
}

/* ------------------------------------------------------------------------------- the file */

static bool is_same_limit(const struct limit *a, const struct limit *b)
{
    return a->kind == b->kind && a->period == b->period && a->algorithm == b->algorithm &&
           a->away == b->away && a->exceeded == b->exceeded && a->strict == b->strict &&
           a->amount == b->amount && a->window_us == b->window_us && a->zone == b->zone &&
           text_equal(a->model, b->model) &&
           memcmp(a->warn_at, b->warn_at, sizeof(a->warn_at)) == 0;
}

/* Does what <b> says of limits mean the same for records as <a>? */
static bool is_same_manner(const struct roster_file *a, const struct roster_file *b)
{
    bool same = a->default_count == b->default_count && a->algorithm == b->algorithm &&
                a->strict_tokens == b->strict_tokens && a->away_limits == b->away_limits &&
                a->away_budgets == b->away_budgets;
    for (size_t i = 0; same && i < a->default_count; i++)
        same = is_same_limit(&a->defaults[i], &b->defaults[i]);
    return same;
}

struct directory *roster_set_file(struct roster *roster, const struct roster_file *file)
{
    for (;;) {
        struct directory *before = roster_view(roster), *after;
        if (is_same_manner(&before->declared->file, file)) {
            after = directory_copy(before);
            directory_set_file(after, file);
        } else {
            after = directory_new(file);
            read_again(after, before);
            after->mark = before->mark;
            after->unknown = before->unknown;
        }
        directory_ref(after);
        bool done = put_in_force(roster, before, after, false);
        directory_unref(before);
        if (done) {
            directory_log_aside(after);
            return after;
        }
        directory_unref(after);
    }
}

/* ------------------------------------------------------------------------- begin and end */

void roster_make_word(char word[ROSTER_WORD_BYTES])
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyz234567";
    unsigned char bytes[ROSTER_WORD_BYTES - 1];
    hash_random(bytes, sizeof(bytes));
    for (size_t i = 0; i < sizeof(bytes); i++)
        word[i] = letters[bytes[i] % 32];
    word[sizeof(bytes)] = '\0';
}

enum roster_written roster_write(struct roster *roster, const struct directory *based_on,
                                 const struct roster_change *change)
{
    if (roster->remote)
        return roster_remote_write(roster->remote, based_on, change);
    if (roster->local)
        return roster_local_write(roster->local, based_on, change);
    return ROSTER_AWAY;
}

bool roster_look(struct roster *roster)
{
    if (roster->remote)
        return roster_remote_look(roster->remote);
    return roster->local && roster_local_look(roster->local);
}

static bool open_stores(struct roster *roster, struct fault *fault)
{
    const struct roster_options *options = &roster->options;
    if (options->database) {
        roster->local = roster_local_open(roster, fault);
        if (!roster->local && !options->redis)
            return false;
        if (!roster->local)
            log_line(LOG_WARN, "keys", "what Redis has is not kept for the next start: %s",
                     fault->text);
    }
    if (options->redis) {
        roster->remote = roster_remote_open(roster, fault);
        return roster->remote != NULL;
    }
    if (roster->local)
        roster_local_start(roster->local);
    return true;
}

struct roster *roster_open(const struct roster_options *options, const struct roster_file *file,
                           struct fault *fault)
{
    struct roster *roster = memory_new(sizeof(*roster));
    roster->options = *options;
    pthread_mutex_init(&roster->lock, NULL);
    pthread_mutex_init(&roster->writing, NULL);
    roster->view = directory_new(file);
    roster->view->unknown = options->redis != NULL;
    if (open_stores(roster, fault)) {
        struct directory *view = roster_view(roster);
        directory_log_aside(view);
        directory_unref(view);
        return roster;
    }
    roster_close(roster);
    return NULL;
}

void roster_close(struct roster *roster)
{
    if (roster->remote)
        roster_remote_close(roster->remote);
    if (roster->local)
        roster_local_close(roster->local);
    directory_unref(roster->view);
    pthread_mutex_destroy(&roster->lock);
    pthread_mutex_destroy(&roster->writing);
    memory_free(roster);
}

struct roster_figures roster_figures(struct roster *roster)
{
    struct directory *view = roster_view(roster);
    const struct roster_file *file = &view->declared->file;
    struct roster_figures figures = {
        .tenants = file->tenant_count + view->tenants.count,
        .keys = file->key_count + view->keys.count,
        .version = view->version,
        .up = !roster->remote || roster_remote_is_up(roster->remote),
    };
    directory_unref(view);
    return figures;
}
