/* SPDX-License-Identifier: Apache-2.0 */
/*
 * roster, the operations: lists, one thing, make, change, rotate, revoke (docs/KEYS.md).
 *
 * Each is thought out on one view. What changes something is written on the condition that the
 * store is still there, and else thought out anew.
 */
#include "policy/roster_api.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "gateway/base/clock.h"
#include "gateway/base/quantity.h"

enum {
    SECRET_LETTERS = 40,
    ID_LETTERS = 20,
    SERIAL_LETTERS = 12,
    PREFIX_BYTES = 18, /* "sk-sluice-" and eight letters: to recognise it by */
    OVERLAP_DAYS_MAX = 30,
    TRIES_MAX = 8,
    EXPIRE_LOOKS = 200, /* keys that are looked at with each change */
    EXPIRE_MAX = 4,
};

static const int64_t SECOND = 1000000, HOUR = 3600 * 1000000LL, DAY = 86400 * 1000000LL;

void answer(struct asking *asking, int status, const char *format, ...)
{
    char words[512];
    va_list args;
    va_start(args, format);
    vsnprintf(words, sizeof(words), format, args);
    va_end(args);
    asking->call->status = status;
    buffer_clear(&asking->call->out);
    buffer_append_text(&asking->call->out, text_of(words));
}

/* ------------------------------------------------------------------------------- who may */

bool may_see(const struct asking *asking, struct text name)
{
    struct text only = asking->call->only_tenant;
    if (only.len == 0)
        return true;
    const struct tenant *tenant = directory_find_tenant(asking->view, name);
    for (; tenant; tenant = tenant->parent)
        if (text_equal(tenant->name, only))
            return true;
    return false;
}

struct text owner_of(const struct roster_record *record)
{
    return record->kind == RECORD_TENANT ? record->name : record->owner;
}

/* "TENANT:NAME" of the file; names may have colons in them. */
static const struct key *file_key(const struct asking *asking, struct text id)
{
    for (size_t i = 0; i < id.len; i++) {
        const struct key *key = id.at[i] == ':' ? directory_file_key(asking->view, text_head(id, i),
                                                                     text_from(id, i + 1))
                                                : NULL;
        if (key)
            return key;
    }
    return NULL;
}

static struct roster_record *find_record(const struct asking *asking, struct text id)
{
    size_t colon = text_find_byte(id, ':');
    struct roster_record *record = directory_record(asking->view, asking->kind, id);
    /* Of those that are stored names have no colon. */
    for (; !record && asking->kind == RECORD_KEY && colon != SIZE_MAX && colon < id.len; colon++)
        if (id.at[colon] == ':')
            record = directory_member(asking->view, text_head(id, colon), text_from(id, colon + 1));
    return record;
}

static void answer_none(struct asking *asking, struct text id)
{
    bool is_name = asking->kind == RECORD_KEY && !text_starts(id, TEXT("key_")) &&
                   text_find_byte(id, ':') == SIZE_MAX;
    answer(asking, 404, "There is no %s '%.*s'%s.",
           asking->kind == RECORD_TENANT ? "tenant" : "key", TEXT_ARGS(text_head(id, 100)),
           is_name ? ": keys are called by their id, or TENANT:NAME" : "");
}

/* What the file has under <id>, seen by the caller: one of both, or none. */
static bool find_in_file(const struct asking *asking, struct text id, const struct tenant **tenant,
                         const struct key **key)
{
    *tenant = NULL;
    *key = NULL;
    if (asking->kind == RECORD_TENANT)
        *tenant = directory_file_tenant(asking->view, id);
    else
        *key = file_key(asking, id);
    struct text owner = *tenant ? (*tenant)->name : *key ? (*key)->tenant->name : TEXT("");
    return owner.len && may_see(asking, owner);
}

struct roster_record *find(struct asking *asking, struct text id)
{
    const struct tenant *tenant;
    const struct key *key;
    if (find_in_file(asking, id, &tenant, &key)) {
        answer(asking, 409, "'%.*s' is declared in the file and can be changed only there.",
               TEXT_ARGS(text_head(id, 100)));
        return NULL;
    }
    struct roster_record *record = tenant || key ? NULL : find_record(asking, id);
    if (record && may_see(asking, owner_of(record)))
        return record;
    answer_none(asking, id);
    return NULL;
}

