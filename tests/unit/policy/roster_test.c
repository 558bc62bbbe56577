/* SPDX-License-Identifier: Apache-2.0 */
/* Tenants and keys by the API's operations, kept in SQLite: what is made, changed, refused, and
 * there again after a restart. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "gateway/base/database.h"
#include "gateway/base/json.h"
#include "gateway/base/log.h"
#include "policy/book.h"
#include "policy/roster_inside.h"

/* cmocka wants the headers above. */
#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static struct text models[] = {{"*", 1}};
static struct tenant tenants[] = {
    {.name = {"acme", 4}, .models = models, .model_count = 1, .may_set_tags = true},
    {.name = {"globex", 6}, .models = models, .model_count = 1},
};
static struct key keys[1];
static struct limit defaults[] = {{.kind = LIMIT_CONCURRENT, .period = PERIOD_NONE, .amount = 5}};
static struct roster_file file = {
    .tenants = tenants, .tenant_count = 2, .keys = keys, .key_count = 1};

static char folder[64], path[96];
static struct roster *roster;
static struct directory *told; /* by the last on_change */
static char out[1 << 20];

static void on_change(void *with, struct directory *directory)
{
    (void)with;
    if (told)
        directory_unref(told);
    told = directory;
}

static struct roster *open_one(void)
{
    struct fault fault;
    struct roster_options options = {.database = path, .on_change = on_change};
    struct roster *one = roster_open(&options, &file, &fault);
    if (!one)
        fail_msg("%s", fault.text);
    return one;
}

static int begin(void **state)
{
    (void)state;
    keys[0] = (struct key){
        .name = TEXT("ci"), .tenant = &tenants[0], .digest = hash_sha256(TEXT("sk-file"))};
    strcpy(folder, "/tmp/roster_test.XXXXXX");
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof(path), "%s/db", folder);
    roster = open_one();
    return 0;
}

static int end(void **state)
{
    (void)state;
    char command[128];
    roster_close(roster);
    if (told)
        directory_unref(told);
    told = NULL;
    snprintf(command, sizeof(command), "rm -r %s", folder);
    return system(command);
}

/* ---------------------------------------------------------------------------------- asking */

static int ask_as(const char *only, const char *method, const char *where, const char *body)
{
    const char *query = strchr(where, '?');
    struct roster_call call = {.method = method,
                               .path = query ? (struct text){where, (size_t)(query - where)}
                                             : text_of(where),
                               .query = text_of(query ? query + 1 : ""),
                               .body = text_of(body ? body : ""),
                               .only_tenant = text_of(only)};
    buffer_init(&call.out, sizeof(out) - 1);
    roster_ask(roster, &call);
    snprintf(out, sizeof(out), "%.*s", TEXT_ARGS(buffer_text(&call.out)));
    buffer_done(&call.out);
    return call.status;
}

static int ask(const char *method, const char *where, const char *body)
{
    return ask_as("", method, where, body);
}

static void expect(int status, const char *method, const char *where, const char *body)
{
    int got = ask(method, where, body);
    if (got != status)
        fail_msg("%s %s %s: %d %s", method, where, body ? body : "", got, out);
}

/* The answer has this in it. */
static void has(const char *piece)
{
    if (!strstr(out, piece))
        fail_msg("no %s in %s", piece, out);
}

static void has_not(const char *piece)
{
    if (strstr(out, piece))
        fail_msg("%s in %s", piece, out);
}

/* A string of the last answer. */
static char *member(const char *name, char room[128])
{
    char begin_of[64];
    snprintf(begin_of, sizeof(begin_of), "\"%s\":\"", name);
    const char *at = strstr(out, begin_of);
    if (!at)
        fail_msg("no %s in %s", name, out);
    at += strlen(begin_of);
    snprintf(room, 128, "%.*s", (int)strcspn(at, "\""), at);
    return room;
}

static bool opens(const char *secret)
{
    struct directory *view = roster_view(roster);
    bool found = directory_find_key(view, text_of(secret), 1900000000000000) != NULL;
    directory_unref(view);
    return found;
}

/* A new key: its id, and its secret. */
static void make_key(const char *body, char id[128], char secret[128])
{
    expect(201, "POST", "keys", body);
    member("id", id);
    member("secret", secret);
}

/* ------------------------------------------------------------------------------------------ */

