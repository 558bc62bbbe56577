/* SPDX-License-Identifier: Apache-2.0 */
/* Who is found in a view, what the next view changes, and that nobody who reads notices. */
#include <assert.h>
#include <malloc.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "gateway/base/clock.h"
#include "policy/directory_view.h"
#include "policy/roster_read.h"

/* cmocka wants the headers above. */
#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

enum { MANY = 100000 };

static struct text models[] = {{"*", 1}};
static struct tenant tenants[] = {
    {.name = {"acme", 4}, .models = models, .model_count = 1, .tags = {"team=a,cost=1", 13}},
    {.name = {"file", 4}, .models = models, .model_count = 1},
};
static struct key keys[2];
static struct roster_file file = {
    .tenants = tenants, .tenant_count = COUNT(tenants), .keys = keys, .key_count = 1};

static int begin(void **state)
{
    (void)state;
    keys[0] = (struct key){
        .name = TEXT("ci"), .tenant = &tenants[0], .digest = hash_sha256(TEXT("sk-file"))};
    keys[1] = (struct key){
        .name = TEXT("late"), .tenant = &tenants[0], .digest = hash_sha256(TEXT("sk-late"))};
    return 0;
}

static struct roster_record *record_of(enum record_of kind, const char *body)
{
    char problem[256];
    struct roster_record *record = roster_read(kind, text_of(body), &file, problem);
    if (!record)
        fail_msg("%s: %s", body, problem);
    return record;
}

static void put(struct directory *view, enum record_of kind, const char *body)
{
    struct roster_record *record = record_of(kind, body);
    directory_put(view, record);
    roster_record_unref(record);
}

static void put_tenant(struct directory *view, const char *name, const char *parent,
                       const char *more)
{
    char body[512];
    snprintf(body, sizeof(body), "{\"name\":\"%s\",\"parent\":%s%s%s%s}", name,
             parent ? "\"" : "null", parent ? parent : "", parent ? "\"" : "", more);
    put(view, RECORD_TENANT, body);
}

/* A key whose secret is "sk-NAME". */
static void put_key(struct directory *view, const char *name, const char *tenant, const char *more)
{
    char body[640], secret[64], hex[HEX_BYTES];
    snprintf(secret, sizeof(secret), "sk-%s", name);
    struct digest digest = hash_sha256(text_of(secret));
    hash_hex(&digest, hex);
    snprintf(body, sizeof(body),
             "{\"id\":\"key_%s\",\"name\":\"%s\",\"tenant\":\"%s\",\"hash\":\"%s\"%s}", name, name,
             tenant, hex, more);
    put(view, RECORD_KEY, body);
}

static const struct key *find(const struct directory *view, const char *secret)
{
    return directory_find_key(view, text_of(secret), 1000);
}

/* ------------------------------------------------------------------------------------------ */

static void the_files_and_the_stored_are_found(void **state)
{
    (void)state;
    struct directory *view = directory_new(&file);
    put_key(view, "one", "acme", ",\"tags\":{\"x\":\"1\",\"team\":\"b\"},\"models\":[\"fast\"]");
    assert_ptr_equal(find(view, "sk-file"), &keys[0]);
    const struct key *key = find(view, "sk-one");
    assert_non_null(key);
    assert_true(text_equal(key->name, TEXT("one")) && key->is_stored);
    assert_ptr_equal(key->tenant, &tenants[0]);
    /* Its own tags count before those of the tenant. */
    assert_true(text_equal(key->tags, TEXT("x=1,team=b,cost=1")));
    assert_int_equal(key->model_count, 1);
    assert_ptr_equal(find(view, "sk-one"), key);
    assert_null(find(view, "sk-two"));
    assert_null(find(view, ""));
    assert_null(find(view, "one"));
    directory_unref(view);
}

static void an_empty_secret_is_nobodys(void **state)
{
    (void)state;
    keys[0].digest = hash_sha256(TEXT(""));
    struct directory *view = directory_new(&file);
    assert_null(find(view, ""));
    directory_unref(view);
}