/* ------------------------------------------------------------------------------- looking */

static void show(struct asking *asking, struct text id)
{
    const struct tenant *tenant;
    const struct key *key;
    struct buffer *out = &asking->call->out;
    bool declared = find_in_file(asking, id, &tenant, &key);
    const struct roster_record *record = tenant || key ? NULL : find_record(asking, id);
    asking->call->status = 200;
    if (declared && tenant)
        roster_write_file_tenant(out, asking->view, tenant);
    else if (declared)
        roster_write_file_key(out, asking->view, key);
    else if (record && may_see(asking, owner_of(record)))
        roster_write_record(out, asking->view, record, TEXT(""));
    else
        answer_none(asking, id);
}

/* ------------------------------------------------------------------------------- writing */

static void make_letters(char *out, size_t count)
{
    static const char letters[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    unsigned char bytes[128];
    size_t made = 0;
    while (made < count) {
        hash_random(bytes, sizeof(bytes));
        for (size_t i = 0; i < sizeof(bytes) && made < count; i++)
            if (bytes[i] < 248) /* four times 62: each letter as likely as the others */
                out[made++] = letters[bytes[i] % 62];
    }
    out[count] = '\0';
    memory_wipe(bytes, sizeof(bytes));
}

struct secret {
    char words[16 + SECRET_LETTERS];
    char hex[HEX_BYTES];
};

static void make_secret(struct secret *secret)
{
    char letters[SECRET_LETTERS + 1];
    make_letters(letters, SECRET_LETTERS);
    snprintf(secret->words, sizeof(secret->words), "sk-sluice-%s", letters);
    struct digest digest = hash_sha256(text_of(secret->words));
    hash_hex(&digest, secret->hex);
    memory_wipe(letters, sizeof(letters));
}

/* Write <record> to the store and put it in force; its reference is taken. */
static enum roster_written keep(struct asking *asking, struct roster_record *record, int status,
                                struct text secret)
{
    struct roster_change change = {.kind = record->kind, .id = record->id, .body = record->body};
    enum roster_written written = roster_write(asking->roster, asking->view, &change);
    if (written == ROSTER_WRITTEN) {
        roster_write_record(&asking->call->out, asking->view, record, secret);
        asking->call->status = status;
    }
    roster_record_unref(record);
    return written;
}

/* A record of <body>, which is taken apart; NULL, and the answer says why not. */
static struct roster_record *read_new(struct asking *asking, struct buffer *body)
{
    char problem[256];
    struct roster_record *record = NULL;
    if (buffer_length(body) > ROSTER_BODY_MAX)
        answer(asking, 413, "It would be larger than %d bytes.", ROSTER_BODY_MAX);
    else if (!(record = roster_read(asking->kind, buffer_text(body), &asking->view->declared->file,
                                    problem)))
        answer(asking, 400, "%s", problem);
    buffer_done(body);
    return record;
}

/* Would <record> stand where it may? */
static bool may_stand(struct asking *asking, const struct roster_record *record)
{
    const char *member = record->kind == RECORD_KEY ? "tenant" : "parent";
    const struct tenant *owner = directory_find_tenant(asking->view, record->owner);
    if (record->owner.len == 0 && record->kind == RECORD_KEY)
        answer(asking, 400, "'tenant' must be given.");
    else if (record->owner.len == 0 && asking->call->only_tenant.len)
        answer(asking, 403, "Only tenants below '%.*s' may be made here.",
               TEXT_ARGS(asking->call->only_tenant));
    else if (record->owner.len && !(owner && may_see(asking, record->owner)))
        answer(asking, 400, "'%s': there is no tenant '%.*s'.", member,
               TEXT_ARGS(text_head(record->owner, 100)));
    else if (record->kind == RECORD_TENANT && owner && owner->depth + 1 >= TENANT_DEPTH_MAX)
        answer(asking, 400, "'parent': tenants may be nested %d deep.", TENANT_DEPTH_MAX);
    else
        return true;
    return false;
}

/* Who acts for a tenant hands on what its headers may do, and no more. */
static bool may_hand_on(struct asking *asking, const struct roster_record *record)
{
    const struct tenant *own = directory_find_tenant(asking->view, asking->call->only_tenant);
    unsigned may = own ? (unsigned)own->may_set_tags | (unsigned)own->may_set_policy << 1 |
                             (unsigned)own->may_set_explain << 2
                       : 0;
    if (asking->call->only_tenant.len == 0 || !(record->may_set & ~may))
        return true;
    answer(asking, 403, "'may_set' may not have more than '%.*s' has.",
           TEXT_ARGS(asking->call->only_tenant));
    return false;
}

static bool is_taken(struct asking *asking, const struct roster_record *record)
{
    const struct directory *view = asking->view;
    if (record->kind == RECORD_TENANT) {
        bool taken = directory_file_tenant(view, record->name) ||
                     directory_record(view, RECORD_TENANT, record->name);
        if (taken)
            answer(asking, 409, "There is a tenant '%.*s' already.", TEXT_ARGS(record->name));
        return taken;
    }
    bool taken = directory_file_key(view, record->owner, record->name) ||
                 directory_member(view, record->owner, record->name);
    if (taken)
        answer(asking, 409, "The tenant '%.*s' has a key '%.*s' already.", TEXT_ARGS(record->owner),
               TEXT_ARGS(record->name));
    return taken;
}

static bool is_room(struct asking *asking)
{
    bool room = asking->kind == RECORD_TENANT ? asking->view->tenants.count < ROSTER_TENANTS_MAX
                                              : asking->view->keys.count < ROSTER_KEYS_MAX;
    if (!room)
        answer(asking, 409, "There are too many already.");
    return room;
}

static void put_stamp(struct buffer *out, const char *name, int64_t us)
{
    char stamp[CLOCK_STAMP_BYTES];
    clock_stamp(us, stamp);
    buffer_format(out, ",\"%s\":\"%s\"", name, stamp);
}

/* Our own members of a new key. */
static void put_new_key(struct buffer *body, const struct secret *secret)
{
    char id[ID_LETTERS + 1];
    make_letters(id, ID_LETTERS);
    buffer_format(body, ",\"id\":\"key_%s\",\"hash\":\"%s\",\"prefix\":\"%.*s\"", id, secret->hex,
                  PREFIX_BYTES, secret->words);
}

/* A tenant that is made under the name of one that was deleted is another one: what that one owned
 * and used is not this one's. */
static void put_new_tenant(struct buffer *body)
{
    char serial[SERIAL_LETTERS + 1];
    make_letters(serial, SERIAL_LETTERS);
    buffer_format(body, ",\"serial\":\"%s\"", serial);
}

/* A new key that is over is a slip, mostly of the year. One that is there may be ended so. */
static bool will_open(struct asking *asking, const struct roster_record *record, int64_t wall_us)
{
    if (record->expires_us == 0 || record->expires_us > wall_us)
        return true;
    answer(asking, 400, "'expires_at' is past: the key would never open anything.");
    return false;
}

static enum roster_written make(struct asking *asking, const struct json *given)
{
    struct secret secret = {"", ""};
    struct buffer body;
    int64_t now = clock_wall_us();
    if (!is_room(asking))
        return ROSTER_WRITTEN;
    buffer_init(&body, 4 * ROSTER_BODY_MAX);
    members_begin(&body, NULL, given, NULL);
    if (asking->kind == RECORD_KEY) {
        make_secret(&secret);
        put_new_key(&body, &secret);
    } else {
        put_new_tenant(&body);
    }
    put_stamp(&body, "created_at", now);
    put_stamp(&body, "updated_at", now);
    members_end(&body);
    struct roster_record *record = read_new(asking, &body);
    bool good = record && will_open(asking, record, now) && may_stand(asking, record) &&
                may_hand_on(asking, record) && !is_taken(asking, record) &&
                may_meet(asking, record);
    enum roster_written written = ROSTER_WRITTEN;
    if (good)
        written = keep(asking, record, 201, text_of(secret.words));
    else if (record)
        roster_record_unref(record);
    memory_wipe(&secret, sizeof(secret));
    return written;
}

/* ------------------------------------------------------------------------------ changing */

/* <before> with <changes> (NULL = none), and what stands in <own> in the place of our own members
 * of these names. */
static enum roster_written change(struct asking *asking, const struct roster_record *before,
                                  const struct json *changes, const struct buffer *own,
                                  const char *const *names, struct text secret)
{
    struct json_problem wrong;
    struct buffer body;
    struct json *root = json_read(before->body, &wrong);
    buffer_init(&body, 4 * ROSTER_BODY_MAX);
    members_begin(&body, root, changes, names);
    buffer_append_text(&body, buffer_text(own));
    put_stamp(&body, "updated_at", clock_wall_us());
    members_end(&body);
    json_free(root);
    struct roster_record *record = read_new(asking, &body);
    if (!record)
        return ROSTER_WRITTEN;
    if (may_hand_on(asking, record) && (!changes || may_meet(asking, record)))
        return keep(asking, record, 200, secret);
    roster_record_unref(record);
    return ROSTER_WRITTEN;
}

/* May <changes> be made? What cannot be changed may stand there as it is. */
static bool may_change(struct asking *asking, const struct roster_record *before,
                       const struct json *changes)
{
    const char *owner = before->kind == RECORD_KEY ? "tenant" : "parent";
    const struct {
        const char *name;
        struct text value;
    } fixed[] = {{"name", before->name}, {owner, before->owner}};
    for (size_t i = 0; i < sizeof(fixed) / sizeof(fixed[0]); i++) {
        const struct json *value = json_member(changes, fixed[i].name);
        struct text said = {"", 0};
        bool same = !value || ((json_to_text(value, &said) || json_kind(value) == SCAN_NULL) &&
                               text_equal(said, fixed[i].value));
        if (!same) {
            answer(asking, 400, "'%s' cannot be changed.", fixed[i].name);
            return false;
        }
    }
    if (before->kind == RECORD_KEY && before->revoked_us)
        answer(asking, 409, "The key is revoked.");
    else if (before->kind == RECORD_TENANT && text_equal(asking->call->only_tenant, before->name))
        answer(asking, 403, "A tenant cannot change what it is allowed itself.");
    else
        return true;
    return false;
}

static enum roster_written patch(struct asking *asking, struct text id, const struct json *changes)
{
    static const char *const ours[] = {"updated_at", NULL};
    const struct roster_record *before = find(asking, id);
    struct buffer none;
    if (!before || !may_change(asking, before, changes))
        return ROSTER_WRITTEN;
    buffer_init(&none, 0);
    return change(asking, before, changes, &none, ours, TEXT(""));
}

/* How long the old secret lives on; false, and the answer says why. */
static bool read_overlap(struct asking *asking, const struct json *body, int64_t *us)
{
    static const char *const names[] = {"overlap", NULL};
    const struct json *value = json_member(body, names[0]);
    struct text words;
    *us = 24 * HOUR;
    if (json_kind(body) != SCAN_OBJECT || json_count(body) != (value ? 1 : 0))
        answer(asking, 400, "The body must be an object with 'overlap', or nothing.");
    else if (value && json_kind(value) != SCAN_NULL &&
             !(json_to_text(value, &words) && duration_read(words, us) &&
               *us <= OVERLAP_DAYS_MAX * DAY))
        answer(asking, 400, "'overlap' must be a duration such as \"24h\", at most %dd.",
               OVERLAP_DAYS_MAX);
    else
        return true;
    return false;
}

static enum roster_written rotate(struct asking *asking, struct text id, const struct json *body)
{
    static const char *const ours[] = {
        "hash", "old_hash", "overlap_until", "prefix", "rotated_at", "updated_at", NULL};
    const struct roster_record *before = find(asking, id);
    int64_t overlap_us, now = clock_wall_us();
    if (!before || !read_overlap(asking, body, &overlap_us))
        return ROSTER_WRITTEN;
    if (before->revoked_us) {
        answer(asking, 409, "The key is revoked.");
        return ROSTER_WRITTEN;
    }
    struct secret secret = {"", ""};
    struct buffer own;
    char old[HEX_BYTES];
    make_secret(&secret);
    buffer_init(&own, 4096);
    buffer_format(&own, ",\"hash\":\"%s\",\"prefix\":\"%.*s\"", secret.hex, PREFIX_BYTES,
                  secret.words);
    put_stamp(&own, "rotated_at", now);
    if (overlap_us) {
        hash_hex(&before->digest, old);
        buffer_format(&own, ",\"old_hash\":\"%s\"", old);
        put_stamp(&own, "overlap_until", now + overlap_us);
    }
    enum roster_written written = change(asking, before, NULL, &own, ours, text_of(secret.words));
    memory_wipe(&secret, sizeof(secret));
    buffer_done(&own);
    return written;
}

/* For ever, and at once. It stays in lists for a while, so that who looks finds what became of it.
 */
static enum roster_written revoke(struct asking *asking, struct text id)
{
    static const char *const ours[] = {"revoked_at", "updated_at", "old_hash", "overlap_until",
                                       NULL};
    const struct roster_record *before = find(asking, id);
    struct buffer own;
    if (!before)
        return ROSTER_WRITTEN;
    if (before->revoked_us) {
        roster_write_record(&asking->call->out, asking->view, before, TEXT(""));
        asking->call->status = 200;
        return ROSTER_WRITTEN;
    }
    buffer_init(&own, 256);
    put_stamp(&own, "revoked_at", clock_wall_us());
    enum roster_written written = change(asking, before, NULL, &own, ours, TEXT(""));
    buffer_done(&own);
    return written;
}

static enum roster_written drop_tenant(struct asking *asking, struct text id)
{
    const struct roster_record *before = find(asking, id);
    const struct roster_record *member =
        before ? directory_any_member(asking->view, before->name) : NULL;
    if (!before)
        return ROSTER_WRITTEN;
    if (text_equal(asking->call->only_tenant, before->name)) {
        answer(asking, 403, "A tenant cannot delete itself.");
        return ROSTER_WRITTEN;
    }
    if (member) {
        answer(asking, 409, "The tenant is not empty: it has the %s '%.*s'.",
               member->kind == RECORD_KEY ? "key" : "tenant", TEXT_ARGS(member->name));
        return ROSTER_WRITTEN;
    }
    struct roster_change change = {.kind = RECORD_TENANT, .id = before->name};
    enum roster_written written = roster_write(asking->roster, asking->view, &change);
    if (written == ROSTER_WRITTEN) {
        buffer_append_text(&asking->call->out, TEXT("{\"deleted\":true}"));
        asking->call->status = 200;
    }
    return written;
}

/* ---------------------------------------------------------------------------------- routes */

enum method {
    METHOD_NONE,
    METHOD_LIST,
    METHOD_SHOW,
    METHOD_MAKE,
    METHOD_PATCH,
    METHOD_DROP,
    METHOD_ROTATE
};

static enum method method_of(const struct asking *asking, struct text id, struct text action)
{
    const char *name = asking->call->method;
    if (action.len)
        return asking->kind == RECORD_KEY && text_equal(action, TEXT("rotate")) &&
                       strcmp(name, "POST") == 0
                   ? METHOD_ROTATE
                   : METHOD_NONE;
    if (strcmp(name, "GET") == 0)
        return id.len ? METHOD_SHOW : METHOD_LIST;
    if (strcmp(name, "POST") == 0)
        return id.len ? METHOD_NONE : METHOD_MAKE;
    if (strcmp(name, "PATCH") == 0)
        return id.len ? METHOD_PATCH : METHOD_NONE;
    return id.len && strcmp(name, "DELETE") == 0 ? METHOD_DROP : METHOD_NONE;
}

/* The body of the call as a tree; NULL, and the answer says why. An absent one is empty. */
static struct json *read_body(struct asking *asking, enum method method)
{
    struct json_problem wrong;
    char problem[256];
    struct text body = asking->call->body.len ? asking->call->body : TEXT("{}");
    if (body.len > ROSTER_BODY_MAX) {
        answer(asking, 413, "The body is larger than %d bytes.", ROSTER_BODY_MAX);
        return NULL;
    }
    struct json *root = json_read(body, &wrong);
    if (!root)
        answer(asking, 400, "The body is not valid JSON: %s, line %zu, column %zu.", wrong.what,
               wrong.line, wrong.column);
    bool shaped = method == METHOD_MAKE || method == METHOD_PATCH;
    if (root && shaped &&
        !roster_read_allows(asking->kind, root, method == METHOD_PATCH, problem)) {
        answer(asking, 400, "%s", problem);
        json_free(root);
        root = NULL;
    }
    return root;
}

static enum roster_written act(struct asking *asking, enum method method, struct text id,
                               const struct json *body)
{
    switch (method) {
    case METHOD_MAKE:
        return make(asking, body);
    case METHOD_PATCH:
        return patch(asking, id, body);
    case METHOD_ROTATE:
        return rotate(asking, id, body);
    case METHOD_DROP:
        return asking->kind == RECORD_KEY ? revoke(asking, id) : drop_tenant(asking, id);
    case METHOD_NONE:
    case METHOD_LIST:
    case METHOD_SHOW:
        break;
    }
    answer(asking, 405, "That cannot be done here.");
    return ROSTER_WRITTEN;
}

/* With each change a few keys are looked at, one after the other: what was revoked long ago goes.
 */
static void expire(struct roster *roster)
{
    int64_t before_us = clock_wall_us() - ROSTER_REVOKED_DAYS * DAY;
    struct directory *view = roster_view(roster);
    const struct roster_record *record = NULL;
    struct text from = text_of(roster->expired_to);
    struct roster_change gone[EXPIRE_MAX];
    size_t count = 0;
    for (int i = 0; i < EXPIRE_LOOKS && count < EXPIRE_MAX; i++) {
        record = directory_next(view, RECORD_KEY, record ? record->id : from);
        if (!record)
            break;
        if (record->revoked_us && record->revoked_us < before_us)
            gone[count++] = (struct roster_change){.kind = RECORD_KEY, .id = record->id};
    }
    snprintf(roster->expired_to, sizeof(roster->expired_to), "%.*s",
             TEXT_ARGS(record ? record->id : TEXT("")));
    for (size_t i = 0; i < count; i++) {
        struct directory *now = roster_view(roster);
        roster_write(roster, now, &gone[i]);
        directory_unref(now);
    }
    directory_unref(view);
}

static void answer_unwritten(struct asking *asking, enum roster_written written)
{
    if (written == ROSTER_AWAY)
        answer(asking, 503, "The store cannot be written to now; nothing was changed.");
    else if (written == ROSTER_UNKNOWN)
        answer(asking, 503, "The store does not answer; it is not known whether this was done.");
    else
        answer(asking, 503, "The store is being changed by others all the time; try again.");
}

static void change_something(struct asking *asking, enum method method, struct text id)
{
    struct roster *roster = asking->roster;
    struct json *body = read_body(asking, method);
    enum roster_written written = ROSTER_STALE;
    for (int i = 0; body && i < TRIES_MAX && written == ROSTER_STALE; i++) {
        /* With others about, what was just done elsewhere shall count, also for a refusal. */
        if ((i > 0 || roster->remote) && !roster_look(roster)) {
            written = ROSTER_AWAY;
            break;
        }
        buffer_clear(&asking->call->out);
        asking->view = roster_view(roster);
        written = act(asking, method, id, body);
        directory_unref(asking->view);
    }
    if (body && written != ROSTER_WRITTEN)
        answer_unwritten(asking, written);
    else if (body && asking->call->status / 100 == 2)
        expire(roster);
    json_free(body);
}

static void change_in_turn(struct asking *asking, enum method method, struct text id)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += ROSTER_ASK_US / SECOND;
    if (pthread_mutex_timedlock(&asking->roster->writing, &until) != 0) {
        answer(asking, 503, "The store cannot be written to now; nothing was changed.");
        return;
    }
    change_something(asking, method, id);
    pthread_mutex_unlock(&asking->roster->writing);
}

void roster_ask(struct roster *roster, struct roster_call *call)
{
    struct asking asking = {.roster = roster, .call = call};
    struct text rest = call->path, what = {"", 0}, id = {"", 0}, action = {"", 0};
    char room[DECODED_BYTES];
    text_next(&rest, '/', &what);
    text_next(&rest, '/', &id);
    text_next(&rest, '/', &action);
    id = decode(id, false, room);
    asking.kind = text_equal(what, TEXT("keys")) ? RECORD_KEY : RECORD_TENANT;
    enum method method = method_of(&asking, id, action);
    call->status = 500;
    if ((asking.kind == RECORD_TENANT && !text_equal(what, TEXT("tenants"))) || rest.len ||
        id.len > 2 * ROSTER_NAME_MAX + 1 || (action.len && method == METHOD_NONE)) {
        answer(&asking, 404, "There is no such path.");
    } else if (method == METHOD_LIST || method == METHOD_SHOW) {
        asking.view = roster_view(roster);
        if (method == METHOD_LIST)
            list(&asking);
        else
            show(&asking, id);
        directory_unref(asking.view);
    } else {
        change_in_turn(&asking, method, id);
    }
}