static void a_key_is_made_shown_and_ended(void **state)
{
    (void)state;
    char id[128], secret[128], other[128], room[128], where[160];
    make_key("{\"name\":\"bot\",\"tenant\":\"acme\",\"models\":[\"fast\"],"
             "\"limits\":{\"requests_per_minute\":60},\"expires_at\":\"2031-01-01\"}",
             id, secret);
    assert_int_equal(strlen(id), 24);
    assert_int_equal(strlen(secret), 50);
    assert_memory_equal(secret, "sk-sluice-", 10);
    assert_true(strncmp(secret, member("prefix", room), 18) == 0 && strlen(room) == 18);
    has("\"limits\":{\"requests_per_minute\":60}");
    has("\"expires_at\":\"2031-01-01T00:00:00.000Z\"");
    has("\"revoked_at\":null");
    has_not("hash");
    assert_true(opens(secret));
    assert_non_null(told);
    snprintf(where, sizeof(where), "keys/%s", id);
    expect(200, "GET", where, NULL);
    has_not(secret);
    has_not("hash");
    expect(200, "GET", "keys/acme%3Abot", NULL);
    has(id);
    expect(409, "POST", "keys", "{\"name\":\"bot\",\"tenant\":\"acme\"}");
    /* In another tenant the name is free. */
    make_key("{\"name\":\"bot\",\"tenant\":\"globex\"}", room, other);
    assert_string_not_equal(secret, other);
    expect(200, "DELETE", where, NULL);
    member("revoked_at", room);
    assert_false(opens(secret));
    assert_true(opens(other));
    expect(200, "DELETE", where, NULL);
    /* It is shown as it was. */
    expect(200, "GET", where, NULL);
    has("\"models\":[\"fast\"]");
    has("\"limits\":{\"requests_per_minute\":60}");
    has("\"expires_at\":\"2031-01-01T00:00:00.000Z\"");
    has("\"prefix\":\"sk-sluice-");
    has_not("\"revoked_at\":null");
    has_not("hash");
    expect(409, "PATCH", where, "{\"models\":[]}");
    strcat(where, "/rotate");
    expect(409, "POST", where, NULL);
    /* Its name is free again. */
    make_key("{\"name\":\"bot\",\"tenant\":\"acme\"}", id, secret);
    assert_true(opens(secret));
}

static void a_turned_key_has_two_secrets_for_a_while(void **state)
{
    (void)state;
    char id[128], first[128], second[128], third[128], where[160], room[128];
    make_key("{\"name\":\"turn\",\"tenant\":\"acme\"}", id, first);
    snprintf(where, sizeof(where), "keys/%s/rotate", id);
    expect(200, "POST", where, "{\"overlap\":\"30d\"}");
    member("secret", second);
    member("overlap_until", room);
    struct directory *view = roster_view(roster);
    int64_t now = 0;
    assert_non_null(directory_find_key(view, text_of(first), now));
    assert_ptr_equal(directory_find_key(view, text_of(first), now),
                     directory_find_key(view, text_of(second), now));
    directory_unref(view);
    expect(200, "POST", where, "{\"overlap\":\"0\"}");
    member("secret", third);
    has("\"overlap_until\":null");
    view = roster_view(roster);
    assert_null(directory_find_key(view, text_of(first), now));
    assert_null(directory_find_key(view, text_of(second), now));
    assert_non_null(directory_find_key(view, text_of(third), now));
    directory_unref(view);
    static const char *const bad[] = {"{\"overlap\":\"31d\"}",
                                      "{\"overlap\":3}",
                                      "{\"overlap\":\"x\"}",
                                      "{\"overlap\":\"-1h\"}",
                                      "{\"over\":\"1h\"}",
                                      "[]",
                                      "{"};
    for (size_t i = 0; i < COUNT(bad); i++)
        expect(400, "POST", where, bad[i]);
    expect(200, "POST", where, "{\"overlap\":null}");
    expect(200, "POST", where, "");
}

static void changes_are_merged(void **state)
{
    (void)state;
    char id[128], secret[128], where[160];
    make_key("{\"name\":\"patch\",\"tenant\":\"acme\",\"models\":[\"a\",\"b\"],"
             "\"tags\":{\"x\":\"1\",\"y\":\"2\"},"
             "\"limits\":{\"requests_per_minute\":60,\"concurrent\":4,"
             "\"models\":{\"fast\":{\"tokens_per_day\":7,\"concurrent\":1}}},"
             "\"budget\":{\"amount\":\"5.50 USD\",\"period\":\"day\",\"warn_at\":[0.25]}}",
             id, secret);
    snprintf(where, sizeof(where), "keys/%s", id);
    expect(200, "PATCH", where,
           "{\"limits\":{\"concurrent\":null,\"requests_per_minute\":70,"
           "\"models\":{\"fast\":{\"concurrent\":null}}},\"tags\":{\"x\":null,\"z\":\"3\"}}");
    has("\"limits\":{\"requests_per_minute\":70,\"models\":{\"fast\":{\"tokens_per_day\":7}}}");
    has("\"y\":\"2\"");
    has("\"z\":\"3\"");
    has_not("\"x\":\"1\"");
    has("\"models\":[\"a\",\"b\"]");
    has("\"budget\":{\"amount\":\"5.50 "
        "USD\",\"period\":\"day\",\"time_zone\":\"UTC\",\"warn_at\":[0.25],"
        "\"on_exceeded\":\"reject\",\"model\":null}");
    expect(200, "PATCH", where, "{\"models\":[\"c\"],\"budget\":{\"on_exceeded\":\"warn\"}}");
    has("\"models\":[\"c\"]");
    has("\"amount\":\"5.50 USD\"");
    has("\"on_exceeded\":\"warn\"");
    expect(200, "PATCH", where, "{\"budget\":null,\"models\":null,\"limits\":null,\"tags\":null}");
    has("\"budget\":null");
    has("\"models\":[]");
    has("\"limits\":{}");
    has("\"tags\":{}");
    /* What was read can be sent back. */
    expect(200, "GET", where, NULL);
    char copy[4096];
    assert_true(strlen(out) < sizeof(copy));
    strcpy(copy, out);
    expect(200, "PATCH", where, copy);
    expect(400, "PATCH", where, "{\"name\":\"other\"}");
    has("'name'");
    expect(400, "PATCH", where, "{\"tenant\":\"globex\"}");
    expect(400, "PATCH", where, "{\"nmae\":\"x\"}");
    has("Did you mean 'name'?");
    assert_true(opens(secret));
}