static void tenants_nest_and_end_together(void **state)
{
    (void)state;
    struct directory *view = directory_new(&file);
    /* In any order. */
    put_key(view, "deep", "project", "");
    put_tenant(view, "project", "search", ",\"tags\":{\"p\":\"1\"}");
    assert_null(find(view, "sk-deep"));
    put_tenant(view, "search", "acme", ",\"tags\":{\"team\":\"s\"}");
    const struct key *key = find(view, "sk-deep");
    assert_non_null(key);
    assert_int_equal(key->tenant->depth, 2);
    assert_true(text_equal(key->tenant->tags, TEXT("p=1,team=s,cost=1")));
    assert_ptr_equal(tenant_root(key->tenant), &tenants[0]);
    put_tenant(view, "search", "acme", ",\"off\":true");
    assert_null(find(view, "sk-deep"));
    assert_non_null(directory_find_tenant(view, TEXT("project")));
    put_tenant(view, "search", "acme", ",\"off\":false");
    assert_non_null(find(view, "sk-deep"));
    directory_drop(view, RECORD_TENANT, TEXT("search"));
    assert_null(find(view, "sk-deep"));
    assert_null(directory_find_tenant(view, TEXT("project")));
    directory_unref(view);
}

static void tenants_nest_eight_deep_and_no_deeper(void **state)
{
    (void)state;
    struct directory *view = directory_new(&file);
    char name[8], parent[8] = "acme";
    for (int i = 1; i < TENANT_DEPTH_MAX + 2; i++) {
        snprintf(name, sizeof(name), "t%d", i);
        put_tenant(view, name, parent, "");
        assert_int_equal(directory_find_tenant(view, text_of(name)) != NULL, i < TENANT_DEPTH_MAX);
        strcpy(parent, name);
    }
    directory_unref(view);
}

/* The file takes "file" away, somebody makes one below what hung on it, and so on: never a circle.
 */
static void circles_hang_in_the_air(void **state)
{
    (void)state;
    struct roster_file less = file;
    struct directory *view = directory_new(&file);
    put_tenant(view, "a", "file", "");
    assert_non_null(directory_find_tenant(view, TEXT("a")));
    less.tenant_count = 1;
    directory_set_file(view, &less);
    assert_null(directory_find_tenant(view, TEXT("a")));
    put_tenant(view, "file", "a", "");
    assert_null(directory_find_tenant(view, TEXT("file")));
    assert_null(directory_find_tenant(view, TEXT("a")));
    put_tenant(view, "file", NULL, "");
    assert_int_equal(directory_find_tenant(view, TEXT("a"))->depth, 1);
    put_tenant(view, "file", "a", "");
    assert_null(find(view, "sk-none"));
    directory_unref(view);
}

static void the_files_names_count(void **state)
{
    (void)state;
    struct roster_file more = file;
    struct directory *view = directory_new(&file), *next;
    put_key(view, "late", "acme", "");
    put_tenant(view, "mine", NULL, ",\"models\":[\"a\",\"b\"]");
    const struct key *before = find(view, "sk-late");
    assert_true(before->is_stored);
    struct tenant declared[] = {tenants[0], tenants[1], {.name = TEXT("mine")}};
    keys[1].digest = hash_sha256(TEXT("sk-other"));
    more.tenants = declared;
    more.tenant_count = 3;
    more.key_count = 2;
    next = directory_copy(view);
    directory_set_file(next, &more);
    assert_null(find(next, "sk-late"));
    assert_ptr_equal(find(next, "sk-other"), &keys[1]);
    assert_ptr_equal(directory_find_tenant(next, TEXT("mine")), &declared[2]);
    /* Who holds the view before sees what was. */
    assert_ptr_equal(find(view, "sk-late"), before);
    assert_int_equal(directory_find_tenant(view, TEXT("mine"))->model_count, 2);
    directory_set_file(next, &file);
    assert_true(find(next, "sk-late")->is_stored);
    directory_unref(view);
    directory_unref(next);
}

