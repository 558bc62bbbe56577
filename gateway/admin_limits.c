/* SPDX-License-Identifier: Apache-2.0 */
/* The counters of limits as they stand now. */
#include <stdio.h>
#include <string.h>

#include "gateway/admin_inside.h"
#include "gateway/counter_names.h"
#include "gateway/service_state.h"
#include "policy/directory.h"
#include "policy/limits.h"

enum {
    LOOK_AT_ONCE = 500,
    COUNTER_NAME_BYTES = 48,
    PAGE_ARENA_BYTES = 16 * 1024,
    KNOWN_MAX = 20000, /* limits that are looked for at other nodes */
};

/* Where a page is; counters whose tenants are not meant are passed over. */
struct limits_page {
    struct admin_sight sight;
    const struct directory *directory;
    size_t limit, count, seen;
    bool has_more;
    struct arena arena;
    struct counter_view *views;       /* <count> of <limit>; their texts in the arena */
    char rooms[2][ADMIN_VALUE_BYTES]; /* names of the counter that is looked at */
    char last[ADMIN_VALUE_BYTES];     /* the last counter that was looked at and dealt with */
};

/* What the name of a counter says: "t/TENANT:…", "k/TENANT/KEY:…", "u/TENANT/USER:…". */
struct counter_owner {
    const char *level;
    struct text tenant, key, user;
};

/* Without ":requests_per_minute" or ":requests_per_minute:MODEL" at the end. */
static struct text owner_part(const struct counter_view *view, const char *name)
{
    size_t length = strlen(name) + 1;
    if (view->limit.model.len > 0)
        length += view->limit.model.len + 1;
    return text_head(view->counter, view->counter.len > length ? view->counter.len - length : 0);
}

static struct counter_owner owner_of(struct limits_page *page, const struct counter_view *view,
                                     const char *name)
{
    struct counter_owner owner = {
        .level = "tenant", .tenant = TEXT(""), .key = TEXT(""), .user = TEXT("")};
    struct text part = owner_part(view, name), inside = text_from(part, 2);
    size_t slash = text_find_byte(inside, '/');
    bool is_key = text_starts(part, TEXT("k/")), is_user = text_starts(part, TEXT("u/"));
    if (part.len > sizeof page->rooms[0])
        return owner;
    owner.tenant = counter_name_part(text_head(inside, slash), page->rooms[0]);
    if (is_key) {
        owner.level = "key";
        owner.key = counter_name_part(text_from(inside, slash + 1), page->rooms[1]);
    } else if (is_user) {
        owner.level = "user";
        owner.user = text_from(inside, slash + 1);
    }
    return owner;
}

const char *admin_limit_unit(enum limit_kind kind)
{
    static const char *const units[LIMIT_KINDS] = {
        [LIMIT_REQUESTS] = "requests",    [LIMIT_INPUT_TOKENS] = "tokens",
        [LIMIT_OUTPUT_TOKENS] = "tokens", [LIMIT_TOKENS] = "tokens",
        [LIMIT_CONCURRENT] = "calls",     [LIMIT_MONEY] = "nanos"};
    return units[kind];
}

static void write_counter(const struct counter_view *view, const struct counter_owner *owner,
                          const char *name, struct json_write *json)
{
    int64_t left = view->limit.amount - view->used - view->held;
    json_open(json, '{');
    json_text_member(json, "id", view->counter);
    json_text_member(json, "level", text_of(owner->level));
    json_text_member(json, "tenant", owner->tenant);
    json_text_member(json, "key", owner->key);
    json_text_member(json, "user", owner->user);
    json_text_member(json, "model", view->limit.model);
    json_text_member(json, "limit", text_of(name));
    json_text_member(json, "unit", text_of(admin_limit_unit(view->limit.kind)));
    json_int_member(json, "amount", view->limit.amount);
    json_int_member(json, "used", view->used);
    json_int_member(json, "held", view->held);
    json_int_member(json, "left", left > 0 ? left : 0);
    json_name(json, "reset_ms"); /* of what never comes back: null */
    if (view->limit.period == PERIOD_TOTAL)
        json_null(json);
    else
        json_int(json, view->reset_us / 1000);
    json_text_member(json, "nodes", view->is_all ? TEXT("all") : TEXT("this"));
    json_close(json, '}');
}

static void keep_view(struct limits_page *page, const struct counter_view *view)
{
    struct counter_view *kept = &page->views[page->count++];
    *kept = *view;
    kept->root = arena_copy(&page->arena, view->root);
    kept->counter = arena_copy(&page->arena, view->counter);
    kept->limit.model = arena_copy(&page->arena, view->limit.model);
}