static void tenants_are_made_changed_and_dropped(void **state)
{
    (void)state;
    char id[128], secret[128];
    expect(
        201, "POST", "tenants",
        "{\"name\":\"search\",\"parent\":\"acme\",\"tags\":{\"team\":\"s\"},\"may_set\":[\"tags\","
        "\"explain\"],\"users\":{\"limits\":{\"requests_per_hour\":9},\"budget\":{\"amount\":1}}}");
    has("\"may_set\":[\"tags\",\"explain\"]");
    has("\"users\":{\"limits\":{\"requests_per_hour\":9},\"budget\":{\"amount\":\"1.00 USD\"");
    has("\"off\":false");
    has("\"origin\":\"api\"");
    expect(409, "POST", "tenants", "{\"name\":\"search\"}");
    expect(409, "POST", "tenants", "{\"name\":\"acme\"}");
    expect(400, "POST", "tenants", "{\"name\":\"x\",\"parent\":\"nobody\"}");
    expect(201, "POST", "tenants", "{\"name\":\"project\",\"parent\":\"search\"}");
    make_key("{\"name\":\"k\",\"tenant\":\"project\"}", id, secret);
    assert_true(opens(secret));
    expect(200, "PATCH", "tenants/search", "{\"off\":true}");
    assert_false(opens(secret));
    expect(200, "PATCH", "tenants/search", "{\"off\":null}");
    assert_true(opens(secret));
    expect(400, "PATCH", "tenants/search", "{\"parent\":null}");
    expect(409, "DELETE", "tenants/search", NULL);
    has("'project'");
    expect(409, "DELETE", "tenants/project", NULL);
    has("key 'k'");
    expect(200, "DELETE", "keys/project:k", NULL);
    expect(200, "DELETE", "tenants/project", NULL);
    expect(404, "GET", "tenants/project", NULL);
    expect(200, "DELETE", "tenants/search", NULL);
    expect(404, "DELETE", "tenants/search", NULL);
}

static void what_the_file_has_is_shown_and_stays(void **state)
{
    (void)state;
    expect(200, "GET", "tenants/acme", NULL);
    has("\"origin\":\"file\"");
    has("\"may_set\":[\"tags\"]");
    expect(200, "GET", "keys/acme:ci", NULL);
    has("\"id\":\"acme:ci\"");
    expect(409, "PATCH", "tenants/acme", "{\"off\":true}");
    expect(409, "DELETE", "tenants/acme", NULL);
    expect(409, "DELETE", "keys/acme:ci", NULL);
    expect(409, "POST", "keys/acme:ci/rotate", NULL);
    expect(409, "POST", "keys", "{\"name\":\"ci\",\"tenant\":\"acme\"}");
    expect(404, "GET", "keys/acme:cj", NULL);
    expect(404, "GET", "keys/key_none", NULL);
    expect(405, "PUT", "keys/acme:ci", NULL);
    expect(405, "DELETE", "keys", NULL);
    expect(404, "POST", "keys/acme:ci/turn", NULL);
    expect(404, "GET", "thing", NULL);
}

