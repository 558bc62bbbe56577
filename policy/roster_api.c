/* SPDX-License-Identifier: Apache-2.0 */
/*
 * roster, the operations: lists, one thing, make, change, rotate, revoke (docs/KEYS.md).
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/base/clock.h"
#include "gateway/base/hash.h"
#include "policy/roster_inside.h"

#define SECOND INT64_C(1000000)

enum {
    PAGE = 100,
    PAGE_MAX = 500,
    SECRET_LETTERS = 40,
    ID_LETTERS = 20,
    PREFIX_BYTES = 14, /* "sk-sluice-" and four letters: to recognise it by */
    DEPTH_MAX = 24,
    OVERLAP_DAYS_MAX = 30,
    REVOKED_KEPT_DAYS = 30,
    DECODED_BYTES = 2 * ROSTER_NAME_MAX + 64, /* an id without its escapes */
};

static void answer(struct roster_call *call, int status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Words of a problem. */
static void answer(struct roster_call *call, int status, const char *format, ...)
{
    char words[512];
    va_list args;
    va_start(args, format);
    vsnprintf(words, sizeof(words), format, args);
    va_end(args);
    call->status = status;
    buffer_clear(&call->out);
    buffer_append_text(&call->out, text_of(words));
}

/* ------------------------------------------------------------------------------- JSON out */

static void put(struct buffer *out, struct text t)
{
    buffer_append_text(out, t);
}

/* A value as it was read, on one line. */
static void put_value(struct buffer *out, const struct json *value, int depth)
{
    struct text text;
    int64_t number;
    double real;
    bool flag;
    void *at = NULL;
    const struct json *member;
    if (depth > DEPTH_MAX || !value) {
        put(out, TEXT("null"));
    } else if (json_to_text(value, &text)) {
        json_write_string(out, text);
    } else if (json_to_int(value, INT64_MIN, INT64_MAX, &number)) {
        buffer_format(out, "%lld", (long long)number);
    } else if (json_to_number(value, &real)) {
        buffer_format(out, "%.15g", real);
    } else if (json_to_bool(value, &flag)) {
        put(out, flag ? TEXT("true") : TEXT("false"));
    } else if (json_kind(value) == SCAN_ARRAY) {
        put(out, TEXT("["));
        for (size_t i = 0; i < json_count(value); i++) {
            put(out, i ? TEXT(",") : TEXT(""));
            put_value(out, json_item(value, i), depth + 1);
        }
        put(out, TEXT("]"));
    } else if (json_kind(value) == SCAN_OBJECT) {
        const char *between = "{";
        while (json_next(value, &at, &text, &member)) {
            put(out, text_of(between));
            json_write_key(out, text);
            put_value(out, member, depth + 1);
            between = ",";
        }
        put(out, between[0] == '{' ? TEXT("{}") : TEXT("}"));
    } else {
        put(out, TEXT("null"));
    }
}

static bool is_hidden(struct text name)
{
    return text_equal(name, TEXT("hash")) || text_equal(name, TEXT("old_hash"));
}

/* What the store has, without the digests, and with where it comes from. */
static void put_record(struct buffer *out, const struct roster_record *record, struct text secret)
{
    struct json_problem wrong;
    struct json *root = json_read(record->body, &wrong);
    void *at = NULL;
    struct text name;
    const struct json *value;
    put(out, TEXT("{"));
    while (root && json_next(root, &at, &name, &value)) {
        if (is_hidden(name))
            continue;
        json_write_key(out, name);
        put_value(out, value, 0);
        put(out, TEXT(","));
    }
    json_free(root);
    if (secret.len) {
        put(out, TEXT("\"secret\":"));
        json_write_string(out, secret);
        put(out, TEXT(","));
    }
    put(out, TEXT("\"origin\":\"api\"}"));
}

static void put_texts(struct buffer *out, const char *name, const struct text *texts, size_t count)
{
    buffer_format(out, ",\"%s\":[", name);
    for (size_t i = 0; i < count; i++) {
        put(out, i ? TEXT(",") : TEXT(""));
        json_write_string(out, texts[i]);
    }
    put(out, TEXT("]"));
}

/* Limits of the file, as flat names: what is in force, for those who look. */
static void put_limits(struct buffer *out, const struct limit_list *list)
{
    const char *between = "";
    put(out, TEXT(",\"limits\":{"));
    for (size_t i = 0; i < list->count; i++) {
        char name[48];
        limit_name_write(&list->at[i], name);
        buffer_format(out, "%s\"%s%s%.*s\":%lld", between, name, list->at[i].model.len ? ":" : "",
                      TEXT_ARGS(list->at[i].model), (long long)list->at[i].amount);
        between = ",";
    }
    put(out, TEXT("}"));
}

static void put_file_key(struct buffer *out, const struct key *key)
{
    put(out, TEXT("{\"id\":"));
    char id[2 * ROSTER_NAME_MAX + 2];
    snprintf(id, sizeof(id), "%.*s:%.*s", TEXT_ARGS(key->tenant->name), TEXT_ARGS(key->name));
    json_write_string(out, text_of(id));
    put(out, TEXT(",\"name\":"));
    json_write_string(out, key->name);
    put(out, TEXT(",\"tenant\":"));
    json_write_string(out, key->tenant->name);
    put_texts(out, "models", key->models, key->model_count);
    put_limits(out, &key->limits);
    if (key->expires_us) {
        char stamp[CLOCK_STAMP_BYTES];
        clock_stamp(key->expires_us, stamp);
        buffer_format(out, ",\"expires_at\":\"%s\"", stamp);
    }
    put(out, TEXT(",\"origin\":\"file\"}"));
}

static void put_file_tenant(struct buffer *out, const struct tenant *tenant)
{
    put(out, TEXT("{\"name\":"));
    json_write_string(out, tenant->name);
    if (tenant->parent) {
        put(out, TEXT(",\"parent\":"));
        json_write_string(out, tenant->parent->name);
    }
    put_texts(out, "models", tenant->models, tenant->model_count);
    put_limits(out, &tenant->limits);
    put(out, TEXT(",\"origin\":\"file\"}"));
}

/* ------------------------------------------------------------------------------- who may */

/* Is <name> the tenant of the caller, or below it? */
static bool may_see(struct roster *roster, const struct roster_call *call, struct text name)
{
    if (call->only_tenant.len == 0)
        return true;
    const struct tenant *tenant = directory_find_tenant(roster->view, name);
    for (; tenant; tenant = tenant->parent)
        if (text_equal(tenant->name, call->only_tenant))
            return true;
    return false;
}

static bool is_of_file(const struct roster *roster, struct text tenant)
{
    for (size_t i = 0; i < roster->file.tenant_count; i++)
        if (text_equal(roster->file.tenants[i].name, tenant))
            return true;
    return false;
}

/* The tenant of what the file declares under <id>; empty when it declares no such thing. */
static struct text owner_in_file(const struct roster *roster, enum record_of kind, struct text id)
{
    if (kind == RECORD_TENANT)
        return is_of_file(roster, id) ? id : TEXT("");
    for (size_t i = 0; i < roster->file.key_count; i++) {
        struct text tenant = roster->file.keys[i].tenant->name, name = roster->file.keys[i].name;
        if (id.len == tenant.len + 1 + name.len && text_starts(id, tenant) &&
            id.at[tenant.len] == ':' && text_ends(id, name))
            return tenant;
    }
    return TEXT("");
}

static struct text owner_of(const struct roster_record *record)
{
    return record->kind == RECORD_TENANT ? record->name : record->owner;
}

/* The record that the path names, seen by the caller; else the answer says why not. */
static struct roster_record *find(struct roster *roster, struct roster_call *call,
                                  enum record_of kind, struct text id)
{
    struct roster_record *record = roster_find(roster, kind, id);
    if (record && may_see(roster, call, owner_of(record)))
        return record;
    struct text owner = owner_in_file(roster, kind, id);
    /* Whether there is one in the file is not for other tenants to know. */
    if (owner.len > 0 && may_see(roster, call, owner))
        answer(call, 409, "'%.*s' is declared in the file and can be changed only there.",
               TEXT_ARGS(text_head(id, 100)));
    else
        answer(call, 404, "There is no %s '%.*s'.", kind == RECORD_TENANT ? "tenant" : "key",
               TEXT_ARGS(text_head(id, 100)));
    return NULL;
}

/* --------------------------------------------------------------------------------- lists */

struct listed {
    struct text id; /* the order of the list */
    const struct roster_record *record;
    const struct key *key; /* of the file */
    const struct tenant *tenant;
};

static int by_id(const void *a, const void *b)
{
    struct text one = ((const struct listed *)a)->id, other = ((const struct listed *)b)->id;
    size_t len = one.len < other.len ? one.len : other.len;
    int order = memcmp(one.at, other.at, len);
    return order ? order : (one.len > other.len) - (one.len < other.len);
}

struct listing {
    struct listed *at;
    size_t count;
    struct arena arena;
};

static void list_file(struct roster *roster, struct listing *listing, enum record_of kind)
{
    if (kind == RECORD_TENANT) {
        for (size_t i = 0; i < roster->file.tenant_count; i++)
            listing->at[listing->count++] =
                (struct listed){roster->file.tenants[i].name, NULL, NULL, &roster->file.tenants[i]};
        return;
    }
    for (size_t i = 0; i < roster->file.key_count; i++) {
        const struct key *key = &roster->file.keys[i];
        struct text id = arena_format(&listing->arena, "%.*s:%.*s", TEXT_ARGS(key->tenant->name),
                                      TEXT_ARGS(key->name));
        listing->at[listing->count++] = (struct listed){id, NULL, key, key->tenant};
    }
}

static void list_all(struct roster *roster, struct listing *listing, enum record_of kind)
{
    size_t most = roster->file.key_count + roster->file.tenant_count + roster->count;
    listing->at = memory_new((most + 1) * sizeof(*listing->at));
    list_file(roster, listing, kind);
    for (size_t i = 0; i < roster->count; i++)
        if (roster->records[i]->kind == kind)
            listing->at[listing->count++] =
                (struct listed){roster->records[i]->id, roster->records[i], NULL, NULL};
    qsort(listing->at, listing->count, sizeof(*listing->at), by_id);
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* What <raw> says without its escapes, in <room>; what is longer, or no escape, stays as it is and
 * so is the name of nothing. */
static struct text decode(struct text raw, bool of_query, char room[DECODED_BYTES])
{
    size_t len = 0;
    for (size_t i = 0; i < raw.len && len < DECODED_BYTES; i++) {
        char c = raw.at[i];
        if (c == '%' && i + 2 < raw.len && hex_digit(raw.at[i + 1]) >= 0 &&
            hex_digit(raw.at[i + 2]) >= 0) {
            c = (char)(hex_digit(raw.at[i + 1]) << 4 | hex_digit(raw.at[i + 2]));
            i += 2;
        } else if (c == '+' && of_query) {
            c = ' ';
        }
        room[len++] = c;
    }
    return (struct text){room, len};
}

/* The value of a query's member, in <room>; empty when there is none. */
static struct text query_value(struct text query, const char *name, char room[DECODED_BYTES])
{
    struct text rest = query, item;
    while (text_next(&rest, '&', &item)) {
        size_t equal = text_find_byte(item, '=');
        if (equal != SIZE_MAX && text_equal(text_head(item, equal), text_of(name)))
            return decode(text_from(item, equal + 1), true, room);
    }
    return (struct text){"", 0};
}

static struct text tenant_of(const struct listed *listed)
{
    return listed->record ? owner_of(listed->record) : listed->tenant->name;
}

static void put_listed(struct buffer *out, const struct listed *listed)
{
    if (listed->record)
        put_record(out, listed->record, (struct text){"", 0});
    else if (listed->key)
        put_file_key(out, listed->key);
    else
        put_file_tenant(out, listed->tenant);
}

static void list(struct roster *roster, struct roster_call *call, enum record_of kind)
{
    struct listing listing = {.count = 0};
    char rooms[3][DECODED_BYTES];
    struct text after = query_value(call->query, "after", rooms[0]);
    struct text tenant = query_value(call->query, "tenant", rooms[1]);
    struct text words = query_value(call->query, "limit", rooms[2]);
    uint64_t limit = PAGE;
    if (words.len && (!text_number(words, PAGE_MAX, &limit) || limit < 1)) {
        answer(call, 400, "'limit' is from 1 to %d.", PAGE_MAX);
        return;
    }
    arena_init(&listing.arena, 4096);
    list_all(roster, &listing, kind);
    const struct listed *last = NULL;
    uint64_t shown = 0;
    bool more = false;
    put(&call->out, TEXT("{\"data\":["));
    for (size_t i = 0; i < listing.count && !more; i++) {
        const struct listed *one = &listing.at[i];
        struct listed from = {.id = after};
        if ((after.len && by_id(one, &from) <= 0) || !may_see(roster, call, tenant_of(one)) ||
            (tenant.len && !text_equal(tenant, tenant_of(one))))
            continue;
        more = shown == limit;
        if (more)
            break;
        put(&call->out, shown++ ? TEXT(",") : TEXT(""));
        put_listed(&call->out, one);
        last = one;
    }
    put(&call->out, TEXT("],\"next\":"));
    if (more && last)
        json_write_string(&call->out, last->id);
    else
        put(&call->out, TEXT("null"));
    put(&call->out, TEXT("}"));
    call->status = 200;
    memory_free(listing.at);
    arena_done(&listing.arena);
}

static void show(struct roster *roster, struct roster_call *call, enum record_of kind,
                 struct text id)
{
    struct listing listing = {.count = 0};
    arena_init(&listing.arena, 4096);
    list_all(roster, &listing, kind);
    struct listed wanted = {.id = id};
    const struct listed *found =
        bsearch(&wanted, listing.at, listing.count, sizeof(*listing.at), by_id);
    if (found && may_see(roster, call, tenant_of(found))) {
        put_listed(&call->out, found);
        call->status = 200;
    } else {
        answer(call, 404, "There is no %s '%.*s'.", kind == RECORD_TENANT ? "tenant" : "key",
               TEXT_ARGS(text_head(id, 100)));
    }
    memory_free(listing.at);
    arena_done(&listing.arena);
}

/* ------------------------------------------------------------------------------- writing */

/* A new body: the members of <before> that <changes> does not name, those of <changes> that are not
 * null, and then <more> (JSON members with a comma in front, or nothing), which win. */
static void put_merged(struct buffer *out, const struct json *before, const struct json *changes,
                       const char *const *ours, struct text more)
{
    const struct json *const parts[] = {changes, before};
    const char *between = "{";
    for (int part = 0; part < 2; part++) {
        void *at = NULL;
        struct text name;
        const struct json *value;
        while (json_next(parts[part], &at, &name, &value)) {
            char known[64];
            bool is_ours = false;
            snprintf(known, sizeof(known), "%.*s", TEXT_ARGS(name));
            for (size_t i = 0; ours[i]; i++)
                is_ours = is_ours || strcmp(known, ours[i]) == 0;
            if (is_ours || json_kind(value) == SCAN_NULL ||
                (part == 1 && json_member(changes, known)))
                continue;
            put(out, text_of(between));
            json_write_key(out, name);
            put_value(out, value, 0);
            between = ",";
        }
    }
    put(out, between[0] == '{' ? TEXT("{\"_\":null") : TEXT(""));
    put(out, more);
    put(out, TEXT("}"));
}

/* Write <record> to the store and put it in force; its reference is taken. */
static void keep(struct roster *roster, struct roster_call *call, struct roster_record *record,
                 uint64_t known, int status, struct text secret)
{
    switch (roster_write(roster, record->kind, record->id, record, known)) {
    case ROSTER_WRITTEN:
        record->version = known + 1;
        put_record(&call->out, record, secret);
        call->status = status;
        roster_apply(roster, record);
        roster_renew(roster);
        return;
    case ROSTER_STALE:
        answer(call, 409, "It was changed by somebody else at the same time; read it again.");
        break;
    case ROSTER_AWAY:
        answer(call, 503, "The store cannot be written to now.");
        break;
    }
    roster_record_unref(record);
}

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

/* Does a key of this name live in this tenant? */
static bool key_is_taken(const struct roster *roster, struct text tenant, struct text name)
{
    for (size_t i = 0; i < roster->file.key_count; i++)
        if (text_equal(roster->file.keys[i].tenant->name, tenant) &&
            text_equal(roster->file.keys[i].name, name))
            return true;
    for (size_t i = 0; i < roster->count; i++) {
        const struct roster_record *record = roster->records[i];
        if (record->kind == RECORD_KEY && !record->revoked_us &&
            text_equal(record->owner, tenant) && text_equal(record->name, name))
            return true;
    }
    return false;
}

/* Would <record> stand where it may? */
static bool may_stand(struct roster *roster, struct roster_call *call,
                      const struct roster_record *record)
{
    const struct tenant *owner = directory_find_tenant(roster->view, record->owner);
    if (record->owner.len == 0 && record->kind == RECORD_KEY) {
        answer(call, 400, "'tenant' must be given.");
        return false;
    }
    if (record->owner.len && !(owner && may_see(roster, call, record->owner))) {
        answer(call, 400, "There is no tenant '%.*s'.", TEXT_ARGS(text_head(record->owner, 100)));
        return false;
    }
    if (record->kind == RECORD_KEY)
        return true;
    if (record->owner.len == 0 && call->only_tenant.len) {
        answer(call, 403, "Only tenants below '%.*s' may be made here.",
               TEXT_ARGS(call->only_tenant));
        return false;
    }
    unsigned depth = owner ? owner->depth + 1 : 0;
    for (; owner; owner = owner->parent)
        if (text_equal(owner->name, record->name)) {
            answer(call, 409, "A tenant cannot be below itself.");
            return false;
        }
    if (depth >= TENANT_DEPTH_MAX)
        answer(call, 400, "Tenants may be nested %d deep.", TENANT_DEPTH_MAX);
    return depth < TENANT_DEPTH_MAX;
}

static bool is_room(struct roster *roster, struct roster_call *call, enum record_of kind)
{
    bool room = kind == RECORD_TENANT ? roster->tenants < ROSTER_TENANTS_MAX
                                      : roster->keys < ROSTER_KEYS_MAX;
    if (!room)
        answer(call, 409, "There are too many already.");
    return room;
}

/* The body of the call as a tree; NULL, and the answer says why. An absent one is empty. */
static struct json *read_body(struct roster_call *call)
{
    struct json_problem wrong;
    struct text body = call->body.len ? call->body : TEXT("{}");
    if (body.len > ROSTER_BODY_MAX) {
        answer(call, 413, "The body is larger than %d bytes.", ROSTER_BODY_MAX);
        return NULL;
    }
    struct json *root = json_read(body, &wrong);
    if (!root)
        answer(call, 400, "The body is not valid JSON: %s, line %zu, column %zu.", wrong.what,
               wrong.line, wrong.column);
    return root;
}

static struct roster_record *read_merged(struct roster *roster, struct roster_call *call,
                                         enum record_of kind, const struct json *before,
                                         const struct json *changes, struct text more)
{
    static const char *const ours[] = {
        "id",         "hash",       "old_hash",      "prefix", "created_at", "updated_at",
        "rotated_at", "revoked_at", "overlap_until", "_",      NULL};
    static const char *const none[] = {"_", NULL};
    struct buffer body;
    char problem[256];
    buffer_init(&body, 2 * ROSTER_BODY_MAX);
    /* Of our own members only those stay that <more> does not bring. */
    put_merged(&body, before, changes, more.len ? ours : none, more);
    struct roster_record *record = roster_read(kind, buffer_text(&body), &roster->file, problem);
    buffer_done(&body);
    if (!record)
        answer(call, 400, "%s", problem);
    return record;
}

static void stamp_now(char stamp[CLOCK_STAMP_BYTES])
{
    clock_stamp(clock_wall_us(), stamp);
}

static void make_tenant(struct roster *roster, struct roster_call *call, const struct json *body)
{
    char stamp[CLOCK_STAMP_BYTES], more[128];
    stamp_now(stamp);
    snprintf(more, sizeof(more), ",\"created_at\":\"%s\",\"updated_at\":\"%s\"", stamp, stamp);
    struct roster_record *record =
        read_merged(roster, call, RECORD_TENANT, NULL, body, text_of(more));
    if (!record)
        return;
    bool taken = directory_find_tenant(roster->view, record->name) ||
                 roster_find(roster, RECORD_TENANT, record->name);
    if (taken)
        answer(call, 409, "There is a tenant '%.*s' already.", TEXT_ARGS(record->name));
    if (taken || !may_stand(roster, call, record)) {
        roster_record_unref(record);
        return;
    }
    keep(roster, call, record, 0, 201, (struct text){"", 0});
}

static void make_key(struct roster *roster, struct roster_call *call, const struct json *body)
{
    struct secret secret;
    char stamp[CLOCK_STAMP_BYTES], id[ID_LETTERS + 1], more[512];
    make_secret(&secret);
    make_letters(id, ID_LETTERS);
    stamp_now(stamp);
    snprintf(more, sizeof(more),
             ",\"id\":\"key_%s\",\"hash\":\"%s\",\"prefix\":\"%.*s\",\"created_at\":\"%s\","
             "\"updated_at\":\"%s\"",
             id, secret.hex, PREFIX_BYTES, secret.words, stamp, stamp);
    struct roster_record *record = read_merged(roster, call, RECORD_KEY, NULL, body, text_of(more));
    bool good = record && may_stand(roster, call, record);
    if (good && key_is_taken(roster, record->owner, record->name)) {
        answer(call, 409, "The tenant '%.*s' has a key '%.*s' already.", TEXT_ARGS(record->owner),
               TEXT_ARGS(record->name));
        good = false;
    }
    if (good)
        keep(roster, call, record, 0, 201, text_of(secret.words));
    else if (record)
        roster_record_unref(record);
    memory_wipe(&secret, sizeof(secret));
}

static void make(struct roster *roster, struct roster_call *call, enum record_of kind)
{
    char problem[256];
    struct json *body = read_body(call);
    if (!body)
        return;
    if (json_kind(body) != SCAN_OBJECT || !roster_read_allows(kind, body, problem))
        answer(call, 400, "%s",
               json_kind(body) == SCAN_OBJECT ? problem : "The body must be an object.");
    else if (is_room(roster, call, kind))
        (kind == RECORD_TENANT ? make_tenant : make_key)(roster, call, body);
    json_free(body);
}

/* Our own members as they are, but for those in <more>. */
static struct text own_members(struct buffer *out, const struct json *before, struct text more)
{
    static const char *const names[] = {"id",         "hash",       "old_hash",   "prefix",
                                        "created_at", "rotated_at", "revoked_at", "overlap_until"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        const struct json *value = json_member(before, names[i]);
        char quoted[32];
        snprintf(quoted, sizeof(quoted), "\"%s\"", names[i]);
        if (!value || text_find(more, text_of(quoted)) != SIZE_MAX)
            continue;
        buffer_format(out, ",\"%s\":", names[i]);
        put_value(out, value, 0);
    }
    put(out, more);
    return buffer_text(out);
}

/* Change <before> by <changes> and our own members <more>, and keep it. */
static void change(struct roster *roster, struct roster_call *call,
                   const struct roster_record *before, const struct json *changes, struct text more,
                   struct text secret)
{
    struct json_problem wrong;
    struct buffer own;
    struct json *root = json_read(before->body, &wrong);
    buffer_init(&own, ROSTER_BODY_MAX);
    struct text members = own_members(&own, root, more);
    struct roster_record *record = read_merged(roster, call, before->kind, root, changes, members);
    bool good = record && may_stand(roster, call, record);
    if (good && (!text_equal(record->id, before->id) || !text_equal(record->name, before->name) ||
                 (record->kind == RECORD_KEY && !text_equal(record->owner, before->owner)))) {
        answer(call, 400, "A name cannot be changed, nor the tenant of a key.");
        good = false;
    }
    if (good)
        keep(roster, call, record, before->version, 200, secret);
    else if (record)
        roster_record_unref(record);
    json_free(root);
    buffer_done(&own);
}

static void patch(struct roster *roster, struct roster_call *call, enum record_of kind,
                  struct text id)
{
    char stamp[CLOCK_STAMP_BYTES], more[64], problem[256];
    struct roster_record *before = find(roster, call, kind, id);
    struct json *body = before ? read_body(call) : NULL;
    if (!body)
        return;
    stamp_now(stamp);
    snprintf(more, sizeof(more), ",\"updated_at\":\"%s\"", stamp);
    if (json_kind(body) != SCAN_OBJECT || !roster_read_allows(kind, body, problem))
        answer(call, 400, "%s",
               json_kind(body) == SCAN_OBJECT ? problem : "The body must be an object.");
    else if (kind == RECORD_KEY && before->revoked_us)
        answer(call, 409, "The key is revoked.");
    else if (kind == RECORD_TENANT && text_equal(call->only_tenant, id))
        answer(call, 403, "A tenant cannot change what it is allowed itself.");
    else
        change(roster, call, before, body, text_of(more), (struct text){"", 0});
    json_free(body);
}

/* How long the secret before stays good; negative when it does not say that. */
static int64_t read_overlap(const struct json *given)
{
    int64_t overlap_us = 24 * 3600 * SECOND;
    struct text words;
    if (!given)
        return overlap_us;
    if (!json_to_text(given, &words))
        return -1;
    if (text_equal(words, TEXT("0")) || text_equal(words, TEXT("0s")))
        return 0;
    return roster_read_duration(words, &overlap_us) ? overlap_us : -1;
}

static void rotate(struct roster *roster, struct roster_call *call, struct text id)
{
    struct roster_record *before = find(roster, call, RECORD_KEY, id);
    struct json *body = before ? read_body(call) : NULL;
    if (!body)
        return;
    int64_t overlap_us = read_overlap(json_member(body, "overlap"));
    json_free(body);
    if (overlap_us < 0 || overlap_us > OVERLAP_DAYS_MAX * 86400 * SECOND) {
        answer(call, 400, "'overlap' is a duration such as \"24h\", at most %d days.",
               OVERLAP_DAYS_MAX);
        return;
    }
    if (before->revoked_us) {
        answer(call, 409, "The key is revoked.");
        return;
    }
    struct secret secret;
    char now[CLOCK_STAMP_BYTES], until[CLOCK_STAMP_BYTES], old[HEX_BYTES], more[640];
    make_secret(&secret);
    stamp_now(now);
    clock_stamp(clock_wall_us() + overlap_us, until);
    hash_hex(&before->digest, old);
    snprintf(more, sizeof(more),
             ",\"hash\":\"%s\",\"old_hash\":\"%s\",\"overlap_until\":\"%s\",\"prefix\":\"%.*s\","
             "\"rotated_at\":\"%s\",\"updated_at\":\"%s\"",
             secret.hex, old, until, PREFIX_BYTES, secret.words, now, now);
    change(roster, call, before, NULL, text_of(more), text_of(secret.words));
    memory_wipe(&secret, sizeof(secret));
}

/* For ever, and at once. It stays in lists for a while, so that who looks finds what became of it.
 */
static void revoke(struct roster *roster, struct roster_call *call, struct text id)
{
    char now[CLOCK_STAMP_BYTES], more[128];
    struct roster_record *before = find(roster, call, RECORD_KEY, id);
    if (!before)
        return;
    stamp_now(now);
    snprintf(more, sizeof(more), ",\"revoked_at\":\"%s\",\"updated_at\":\"%s\"", now, now);
    if (before->revoked_us) {
        put_record(&call->out, before, (struct text){"", 0});
        call->status = 200;
        return;
    }
    change(roster, call, before, NULL, text_of(more), (struct text){"", 0});
}

static bool is_empty(struct roster *roster, struct roster_call *call, struct text tenant)
{
    for (size_t i = 0; i < roster->count; i++) {
        const struct roster_record *record = roster->records[i];
        if (!text_equal(record->owner, tenant) ||
            (record->kind == RECORD_KEY && record->revoked_us))
            continue;
        answer(call, 409, "The tenant is not empty: it has the %s '%.*s'.",
               record->kind == RECORD_KEY ? "key" : "tenant", TEXT_ARGS(record->name));
        return false;
    }
    return true;
}

static void drop_tenant(struct roster *roster, struct roster_call *call, struct text id)
{
    struct roster_record *before = find(roster, call, RECORD_TENANT, id);
    if (!before || !is_empty(roster, call, id))
        return;
    if (text_equal(call->only_tenant, id)) {
        answer(call, 403, "A tenant cannot delete itself.");
        return;
    }
    if (roster_write(roster, RECORD_TENANT, id, NULL, before->version) != ROSTER_WRITTEN) {
        answer(call, 503, "The store cannot be written to now.");
        return;
    }
    roster_remove(roster, RECORD_TENANT, id);
    roster_renew(roster);
    put(&call->out, TEXT("{\"deleted\":true}"));
    call->status = 200;
}

/* ---------------------------------------------------------------------------------- routes */

static void route_one(struct roster *roster, struct roster_call *call, enum record_of kind,
                      struct text id)
{
    bool is_key = kind == RECORD_KEY;
    if (strcmp(call->method, "GET") == 0)
        show(roster, call, kind, id);
    else if (strcmp(call->method, "PATCH") == 0)
        patch(roster, call, kind, id);
    else if (strcmp(call->method, "DELETE") == 0)
        (is_key ? revoke : drop_tenant)(roster, call, id);
    else
        answer(call, 405, "Only GET, PATCH and DELETE.");
}

static void route(struct roster *roster, struct roster_call *call)
{
    struct text rest = call->path, what, id = {"", 0}, action = {"", 0};
    char room[DECODED_BYTES];
    text_next(&rest, '/', &what);
    text_next(&rest, '/', &id);
    text_next(&rest, '/', &action);
    id = decode(id, false, room);
    enum record_of kind = text_equal(what, TEXT("keys")) ? RECORD_KEY : RECORD_TENANT;
    if (kind == RECORD_TENANT && !text_equal(what, TEXT("tenants")))
        answer(call, 404, "There is no such path.");
    else if (id.len > 2 * ROSTER_NAME_MAX + 1 || rest.len)
        answer(call, 404, "There is no such path.");
    else if (id.len == 0 && strcmp(call->method, "GET") == 0)
        list(roster, call, kind);
    else if (id.len == 0 && strcmp(call->method, "POST") == 0)
        make(roster, call, kind);
    else if (id.len == 0)
        answer(call, 405, "Only GET and POST.");
    else if (action.len == 0)
        route_one(roster, call, kind, id);
    else if (kind == RECORD_KEY && text_equal(action, TEXT("rotate")) &&
             strcmp(call->method, "POST") == 0)
        rotate(roster, call, id);
    else
        answer(call, 404, "There is no such path.");
}

void roster_ask(struct roster *roster, struct roster_call *call)
{
    pthread_mutex_lock(&roster->lock);
    call->status = 500;
    route(roster, call);
    pthread_mutex_unlock(&roster->lock);
}