static void times_count(void **state)
{
    (void)state;
    char more[256], hex[HEX_BYTES];
    struct digest old = hash_sha256(TEXT("sk-old"));
    struct directory *view = directory_new(&file);
    hash_hex(&old, hex);
    snprintf(more, sizeof(more),
             ",\"old_hash\":\"%s\",\"overlap_until\":\"1970-01-01T00:01:00Z\","
             "\"expires_at\":\"1970-01-01T00:02:00Z\"",
             hex);
    put_key(view, "new", "acme", more);
    static const struct {
        int64_t second;
        bool old, new;
    } cases[] = {{0, true, true},    {59, true, true},    {60, false, true},
                 {119, false, true}, {120, false, false}, {1000000, false, false}};
    for (size_t i = 0; i < COUNT(cases); i++) {
        int64_t at = cases[i].second * 1000000;
        const struct key *first = directory_find_key(view, TEXT("sk-old"), at);
        const struct key *second = directory_find_key(view, TEXT("sk-new"), at);
        assert_int_equal(first != NULL, cases[i].old);
        assert_int_equal(second != NULL, cases[i].new);
        /* Both secrets are one key: it has one name, one counter. */
        if (first)
            assert_ptr_equal(first, second);
    }
    put_key(view, "new", "acme", "");
    assert_null(directory_find_key(view, TEXT("sk-old"), 0));
    put_key(view, "new", "acme", ",\"revoked_at\":\"2026-01-01\"");
    assert_null(directory_find_key(view, TEXT("sk-new"), 0));
    assert_non_null(directory_record(view, RECORD_KEY, TEXT("key_new")));
    assert_null(directory_member(view, TEXT("acme"), TEXT("new")));
    directory_unref(view);
}

/* Keys are used, replaced, used again: what is not of use any more does not pile up for ever, and
 * the key that is found is the last. */
static void replaced_keys_are_as_they_are_now(void **state)
{
    (void)state;
    struct directory *view = directory_new(&file);
    char more[64];
    for (int i = 0; i < 3000; i++) {
        struct directory *next = directory_copy(view);
        snprintf(more, sizeof(more), ",\"limits\":{\"concurrent\":%d}", i);
        put_key(next, "one", "acme", more);
        put_key(next, i % 2 ? "odd" : "even", "acme", "");
        directory_unref(view);
        view = next;
        assert_int_equal(find(view, "sk-one")->limits.at[0].amount, i);
    }
    assert_non_null(find(view, "sk-odd"));
    directory_unref(view);
}

/* ---------------------------------------------------------------------------------- threads */

static struct directory *shared;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static atomic_bool stopping;

static struct directory *current(void)
{
    pthread_mutex_lock(&lock);
    struct directory *view = directory_ref(shared);
    pthread_mutex_unlock(&lock);
    return view;
}

static void *read_on(void *with)
{
    size_t *found = with;
    do { /* once at least, however late it came */
        struct directory *view = current();
        for (int i = 0; i < 64; i++) {
            char secret[32];
            snprintf(secret, sizeof(secret), "sk-k%d", i);
            const struct key *key = find(view, secret);
            if (!key)
                continue;
            assert(text_equal(key->tenant->name, TEXT("busy")));
            assert(key->limits.count == 1 && key->tenant->limits.count == 1);
            ++*found;
        }
        directory_unref(view);
    } while (!atomic_load(&stopping));
    return NULL;
}

static void readers_do_not_mind_changes(void **state)
{
    (void)state;
    enum { READERS = 3, CHANGES = 400 };
    pthread_t threads[READERS];
    size_t found[READERS] = {0};
    char name[16], more[64];
    shared = directory_new(&file);
    put_tenant(shared, "busy", "acme", ",\"limits\":{\"concurrent\":1}");
    for (int i = 0; i < 64; i++) {
        snprintf(name, sizeof(name), "k%d", i);
        put_key(shared, name, "busy", ",\"limits\":{\"concurrent\":1}");
    }
    for (int i = 0; i < READERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, read_on, &found[i]), 0);
    for (int i = 0; i < CHANGES; i++) {
        struct directory *before = current(), *after = directory_copy(before);
        snprintf(more, sizeof(more), ",\"limits\":{\"concurrent\":%d}", i);
        snprintf(name, sizeof(name), "k%d", i % 64);
        if (i % 5 == 0)
            put_tenant(after, "busy", "acme", more);
        else if (i % 7 == 0)
            directory_set_file(after, &file);
        else
            put_key(after, name, "busy", more);
        pthread_mutex_lock(&lock);
        shared = after;
        pthread_mutex_unlock(&lock);
        directory_unref(before); /* ours, and that of the place */
        directory_unref(before);
    }
    atomic_store(&stopping, true);
    for (int i = 0; i < READERS; i++) {
        pthread_join(threads[i], NULL);
        assert_true(found[i] > 0);
    }
    directory_unref(shared);
}

/* ------------------------------------------------------------------------------------- many */