static void what_is_wrong_is_named(void **state)
{
    (void)state;
    static const struct {
        const char *body, *words;
    } cases[] = {
        {"", "'name'"},
        {"[]", "object"},
        {"{\"name\":\"\",\"tenant\":\"acme\"}", "'name'"},
        {"{\"name\":7,\"tenant\":\"acme\"}", "'name'"},
        {"{\"name\":\"a b\",\"tenant\":\"acme\"}", "'name'"},
        {"{\"name\":\"a/b\",\"tenant\":\"acme\"}", "'name'"},
        {"{\"name\":\"a\"}", "'tenant'"},
        {"{\"name\":\"a\",\"tenant\":7}", "'tenant'"},
        {"{\"name\":\"a\",\"tenant\":\"nobody\"}", "'nobody'"},
        {"{\"name\":\"a\",\"tenant\":\"acme\",\"hash\":\"x\"}", "'hash'"},
        {"{\"name\":\"a\",\"tenant\":\"acme\",\"id\":\"key_x\"}", "'id'"},
        {"{\"name\":\"a\",\"tenant\":\"acme\",\"secret\":\"x\"}", "'secret'"},
        {"{\"name\":\"a\",\"tenant\":\"acme\",\"created_at\":\"2020-01-01\"}", "'created_at'"},
        {"{\"name\":\"a\",\"tenant\":\"acme\",\"off\":true}", "'off'"},
        {"{\"name\":\"a\",\"tenant\":\"acme\",\"models\":\"fast\"}", "'models'"},
        {"{\"name\":\"a\",\"tenant\":\"acme\",\"models\":[\"\"]}", "'models'"},
        {"{\"name\":\"a\",\"tenant\":\"acme\",\"models\":[7]}", "'models'"},
        {"{\"name\":\"a\",\"tenant\":\"acme\",\"tags\":[]}", "'tags'"},
        {"{\"name\":\"a\",\"tenant\":\"acme\",\"tags\":{\"a\":1}}", "'tags'"},
        {"{\"name\":\"a\",\"tenant\":\"acme\",\"tags\":{\"a\":\"b,c\"}}", "'tags'"},
        {"{\"name\":\"a\",\"tenant\":\"acme\",\"tags\":{\"a=\":\"b\"}}", "'tags'"},
        {"{\"name\":\"a\",\"tenant\":\"acme\",\"expires_at\":\"soon\"}", "'expires_at'"},
        {"{\"name\":\"a\",\"tenant\":\"acme\",\"expires_at\":\"2027-02-30\"}", "'expires_at'"},
        {"{\"name\":\"a\",\"tenant\":\"acme\",\"expires_at\":1}", "'expires_at'"},
        {"{\"name\":\"a\",\"tenant\":\"acme\",\"expires_at\":\"2020-01-01\"}",
         "'expires_at' is past"},
        {"{\"name\":\"a\",\"tenant\":\"acme\",\"limits\":[]}", "'limits'"},
        {"{\"name\":\"a\",\"tenant\":\"acme\",\"limits\":{\"request_per_minute\":1}}",
         "'requests_per_minute'"},
        {"{\"name\":\"a\",\"tenant\":\"acme\",\"limits\":{\"requests_per_minute\":-1}}",
         "'requests_per_minute'"},
        {"{\"name\":\"a\",\"tenant\":\"acme\",\"limits\":{\"requests_per_minute\":1.5}}",
         "'requests_per_minute'"},
        {"{\"name\":\"a\",\"tenant\":\"acme\",\"limits\":{\"requests_per_minute\":\"1\"}}",
         "'requests_per_minute'"},
        {"{\"name\":\"a\",\"tenant\":\"acme\",\"limits\":{\"concurrent\":9000000}}",
         "'concurrent'"},
        {"{\"name\":\"a\",\"tenant\":\"acme\",\"limits\":{\"budget\":{\"amount\":1}}}", "'budget'"},
        {"{\"name\":\"a\",\"tenant\":\"acme\",\"limits\":{\"models\":[]}}", "'models'"},
        {"{\"name\":\"a\",\"tenant\":\"acme\",\"limits\":{\"models\":{\"f\":{\"models\":{}}}}}",
         "'models'"},
        {"{\"name\":\"a\",\"tenant\":\"acme\",\"limits\":{\"algorithm\":\"x\"}}", "'algorithm'"},
        {"{\"name\":\"a\",\"tenant\":\"acme\",\"limits\":{\"strict\":1}}", "'strict'"},
        {"{\"name\":\"a\",\"tenant\":\"acme\",\"limits\":{\"on_error\":\"x\"}}", "'on_error'"},
        {"{\"name\":\"a\",\"tenant\":\"acme\",\"budget\":5}", "'budget'"},
        {"{\"name\":\"a\",\"tenant\":\"acme\",\"budget\":{}}", "'amount'"},
        {"{\"name\":\"a\",\"tenant\":\"acme\",\"budget\":{\"amount\":\"5 EUR\"}}", "'amount'"},
        {"{\"name\":\"a\",\"tenant\":\"acme\",\"budget\":{\"amount\":-1}}", "'amount'"},
        {"{\"name\":\"a\",\"tenant\":\"acme\",\"budget\":{\"amount\":\"0.0000000001\"}}",
         "'amount'"},
        {"{\"name\":\"a\",\"tenant\":\"acme\",\"budget\":{\"amount\":0.12345678901234567}}",
         "'amount'"},
        {"{\"name\":\"a\",\"tenant\":\"acme\",\"budget\":{\"amount\":1e300}}", "'amount'"},
        {"{\"name\":\"a\",\"tenant\":\"acme\",\"budget\":{\"amount\":1,\"period\":\"year\"}}",
         "'period'"},
        {"{\"name\":\"a\",\"tenant\":\"acme\",\"budget\":{\"amount\":1,\"period\":\"30s\"}}",
         "'period'"},
        {"{\"name\":\"a\",\"tenant\":\"acme\",\"budget\":{\"amount\":1,\"time_zone\":\"Mars/X\"}}",
         "'time_zone'"},
        {"{\"name\":\"a\",\"tenant\":\"acme\",\"budget\":{\"amount\":1,\"time_zone\":\"../"
         "passwd\"}}",
         "'time_zone'"},
        {"{\"name\":\"a\",\"tenant\":\"acme\",\"budget\":{\"amount\":1,\"warn_at\":[0.8,0.5]}}",
         "'warn_at'"},
        {"{\"name\":\"a\",\"tenant\":\"acme\",\"budget\":{\"amount\":1,\"warn_at\":[2]}}",
         "'warn_at'"},
        {"{\"name\":\"a\",\"tenant\":\"acme\",\"budget\":{\"amount\":1,\"on_exceeded\":\"x\"}}",
         "'on_exceeded'"},
        {"{\"name\":\"a\",\"tenant\":\"acme\",\"budget\":{\"amount\":1,\"ammount\":1}}",
         "'amount'"},
        {"{\"name\":\"a\",\"tenant\":\"acme\",\"budgets\":{}}", "'budgets'"},
        {"{\"name\":\"a\",\"tenant\":\"acme\",\"budget\":{\"amount\":1},\"budgets\":[{\"amount\":2}"
         "]}",
         "twice"},
        {"{\"name\":\"a\",\"tenant\":\"acme\",\"name\":\"a\"}", "JSON"},
        {"{\"name\":\"a\"", "JSON"},
        {"\xff", "JSON"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        expect(400, "POST", "keys", cases[i].body);
        if (!strstr(out, cases[i].words))
            fail_msg("%s: %s", cases[i].body, out);
    }
    expect(400, "POST", "tenants", "{\"name\":\"t\",\"may_set\":[\"all\"]}");
    expect(400, "POST", "tenants", "{\"name\":\"t\",\"may_set\":\"tags\"}");
    expect(400, "POST", "tenants", "{\"name\":\"t\",\"users\":7}");
    expect(400, "POST", "tenants", "{\"name\":\"t\",\"users\":{\"limit\":{}}}");
    has("'limits'");
    expect(400, "POST", "tenants", "{\"name\":\"t\",\"off\":\"no\"}");
    static char large[300 * 1024];
    memset(large, ' ', sizeof(large) - 1);
    memcpy(large, "{\"name\":\"t\"}", 12);
    expect(413, "POST", "tenants", large);
}

static void money_is_exact(void **state)
{
    (void)state;
    static const struct {
        const char *said, *kept;
    } cases[] = {{"\"12.50 USD\"", "12.50 USD"},
                 {"\"12.5\"", "12.50 USD"},
                 {"12", "12.00 USD"},
                 {"0.1", "0.10 USD"},
                 {"0.000000001", "0.000000001 USD"},
                 {"1234567.89", "1234567.89 USD"},
                 {"\"0\"", "0.00 USD"},
                 {"\"9000000000.123456789\"", "9000000000.123456789 USD"},
                 {"0.30000000000000004e0", NULL}};
    char body[160], amount[64];
    for (size_t i = 0; i < COUNT(cases); i++) {
        snprintf(body, sizeof(body),
                 "{\"name\":\"m%zu\",\"tenant\":\"acme\",\"budget\":{\"amount\":%s}}", i,
                 cases[i].said);
        expect(cases[i].kept ? 201 : 400, "POST", "keys", body);
        snprintf(amount, sizeof(amount), "\"amount\":\"%s\"", cases[i].kept ? cases[i].kept : "");
        if (cases[i].kept)
            has(amount);
    }
}

static void pages_are_whole(void **state)
{
    (void)state;
    char where[200], after[128] = "", body[96];
    int keys_seen = 0, pages = 0;
    expect(201, "POST", "tenants", "{\"name\":\"pages\"}");
    expect(201, "POST", "tenants", "{\"name\":\"pages.in\",\"parent\":\"pages\"}");
    for (int i = 0; i < 25; i++) {
        snprintf(body, sizeof(body), "{\"name\":\"p%d\",\"tenant\":\"pages\"}", i);
        expect(201, "POST", "keys", body);
    }
    do {
        snprintf(where, sizeof(where), "keys?tenant=pages&limit=7%s%s", *after ? "&after=" : "",
                 after);
        expect(200, "GET", where, NULL);
        for (const char *at = out; (at = strstr(at, "\"id\":")); at++)
            keys_seen++;
        pages++;
        *after = '\0';
        if (!strstr(out, "\"next\":null"))
            member("next", after);
    } while (*after);
    assert_int_equal(keys_seen, 25);
    assert_int_equal(pages, 4);
    expect(200, "GET", "keys?tenant=nobody", NULL);
    has("\"data\":[]");
    /* The file's come first, and a page may end between. */
    expect(200, "GET", "tenants?limit=1", NULL);
    has("\"name\":\"acme\"");
    has("\"next\":\"acme\"");
    expect(200, "GET", "tenants?limit=1&after=acme", NULL);
    has("\"name\":\"globex\"");
    expect(200, "GET", "tenants?limit=1&after=globex", NULL);
    has("\"origin\":\"api\"");
    expect(200, "GET", "tenants?tenant=pages", NULL);
    has("\"name\":\"pages\"");
    has("\"name\":\"pages.in\"");
    has_not("globex");
    expect(200, "GET", "keys?limit=1", NULL);
    has("\"next\":\"acme:ci\"");
    expect(400, "GET", "keys?limit=0", NULL);
    expect(400, "GET", "keys?limit=501", NULL);
    expect(400, "GET", "keys?limit=x", NULL);
}

static void a_tenants_own_admin_sees_its_own(void **state)
{
    (void)state;
    char id[128], secret[128], where[160];
    expect(201, "POST", "tenants", "{\"name\":\"g\",\"parent\":\"globex\",\"may_set\":[\"tags\"]}");
    make_key("{\"name\":\"gk\",\"tenant\":\"g\"}", id, secret);
    snprintf(where, sizeof(where), "keys/%s", id);
    assert_int_equal(ask_as("acme", "GET", where, NULL), 404);
    assert_int_equal(ask_as("acme", "DELETE", where, NULL), 404);
    assert_int_equal(ask_as("acme", "GET", "tenants/g", NULL), 404);
    assert_int_equal(ask_as("acme", "GET", "tenants/globex", NULL), 404);
    assert_int_equal(ask_as("acme", "PATCH", "tenants/globex", "{}"), 404);
    assert_int_equal(ask_as("acme", "GET", "keys?tenant=g", NULL), 200);
    has("\"data\":[]");
    assert_int_equal(ask_as("acme", "POST", "keys", "{\"name\":\"x\",\"tenant\":\"g\"}"), 400);
    assert_int_equal(ask_as("acme", "POST", "tenants", "{\"name\":\"x\"}"), 403);
    assert_int_equal(ask_as("acme", "POST", "tenants", "{\"name\":\"x\",\"parent\":\"globex\"}"),
                     400);
    assert_int_equal(ask_as("globex", "GET", where, NULL), 200);
    assert_int_equal(ask_as("g", "PATCH", "tenants/g", "{\"limits\":null}"), 403);
    assert_int_equal(ask_as("g", "DELETE", "tenants/g", NULL), 403);
    /* What it may hand on is what it has. */
    assert_int_equal(ask_as("g", "POST", "tenants",
                            "{\"name\":\"gg\",\"parent\":\"g\",\"may_set\":[\"policy\"]}"),
                     403);
    assert_int_equal(
        ask_as("g", "POST", "tenants", "{\"name\":\"gg\",\"parent\":\"g\",\"may_set\":[\"tags\"]}"),
        201);
    assert_int_equal(ask_as("g", "PATCH", "tenants/gg", "{\"may_set\":[\"explain\"]}"), 403);
    assert_int_equal(ask_as("g", "DELETE", where, NULL), 200);
    assert_false(opens(secret));
}

static void all_is_there_after_a_restart(void **state)
{
    (void)state;
    char id[128], secret[128], gone[128], gone_id[128], where[160], before[4096];
    make_key("{\"name\":\"stay\",\"tenant\":\"acme\",\"tags\":{\"a\":\"\\u00e9\\\"\"},"
             "\"budget\":{\"amount\":\"1.5\",\"period\":\"30d\"}}",
             id, secret);
    make_key("{\"name\":\"go\",\"tenant\":\"acme\"}", gone_id, gone);
    snprintf(where, sizeof(where), "keys/%s", gone_id);
    expect(200, "DELETE", where, NULL);
    snprintf(where, sizeof(where), "keys/%s", id);
    expect(200, "GET", where, NULL);
    has("\"period\":\"30d\"");
    strcpy(before, out);
    uint64_t keys_before = roster_figures(roster).keys;
    roster_close(roster);
    roster = open_one();
    assert_int_equal(roster_figures(roster).keys, keys_before);
    assert_true(opens(secret));
    assert_false(opens(gone));
    expect(200, "GET", where, NULL);
    assert_string_equal(out, before);
}

/* The process that takes over and the one that goes have the file open at the same time. */
static void two_processes_change_one_file(void **state)
{
    (void)state;
    struct roster *one = roster, *two = open_one();
    char id[128], secret[128], where[160];
    make_key("{\"name\":\"both\",\"tenant\":\"acme\"}", id, secret);
    snprintf(where, sizeof(where), "keys/%s", id);
    /* The other has not looked yet, and finds it when it writes. */
    roster = two;
    expect(409, "POST", "keys", "{\"name\":\"both\",\"tenant\":\"acme\"}");
    expect(200, "DELETE", where, NULL);
    roster = one;
    expect(409, "PATCH", where, "{\"models\":[\"a\"]}");
    has("revoked");
    roster_close(two);
}

static void the_other_ones_changes_are_noticed(void **state)
{
    (void)state;
    struct roster *one = roster, *two = open_one();
    char id[128], secret[128], where[160];
    make_key("{\"name\":\"noticed\",\"tenant\":\"acme\"}", id, secret);
    snprintf(where, sizeof(where), "keys/%s", id);
    roster = two;
    for (int i = 0; i < 6000 && !opens(secret); i++)
        usleep(10000);
    assert_true(opens(secret));
    expect(200, "DELETE", where, NULL);
    expect(201, "POST", "tenants", "{\"name\":\"brief\"}");
    expect(200, "DELETE", "tenants/brief", NULL);
    roster = one;
    for (int i = 0; i < 6000 && opens(secret); i++)
        usleep(10000);
    assert_false(opens(secret));
    expect(404, "GET", "tenants/brief", NULL);
    roster_close(two);
}

/* Has a key gained a limit with that call? */
static bool gains(int status, const char *method, const char *where, const char *body)
{
    struct directory *before = roster_view(roster);
    expect(status, method, where, body);
    struct directory *after = roster_view(roster);
    bool has = directory_has_gained(after, before);
    directory_unref(before);
    directory_unref(after);
    return has;
}

#define NAMED "{\"name\":\"again\",\"tenant\":\"acme\""

/* Limits go by names: those of a key may have had calls of a revoked one of its name. */
static void a_name_that_comes_back_has_had_calls(void **state)
{
    (void)state;
    char id[128], where[160];
    static const char limited[] = NAMED ",\"limits\":{\"requests_per_day\":3}}";
    assert_false(gains(201, "POST", "keys", limited));
    snprintf(where, sizeof(where), "keys/%s", member("id", id));
    assert_false(gains(200, "DELETE", where, NULL));
    assert_true(gains(201, "POST", "keys", limited));
    snprintf(where, sizeof(where), "keys/%s", member("id", id));
    assert_false(gains(200, "DELETE", where, NULL));
    assert_false(gains(201, "POST", "keys", NAMED "}"));
    snprintf(where, sizeof(where), "keys/%s", member("id", id));
    assert_true(gains(200, "PATCH", where, "{\"limits\":{\"requests_per_day\":3}}"));
    assert_false(gains(201, "POST", "keys",
                       "{\"name\":\"another\",\"tenant\":\"acme\",\"budget\":{\"amount\":1}}"));
    expect(200, "DELETE", where, NULL);
}

/* As another node may hear of it: the new one first, and then the end of the old one. */
static void a_name_that_comes_back_is_heard_of_in_any_order(void **state)
{
    (void)state;
    struct fault fault;
    char ids[2][128], where[300];
    struct roster_change changes[3] = {
        {.kind = RECORD_KEY}, {.kind = RECORD_KEY}, {.kind = RECORD_KEY}};
    struct roster_options options = {.on_change = on_change};
    struct roster *other = roster_open(&options, &file, &fault);
    struct directory *views[3];
    size_t kept;
    static const char *const bodies[] = {
        "{\"name\":\"late\",\"tenant\":\"acme\"}",
        "{\"name\":\"late\",\"tenant\":\"acme\",\"limits\":{\"requests_per_day\":3}}"};
    for (int i = 0; i < 2; i++) {
        expect(201, "POST", "keys", bodies[i]);
        member("id", ids[i]);
        views[i] = roster_view(roster);
        snprintf(where, sizeof(where), "keys/%s", ids[i]);
        if (i == 0)
            expect(200, "DELETE", where, NULL);
    }
    views[2] = directory_ref(views[1]);
    const int of[] = {0, 1, 0}, in[] = {0, 1, 2}; /* made, the next made, revoked */
    for (int i = 0; i < 3; i++) {
        struct text id = text_of(ids[of[i]]);
        changes[i].id = id;
        changes[i].body = directory_record(views[in[i]], RECORD_KEY, id)->body;
    }
    struct roster_mark mark = {0};
    roster_apply(other, changes, 1, &mark, &kept);
    struct directory *before = roster_view(other);
    roster_apply(other, changes + 1, 2, &mark, &kept);
    struct directory *after = roster_view(other);
    assert_true(directory_has_gained(after, before));
    directory_unref(before);
    directory_unref(after);
    for (int i = 0; i < 3; i++)
        directory_unref(views[i]);
    roster_close(other);
    expect(200, "DELETE", where, NULL);
}

static void a_reload_brings_other_defaults(void **state)
{
    (void)state;
    char id[128], secret[128], where[160];
    make_key("{\"name\":\"plain\",\"tenant\":\"acme\",\"budget\":{\"amount\":1}}", id, secret);
    struct roster_file next = file;
    next.defaults = defaults;
    next.default_count = 1;
    next.away_budgets = AWAY_OPEN;
    struct directory *view = roster_set_file(roster, &next);
    const struct key *key = directory_find_key(view, text_of(secret), 0);
    assert_int_equal(key->limits.count, 2);
    assert_int_equal(key->limits.at[0].away, AWAY_OPEN);
    assert_int_equal(key->limits.at[1].amount, 5);
    directory_unref(view);
    /* They are not its own. */
    snprintf(where, sizeof(where), "keys/%s", id);
    expect(200, "GET", where, NULL);
    has("\"limits\":{}");
    view = roster_set_file(roster, &file);
    assert_int_equal(directory_find_key(view, text_of(secret), 0)->limits.count, 1);
    assert_true(directory_version(view) > 2);
    directory_unref(view);
}

/* The ledger and the roster are in one file, and neither minds the other. */
static void the_ledger_shares_the_file(void **state)
{
    (void)state;
    struct fault fault;
    struct book *book = book_open(path, false, false, &fault);
    assert_non_null(book);
    expect(201, "POST", "tenants", "{\"name\":\"beside\"}");
    book_close(book);
    struct database *database = database_open(path, DATABASE_READ, &fault);
    assert_int_equal(database_version(database), book_step_count);
    database_close(database);
}

static void a_store_that_is_locked_says_so(void **state)
{
    (void)state;
    struct fault fault;
    char id[128], secret[128];
    make_key("{\"name\":\"locked\",\"tenant\":\"acme\"}", id, secret);
    struct database *other = database_open(path, DATABASE_WRITE, &fault);
    assert_true(database_begin(other));
    expect(503, "POST", "tenants", "{\"name\":\"late\"}");
    assert_true(opens(secret));
    expect(404, "GET", "tenants/late", NULL);
    database_rollback(other);
    database_close(other);
    expect(201, "POST", "tenants", "{\"name\":\"late\"}");
}

static void damaged_rows_are_left_out(void **state)
{
    (void)state;
    struct fault fault;
    char id[128], secret[128];
    make_key("{\"name\":\"whole\",\"tenant\":\"acme\"}", id, secret);
    roster_close(roster);
    struct database *other = database_open(path, DATABASE_WRITE, &fault);
    assert_true(database_run(other, "INSERT INTO roster VALUES (1, 'key_a', 1, '{'),"
                                    "(1, 'key_b', 1, '{\"id\":\"key_c\",\"name\":\"x\"}'),"
                                    "(0, 't', 1, '[]'), (0, 'u', 1, '{\"name\":\"v\"}')"));
    database_close(other);
    roster = open_one();
    assert_true(opens(secret));
    expect(404, "GET", "keys/key_a", NULL);
    expect(404, "GET", "tenants/t", NULL);
}

/* 34 limits that one call meets: 17 for all models, 17 for one; those of another do not count. */
static const char *many_limits(char room[4096])
{
    static const char *const kinds[] = {"requests", "tokens", "input_tokens", "output_tokens"};
    static const char *const spans[] = {"second", "minute", "hour", "day"};
    char one[1024] = "\"concurrent\":1";
    for (size_t i = 0; i < 16; i++)
        sprintf(one + strlen(one), ",\"%s_per_%s\":1", kinds[i / 4], spans[i % 4]);
    snprintf(room, 4096, "{%s,\"models\":{\"fast\":{%s}}}", one, one);
    return room;
}

static void a_call_meets_no_more_limits_than_it_can_hold(void **state)
{
    (void)state;
    char limits[4096], body[8192];
    many_limits(limits);
    snprintf(body, sizeof(body), "{\"name\":\"top\",\"limits\":%s}", limits);
    expect(201, "POST", "tenants", body);
    snprintf(body, sizeof(body), "{\"name\":\"sub\",\"parent\":\"top\",\"limits\":%s}", limits);
    expect(400, "POST", "tenants", body);
    has("68");
    expect(201, "POST", "tenants", "{\"name\":\"sub\",\"parent\":\"top\",\"limits\":{}}");
    snprintf(body, sizeof(body), "{\"name\":\"ci\",\"tenant\":\"sub\",\"limits\":%s}", limits);
    expect(400, "POST", "keys", body);
    expect(201, "POST", "keys", "{\"name\":\"ci\",\"tenant\":\"sub\",\"limits\":{}}");
    snprintf(body, sizeof(body), "{\"limits\":%s}", limits);
    expect(400, "PATCH", "keys/sub:ci", body);
    expect(400, "PATCH", "tenants/sub", body);
    snprintf(body, sizeof(body), "{\"users\":{\"limits\":%s}}", limits);
    expect(400, "PATCH", "tenants/sub", body);
    /* What is set above counts for all that is in it. */
    expect(200, "PATCH", "tenants/top", "{\"limits\":null}");
    expect(200, "PATCH", "tenants/top", "{\"limits\":{}}");
    snprintf(body, sizeof(body), "{\"limits\":%s}", limits);
    expect(200, "PATCH", "keys/sub:ci", body);
    expect(400, "PATCH", "tenants/top", body);
    expect(200, "PATCH", "tenants/top", "{\"limits\":{\"concurrent\":1}}");
    expect(200, "DELETE", "keys/sub:ci", NULL);
    expect(200, "PATCH", "tenants/top", body);
}

static atomic_bool held;

static void *hold_for_long(void *with)
{
    (void)with;
    struct fault fault;
    struct database *other = database_open(path, DATABASE_WRITE, &fault);
    assert_true(other && database_begin(other) &&
                database_run(other, "UPDATE roster SET version = version"));
    held = true;
    usleep(6500000);
    assert_true(database_commit(other));
    database_close(other);
    return NULL;
}

/* Longer than anybody waits who is asked for something. */
static void a_start_waits_for_a_drain_that_is_slow(void **state)
{
    (void)state;
    pthread_t thread;
    roster_close(roster);
    assert_int_equal(pthread_create(&thread, NULL, hold_for_long, NULL), 0);
    while (!held)
        usleep(1000);
    roster = open_one();
    assert_int_equal(pthread_join(thread, NULL), 0);
}

int main(void)
{
    log_open("/dev/null", LOG_JSON, LOG_ERROR);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_key_is_made_shown_and_ended),
        cmocka_unit_test(a_turned_key_has_two_secrets_for_a_while),
        cmocka_unit_test(changes_are_merged),
        cmocka_unit_test(tenants_are_made_changed_and_dropped),
        cmocka_unit_test(what_the_file_has_is_shown_and_stays),
        cmocka_unit_test(what_is_wrong_is_named),
        cmocka_unit_test(money_is_exact),
        cmocka_unit_test(pages_are_whole),
        cmocka_unit_test(a_tenants_own_admin_sees_its_own),
        cmocka_unit_test(all_is_there_after_a_restart),
        cmocka_unit_test(two_processes_change_one_file),
        cmocka_unit_test(the_other_ones_changes_are_noticed),
        cmocka_unit_test(a_name_that_comes_back_has_had_calls),
        cmocka_unit_test(a_name_that_comes_back_is_heard_of_in_any_order),
        cmocka_unit_test(a_reload_brings_other_defaults),
        cmocka_unit_test(the_ledger_shares_the_file),
        cmocka_unit_test(a_store_that_is_locked_says_so),
        cmocka_unit_test(a_start_waits_for_a_drain_that_is_slow),
        cmocka_unit_test(damaged_rows_are_left_out),
        cmocka_unit_test(a_call_meets_no_more_limits_than_it_can_hold),
    };
    int failed = cmocka_run_group_tests(tests, begin, end);
    log_close();
    return failed;
}