static void see_counter(void *with, const struct counter_view *view)
{
    struct limits_page *page = with;
    char name[COUNTER_NAME_BYTES];
    page->seen++;
    limit_name_write(&view->limit, name);
    struct counter_owner owner = owner_of(page, view, name);
    if (page->has_more)
        return;
    if (admin_sees(&page->sight, owner.tenant)) {
        if (page->count == page->limit) {
            page->has_more = true;
            return;
        }
        keep_view(page, view);
    }
    snprintf(page->last, sizeof page->last, "%.*s", TEXT_ARGS(view->counter));
}

/* All counters of one topmost tenant stand together. */
static struct text root_of(const struct limits_page *page)
{
    struct text name = page->sight.asked.len > 0 ? page->sight.asked : page->sight.role_tenant;
    const struct tenant *tenant =
        name.len > 0 ? directory_find_tenant(page->directory, name) : NULL;
    return tenant != NULL ? tenant_root(tenant)->name : (struct text){"", 0};
}

/* ----------------------------------------------------------------- what other nodes have */

struct knowing {
    struct limits *limits;
    struct counter_names *names;
    struct text root; /* only below it; empty = all */
    size_t count;
};

static void know(struct knowing *knowing, const struct limit_list *list, const struct key *key,
                 const struct tenant *tenant)
{
    struct text root = tenant_root(tenant)->name;
    if (knowing->root.len > 0 && !text_equal(knowing->root, root))
        return;
    for (size_t i = 0; i < list->count && knowing->count < KNOWN_MAX; i++, knowing->count++) {
        struct use use = {.limit = &list->at[i]};
        use.counter = counter_names_find(knowing->names, use.limit, key, tenant, &use.hash);
        limits_know(knowing->limits, root, &use, 1);
    }
}

static void know_key(void *with, const struct key *key)
{
    know(with, &key->limits, key, key->tenant);
}

static void know_tenant(void *with, const struct tenant *tenant)
{
    know(with, &tenant->limits, NULL, tenant);
}

/* Other nodes may have counted what no call has met here: of end users only they know. */
static void know_all(struct service *service, const struct limits_page *page)
{
    struct knowing knowing = {
        .limits = service->limits, .names = counter_names_new(), .root = root_of(page)};
    directory_each_tenant(page->directory, know_tenant, &knowing);
    directory_each_key(page->directory, know_key, &knowing);
    counter_names_free(knowing.names);
}

/* ----------------------------------------------------------------------------- the answer */

static void write_page(struct limits_page *page, struct admin_call *call)
{
    struct json_write json = {.out = &call->out};
    char name[COUNTER_NAME_BYTES];
    json_open(&json, '{');
    json_name(&json, "data");
    json_open(&json, '[');
    for (size_t i = 0; i < page->count; i++) {
        const struct counter_view *view = &page->views[i];
        if (view->is_all && view->used == 0 && view->held == 0)
            continue; /* nobody has counted anything in it */
        limit_name_write(&view->limit, name);
        struct counter_owner owner = owner_of(page, view, name);
        write_counter(view, &owner, name, &json);
    }
    json_close(&json, ']');
    json_name(&json, "next");
    if (page->has_more)
        json_text(&json, text_of(page->last));
    else
        json_null(&json);
    json_close(&json, '}');
    admin_done(call, &json);
}

void admin_limits(struct service *service, struct config *config, struct admin_call *call)
{
    char rooms[2][ADMIN_VALUE_BYTES];
    struct limits_page page = {.directory = call->directory};
    struct text tenant, after;
    struct ledger *with_others;
    (void)config;
    if (!admin_limit(call, &page.limit) || !admin_value(call, "tenant", rooms[0], &tenant) ||
        !admin_value(call, "after", rooms[1], &after) ||
        !admin_nodes_read(service, call, &with_others))
        return;
    admin_sight_init(&page.sight, call, tenant);
    snprintf(page.last, sizeof page.last, "%.*s", TEXT_ARGS(after));
    arena_init(&page.arena, PAGE_ARENA_BYTES);
    page.views = arena_take(&page.arena, page.limit * sizeof(*page.views));
    bool is_shared = with_others && service->start->store.is_redis;
    if (is_shared)
        know_all(service, &page);
    do {
        page.seen = 0;
        limits_list(service->limits, root_of(&page), text_of(page.last), LOOK_AT_ONCE, see_counter,
                    &page);
    } while (page.seen == LOOK_AT_ONCE && !page.has_more);
    /* What cannot be asked is shown as it is here, and says so. */
    if (is_shared)
        (void)limits_look(service->limits, with_others, page.views, page.count);
    write_page(&page, call);
    arena_done(&page.arena);
}