static void among_many_a_change_costs_little(void **state)
{
    (void)state;
    char name[16];
    struct directory *view = directory_new(&file);
    put_tenant(view, "many", "acme", "");
    uint64_t began = clock_now_us();
    for (int i = 0; i < MANY; i++) {
        snprintf(name, sizeof(name), "k%d", i);
        put_key(view, name, "many", "");
    }
    uint64_t loaded = clock_now_us();
    struct directory *next = directory_copy(view);
    put_key(next, "k77", "many", ",\"revoked_at\":\"2026-01-01\"");
    uint64_t revoked = clock_now_us();
    assert_null(find(next, "sk-k77"));
    assert_non_null(find(view, "sk-k77"));
    assert_non_null(find(next, "sk-k99999"));
    uint64_t before = clock_now_us();
    struct directory *off = directory_copy(next);
    put_tenant(off, "many", "acme", ",\"off\":true");
    uint64_t switched = clock_now_us();
    assert_null(find(off, "sk-k99999"));
    assert_non_null(find(next, "sk-k99999"));
    print_message("%d keys: read in %llu ms; one revoked in %llu us, their tenant off in %llu us\n",
                  MANY, (unsigned long long)(loaded - began) / 1000,
                  (unsigned long long)(revoked - loaded), (unsigned long long)(switched - before));
    directory_unref(view);
    directory_unref(next);
    directory_unref(off);
}

static void count_key(void *with, const struct key *key)
{
    (void)key;
    ++*(size_t *)with;
}

static void count_tenant(void *with, const struct tenant *tenant)
{
    (void)tenant;
    ++*(size_t *)with;
}

/* They are shown for a month, and nobody asks how they were limited until then. */
static void what_was_revoked_takes_little(void **state)
{
    (void)state;
    enum { BYTES = 1000 };
    struct directory *view = directory_new(&file);
    size_t before = mallinfo2().uordblks;
    for (int i = 0; i < MANY; i++) {
        char name[32];
        snprintf(name, sizeof(name), "gone%d", i);
        put_key(view, name, "acme",
                ",\"limits\":{\"requests_per_minute\":600,\"tokens_per_day\":1000000},"
                "\"budget\":{\"amount\":\"100 USD\",\"period\":\"month\"},"
                "\"models\":[\"fast\",\"smart\"],\"tags\":{\"team\":\"search\"},"
                "\"revoked_at\":\"2030-01-01T00:00:00Z\"");
    }
    size_t each = (mallinfo2().uordblks - before) / MANY;
    assert_null(directory_find_key(view, TEXT("sk-gone7"), 0));
    assert_null(directory_find_named(view, TEXT("acme"), TEXT("gone7")));
    const struct roster_record *record = directory_record(view, RECORD_KEY, TEXT("key_gone7"));
    assert_non_null(record);
    assert_true(record->revoked_us > 0 && text_equal(record->owner, TEXT("acme")));
    if (each > BYTES) /* of an allocator that counts nothing, as sanitizers', it is 0 */
        fail_msg("%zu bytes each", each);
    directory_unref(view);
}

static void all_can_be_walked_over(void **state)
{
    (void)state;
    size_t seen_keys = 0, seen_tenants = 0;
    struct directory *view = directory_new(&file);
    put_tenant(view, "t", "acme", "");
    put_key(view, "a", "t", "");
    put_key(view, "b", "acme", ",\"revoked_at\":\"2026-01-01\"");
    put_key(view, "c", "nowhere", "");
    directory_each_key(view, count_key, &seen_keys);
    directory_each_tenant(view, count_tenant, &seen_tenants);
    assert_int_equal(seen_keys, 2);
    assert_ptr_equal(directory_find_named(view, TEXT("t"), TEXT("a")), find(view, "sk-a"));
    assert_ptr_equal(directory_find_named(view, TEXT("acme"), TEXT("ci")), &keys[0]);
    assert_null(directory_find_named(view, TEXT("acme"), TEXT("b")));
    assert_null(directory_find_named(view, TEXT("nowhere"), TEXT("c")));
    assert_int_equal(seen_tenants, 3);
    directory_unref(view);
}

static void whether_tenants_are_the_same_is_seen(void **state)
{
    (void)state;
    struct directory *view = directory_new(&file);
    put_tenant(view, "t", "acme", "");
    put_key(view, "a", "t", "");
    struct directory *keys_only = directory_copy(view), *renewed = directory_copy(view);
    put_key(keys_only, "a", "t", ",\"revoked_at\":\"2026-01-01\"");
    put_key(keys_only, "b", "t", "");
    put_tenant(renewed, "t", "acme", ",\"limits\":{\"concurrent\":1}");
    struct directory *reloaded = directory_copy(view);
    directory_set_file(reloaded, &file);
    assert_true(directory_has_tenants_of(keys_only, view));
    assert_true(directory_has_tenants_of(view, view));
    assert_false(directory_has_tenants_of(renewed, view));
    assert_true(directory_has_file_of(renewed, view));
    assert_false(directory_has_file_of(reloaded, view));
    assert_false(directory_has_tenants_of(reloaded, view));
    directory_unref(keys_only);
    directory_unref(renewed);
    directory_unref(reloaded);
    directory_unref(view);
}

static void keys_can_be_those_of_a_later_view(void **state)
{
    (void)state;
    struct directory *view = directory_new(&file);
    put_tenant(view, "t", "acme", ",\"limits\":{\"concurrent\":7}");
    put_key(view, "a", "t", "");
    put_key(view, "b", "t", "");
    struct directory *later = directory_copy(view);
    put_tenant(later, "t", "acme", "");
    put_tenant(later, "new", "acme", "");
    put_key(later, "a", "t", ",\"revoked_at\":\"2026-01-01\"");
    put_key(later, "c", "t", "");
    put_key(later, "d", "new", "");
    struct directory *between = directory_with_keys(view, later);
    assert_true(directory_has_tenants_of(between, view));
    assert_int_equal(directory_version(between), directory_version(view));
    directory_unref(view);
    directory_unref(later);
    assert_null(find(between, "sk-a"));
    assert_null(find(between, "sk-d"));
    for (const char *secret = "sk-b"; secret; secret = secret[3] == 'b' ? "sk-c" : NULL) {
        const struct key *key = find(between, secret);
        assert_non_null(key);
        assert_int_equal(key->tenant->limits.count, 1);
    }
    directory_unref(between);
}

/* Whether anybody may call without a key hangs on it. */
static void what_was_made_is_known_without_a_look(void **state)
{
    (void)state;
    static const struct roster_file nothing;
    struct directory *view = directory_new(&file);
    assert_false(directory_has_stored(view)); /* what the file has is not */
    put_tenant(view, "t", "acme", "");
    assert_true(directory_has_stored(view));
    struct directory *copy = directory_copy(view), *bare = directory_copy(view);
    put_key(copy, "a", "t", "");
    directory_drop(copy, RECORD_TENANT, TEXT("t"));
    assert_true(directory_has_stored(copy)); /* a key alone is enough */
    directory_set_file(copy, &nothing);
    assert_true(directory_has_stored(copy));
    struct directory *mixed = directory_with_keys(bare, copy);
    assert_true(directory_has_stored(mixed));
    put_key(copy, "a", "t", ",\"revoked_at\":\"2026-01-01\"");
    assert_false(directory_has_stored(copy));
    directory_drop(bare, RECORD_TENANT, TEXT("t"));
    assert_false(directory_has_stored(bare));
    assert_true(directory_has_stored(view));
    assert_false(directory_is_unknown(view)); /* what is unknown Redis has: roster.c */
    bare->unknown = true;
    struct directory *unheard = directory_copy(bare), *heard = directory_with_keys(bare, copy);
    assert_true(directory_is_unknown(unheard));
    assert_false(directory_is_unknown(heard));
    directory_unref(unheard);
    directory_unref(heard);
    directory_unref(view);
    directory_unref(copy);
    directory_unref(bare);
    directory_unref(mixed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_files_and_the_stored_are_found),
        cmocka_unit_test(tenants_nest_and_end_together),
        cmocka_unit_test(tenants_nest_eight_deep_and_no_deeper),
        cmocka_unit_test(circles_hang_in_the_air),
        cmocka_unit_test(the_files_names_count),
        cmocka_unit_test(times_count),
        cmocka_unit_test(replaced_keys_are_as_they_are_now),
        cmocka_unit_test(readers_do_not_mind_changes),
        cmocka_unit_test(among_many_a_change_costs_little),
        cmocka_unit_test(what_was_revoked_takes_little),
        cmocka_unit_test(all_can_be_walked_over),
        cmocka_unit_test(whether_tenants_are_the_same_is_seen),
        cmocka_unit_test(keys_can_be_those_of_a_later_view),
        cmocka_unit_test(what_was_made_is_known_without_a_look),
        cmocka_unit_test_setup_teardown(an_empty_secret_is_nobodys, begin, begin),
    };
    return cmocka_run_group_tests(tests, begin, NULL);
}
