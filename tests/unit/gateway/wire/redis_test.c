/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include "gateway/wire/redis_inside.h"

/* cmocka wants the headers above. */
#include <cmocka.h>

/* ----------------------------------------------------------------------------- addresses */

static struct redis_url good_url(const char *from)
{
    struct redis_url url;
    struct fault fault = {0};
    if (!redis_url_parse(from, &url, &fault))
        print_error("%s: %s\n", from, fault.text);
    assert_int_equal(fault.kind, FAULT_NONE);
    assert_true(redis_url_read(from, &fault));
    return url;
}

static void check_url(const char *from, const char *host, unsigned port, unsigned db)
{
    struct redis_url url = good_url(from);
    assert_string_equal(url.place.host, host);
    assert_int_equal(url.place.port, port);
    assert_int_equal(url.db, db);
    assert_int_equal(url.tls, text_starts(text_of(from), TEXT("rediss:")));
    assert_int_equal(url.place.is_unix, text_starts(text_of(from), TEXT("unix:")));
}

static void urls_name_a_host_a_port_and_a_database(void **state)
{
    (void)state;
    check_url("redis://localhost", "localhost", 6379, 0);
    check_url("redis://localhost/", "localhost", 6379, 0);
    check_url("redis://a.b-c.example:1/15", "a.b-c.example", 1, 15);
    check_url("redis://10.0.0.1:6380?db=3", "10.0.0.1", 6380, 3);
    check_url("rediss://[::1]:65535/7", "::1", 65535, 7);
    check_url("redis://[2001:db8::1]", "2001:db8::1", 6379, 0);
    check_url("unix:///run/redis.sock", "/run/redis.sock", 0, 0);
    check_url("unix:///run/a%20b%3f?db=2", "/run/a b?", 0, 2);
}

static void check_login(const char *from, const char *user, const char *password)
{
    struct redis_url url = good_url(from);
    assert_string_equal(url.user, user);
    assert_string_equal(url.password, password);
}

static void urls_may_have_a_login(void **state)
{
    (void)state;
    check_login("redis://h", "", "");
    check_login("redis://:word@h", "", "word");
    check_login("redis://user:word@h:1/2", "user", "word");
    check_login("redis://us%3Aer:%2f%40%3a%25%23%20@h", "us:er", "/@:%# ");
    check_login("redis://user:a@b@h", "user", "a@b");
    check_login("redis://user:a:b@h", "user", "a:b");
    check_login("unix://:word@/run/s", "", "word");
    check_login("rediss://default:word@[::1]:1", "default", "word");
}

static void which_one_it_is_is_said_without_its_password(void **state)
{
    static const struct {
        struct redis_options options;
        const char *name;
    } known[] = {
        {{.url = "redis://localhost"}, "localhost:6379/0"},
        {{.url = "rediss://me:s3cret%40@redis.example:7000/2"}, "redis.example:7000/2"},
        {{.url = "redis://:s3cret@[::1]:7000"}, "[::1]:7000/0"},
        {{.url = "unix://:s3cret@/run/redis.sock?db=3"}, "unix:/run/redis.sock?db=3"},
        {{.url = "redis://:s3cret@none/1", .sentinel_master = "mine", .sentinels = {"a:26379"}},
         "mine/1 by the Sentinel a:26379"},
        {{.url = "redis://none/1", .sentinel_master = "mine", .sentinels = {"a:1", "b:2"}},
         "mine/1 by the Sentinel a:1 and others"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        char name[REDIS_NAME_BYTES];
        redis_name(&known[i].options, name);
        assert_string_equal(name, known[i].name);
    }
}

static void what_is_no_url_is_refused_without_its_password(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        "localhost:6379",
        "http://localhost",
        "redis:/localhost",
        "REDIS://localhost",
        "redis://",
        "redis://:6379",
        "redis://h:0",
        "redis://h:65536",
        "redis://h:x",
        "redis://h/x",
        "redis://h/-1",
        "redis://h/1/2",
        "redis://h/1000001",
        "redis://h?db=",
        "redis://h?db=1&x=2",
        "redis://h?timeout=1",
        "redis://h#1",
        "redis://5ecre7@h",
        "redis://user:@h",
        "redis://:5ecre7%@h",
        "redis://:5ecre7%1@h",
        "redis://:5ecre7%0g@h",
        "redis://:5ecre7%00@h",
        "redis://:5ecre7@",
        "redis://user:5ecre7/5ecre7@h",
        "redis://[::1",
        "redis://::1",
        "redis://a b",
        "unix://run/s",
        "unix://",
        "unix://:5ecre7@run",
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct fault fault = {0};
        if (redis_url_read(bad[i], &fault))
            print_error("%s is taken\n", bad[i]);
        assert_int_not_equal(fault.kind, FAULT_NONE);
        assert_null(strstr(fault.text, "5ecre7"));
    }
}

static bool takes_url_of(const char *before, size_t count, const char *after)
{
    char url[6000], word[5000];
    struct fault fault = {0};
    memset(word, 'a', sizeof(word));
    word[count] = '\0';
    snprintf(url, sizeof(url), "%s%s%s", before, word, after);
    return redis_url_read(url, &fault);
}

static void urls_have_bounds(void **state)
{
    (void)state;
    assert_true(takes_url_of("redis://:", 511, "@h") && !takes_url_of("redis://:", 512, "@h"));
    assert_true(takes_url_of("redis://", 511, ":x@h") && !takes_url_of("redis://", 512, ":x@h"));
    assert_true(takes_url_of("unix:///", 106, "") && !takes_url_of("unix:///", 107, ""));
    assert_false(takes_url_of("redis://", 256, ""));
    assert_false(takes_url_of("redis://", 4999, ""));
}

static void places_of_sentinels(void **state)
{
    (void)state;
    struct redis_place place;
    assert_true(redis_place_read(TEXT("sentinel"), REDIS_SENTINEL_PORT, &place));
    assert_int_equal(place.port, 26379);
    assert_true(redis_place_read(TEXT("[::1]:5"), REDIS_SENTINEL_PORT, &place));
    assert_string_equal(place.host, "::1");
    assert_int_equal(place.port, 5);
    assert_false(redis_place_read(TEXT("::1"), REDIS_SENTINEL_PORT, &place));
    assert_false(redis_place_read(TEXT(""), REDIS_SENTINEL_PORT, &place));
}

/* ------------------------------------------------------------------------------- replies */

/* Each reply of <from>, fed in steps of <step>, in words: i1 t"x" l2(…) n s"OK" e"ERR". */
static void write_reply(char *out, size_t room, const struct redis_reply *reply)
{
    size_t at = strlen(out);
    static const char marks[] = {[REDIS_NIL] = 'n',    [REDIS_STATUS] = 's', [REDIS_TEXT] = 't',
                                 [REDIS_NUMBER] = 'i', [REDIS_LIST] = 'l',   [REDIS_ERROR] = 'e'};
    struct text text = redis_text(reply);
    if (redis_kind(reply) == REDIS_NUMBER)
        snprintf(out + at, room - at, "i%lld ", (long long)redis_number(reply));
    else if (redis_kind(reply) == REDIS_LIST)
        snprintf(out + at, room - at, "l%zu ", redis_count(reply));
    else
        snprintf(out + at, room - at, "%c%.*s ", marks[redis_kind(reply)], TEXT_ARGS(text));
    for (size_t i = 0; i < redis_count(reply); i++)
        write_reply(out, room, redis_item(reply, i));
}

static void read_all(struct text from, size_t step, char *out, size_t room)
{
    struct redis_parser parser;
    const struct redis_reply *reply;
    enum redis_parsed parsed = REDIS_PARSE_MORE;
    out[0] = '\0';
    redis_parser_init(&parser);
    for (size_t at = 0; at < from.len && parsed != REDIS_PARSE_BAD; at += step) {
        assert_true(redis_parser_feed(&parser, text_head(text_from(from, at), step)));
        while ((parsed = redis_parser_next(&parser, &reply)) == REDIS_PARSED) {
            write_reply(out, room, reply);
            strcat(out, "| "); /* NOLINT */
        }
    }
    if (parsed == REDIS_PARSE_BAD)
        strcat(out, "bad"); /* NOLINT */
    assert_true(parsed != REDIS_PARSE_BAD || redis_parser_why(&parser)[0]);
    redis_parser_done(&parser);
    redis_parser_done(&parser);
}

static void check_replies(const char *from, const char *expected)
{
    char out[2000];
    for (size_t step = 1; step < 40; step++) {
        read_all(text_of(from), step, out, sizeof(out) - 10);
        assert_string_equal(out, expected);
    }
}

static void replies_of_every_kind_however_they_are_cut(void **state)
{
    (void)state;
    check_replies("+OK\r\n-ERR x y\r\n:12\r\n:-3\r\n$3\r\na\r\n\r\n$0\r\n\r\n$-1\r\n*-1\r\n*0\r\n",
                  "sOK | eERR x y | i12 | i-3 | ta\r\n | t | n | n | l0 | ");
    check_replies("*3\r\n*2\r\n:1\r\n*1\r\n+x\r\n$-1\r\n$1\r\nz\r\n:7\r\n",
                  "l3 l2 i1 l1 sx n tz | i7 | ");
    check_replies("*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n:1\r\n", "l1 l1 l1 l1 l1 l1 l1 i1 | ");
    check_replies(":9223372036854775807\r\n:-9223372036854775808\r\n",
                  "i9223372036854775807 | i-9223372036854775808 | ");
}

static void what_is_no_reply_is_bad(void **state)
{
    (void)state;
    check_replies(":1\r\n?", "i1 | bad");
    check_replies("*1\r\n%1\r\n", "bad");
    check_replies("$-2\r\n", "bad");
    check_replies("$x\r\n", "bad");
    check_replies(":\r\n", "bad");
    check_replies("*1048577\r\n", "bad");
    check_replies("$67108865\r\n", "bad");
    check_replies("*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n:1\r\n", "bad");
}

static void texts_that_are_numbers(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t number;
    } rows[] = {{"0", 0},
                {"-7", -7},
                {"9223372036854775807", INT64_MAX},
                {"-9223372036854775808", INT64_MIN},
                {"9223372036854775808", 0},
                {"-9223372036854775809", 0},
                {"", 0},
                {"-", 0},
                {"1.5", 0},
                {" 1", 0}};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct redis_reply reply = {.kind = REDIS_TEXT, .text = text_of(rows[i].text)};
        assert_int_equal(redis_number(&reply), rows[i].number);
    }
    struct redis_reply status = {.kind = REDIS_STATUS, .text = TEXT("5")};
    assert_int_equal(redis_number(&status), 0);
}

static void items_beyond_the_end_are_nil(void **state)
{
    (void)state;
    struct redis_reply reply = {.kind = REDIS_NUMBER, .number = 1};
    assert_int_equal(redis_kind(redis_item(&reply, 0)), REDIS_NIL);
    assert_int_equal(redis_text(redis_item(&reply, 9)).len, 0);
    assert_int_equal(redis_count(&reply), 0);
}

static void errors_are_known_by_their_first_word(void **state)
{
    (void)state;
    struct redis_reply reply = {.kind = REDIS_ERROR, .text = TEXT("NOSCRIPT No matching")};
    assert_true(redis_is_error(&reply, "NOSCRIPT"));
    assert_false(redis_is_error(&reply, "NO"));
    reply.kind = REDIS_STATUS;
    assert_false(redis_is_error(&reply, "NOSCRIPT"));
}

/* ------------------------------------------------------------------------------ commands */

static void commands_are_written_in_resp(void **state)
{
    (void)state;
    struct text words[] = {TEXT("SET"), TEXT("a\r\n"), TEXT("")};
    struct redis_command *command = redis_command_new(words, 3);
    static const char expected[] = "*3\r\n$3\r\nSET\r\n$3\r\na\r\n\r\n$0\r\n\r\n";
    assert_int_equal(command->len, sizeof(expected) - 1);
    assert_memory_equal(command->bytes, expected, command->len);
    redis_command_free(command);
}

static void a_script_is_sent_with_its_source_where_its_digest_is_unknown(void **state)
{
    (void)state;
    struct redis_script script;
    redis_script_init(&script, TEXT("return 1"));
    assert_string_equal(script.sha, "e0e1f9fabfc9d4800c877a703b823ac0578ff8db");
    struct text words[] = {TEXT("EVALSHA"), text_of(script.sha), TEXT("1"), TEXT("k"), TEXT("x")};
    struct redis_command *command = redis_command_new(words, 5);
    command->script = &script;
    command->slot = 9;
    command->due_us = 8;
    command = redis_command_with_source(command);
    static const char expected[] =
        "*5\r\n$4\r\nEVAL\r\n$8\r\nreturn 1\r\n$1\r\n1\r\n$1\r\nk\r\n$1\r\nx\r\n";
    assert_int_equal(command->len, sizeof(expected) - 1);
    assert_memory_equal(command->bytes, expected, command->len);
    assert_int_equal(command->slot, 9);
    assert_int_equal(command->due_us, 8);
    assert_null(command->script);
    redis_command_free(command);
}

/* ------------------------------------------------------------------------------- cluster */

static void slots_of_keys_and_tags(void **state)
{
    (void)state;
    /* 0x31C3 is the specification's example. */
    assert_int_equal(redis_slot(TEXT("123456789")), 0x31C3 % 16384);
    assert_int_equal(redis_slot(TEXT("")), 0);
    assert_int_equal(redis_slot(TEXT("foo")), 12182);
    assert_int_equal(redis_slot(TEXT("x{foo}y")), 12182);
    assert_int_equal(redis_slot(TEXT("{foo}{bar}")), 12182);
    assert_int_not_equal(redis_slot(TEXT("{}foo")), redis_slot(TEXT("foo")));
    assert_int_equal(redis_slot(TEXT("{foo")), redis_slot(TEXT("{foo")));
    assert_int_equal(redis_slot(TEXT("foo{{bar}}zap")), redis_slot(TEXT("{bar")));
    assert_int_equal(redis_slot((struct text){"\xff\x00\x80", 3}),
                     redis_slot((struct text){"{\xff\x00\x80}", 5}));
}

static bool reads_redirect(const char *error, struct redis_redirect *redirect)
{
    struct redis_reply reply = {.kind = REDIS_ERROR, .text = text_of(error)};
    return redis_redirect_read(&reply, redirect);
}

static void redirections(void **state)
{
    (void)state;
    struct redis_redirect to;
    assert_true(reads_redirect("MOVED 3999 127.0.0.1:6381", &to));
    assert_false(to.is_ask);
    assert_int_equal(to.slot, 3999);
    assert_string_equal(to.place.host, "127.0.0.1");
    assert_int_equal(to.place.port, 6381);
    assert_true(reads_redirect("ASK 16383 2001:db8::1:7000", &to));
    assert_true(to.is_ask);
    assert_string_equal(to.place.host, "2001:db8::1");
    assert_int_equal(to.place.port, 7000);
    assert_true(reads_redirect("MOVED 0 :7000", &to));
    assert_string_equal(to.place.host, "");
    static const char *const bad[] = {"MOVED",        "MOVED 1",        "MOVED 16384 h:1",
                                      "MOVED -1 h:1", "ASK 1 h",        "ASK 1 h:0",
                                      "ASK 1 h:x",    "ASKING 1 h:1",   "ERR MOVED 1 h:1",
                                      "MOVED 1 h:",   "MOVED 1 h:65536"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_false(reads_redirect(bad[i], &to));
}

/* --------------------------------------------------------------------------- the client */

/* A client of a server that is not there: refuses at once, tries again, can be freed. */
static void without_a_server_nothing_is_taken(void **state)
{
    (void)state;
    struct loop *loop = loop_new();
    struct dns *dns = dns_new(loop);
    struct fault fault = {0};
    struct redis_options options = {.url = "redis://127.0.0.1:1", .timeout_us = 50000};
    struct redis *redis = redis_new(loop, dns, &options, &fault);
    assert_non_null(redis);
    assert_false(redis_is_up(redis));
    assert_int_equal(redis_life(redis), 0);
    struct text words[] = {TEXT("PING")};
    assert_false(redis_send(redis, TEXT(""), words, 1, 0, NULL, NULL));
    redis_free(redis);
    loop_clear(loop);
    dns_free(dns);
    loop_free(loop);
}

static void options_that_do_not_go_together(void **state)
{
    (void)state;
    static const struct redis_options bad[] = {
        {.url = "redis://h:x"},
        {.url = "redis://h", .mode = REDIS_SENTINEL},
        {.url = "redis://h", .mode = REDIS_SENTINEL, .sentinels = {"a"}},
        {.url = "redis://h", .sentinel_master = "m"},
        {.url = "redis://h", .sentinel_master = "m", .sentinels = {"a:b"}},
        {.url = "redis://h/1", .mode = REDIS_CLUSTER},
        {.url = "rediss://h", .tls.ca_file = "/nowhere/ca.pem"},
    };
    struct loop *loop = loop_new();
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct fault fault = {0};
        assert_null(redis_new(loop, NULL, &bad[i], &fault));
        assert_true(fault.text[0]);
    }
    loop_free(loop);
}

static void waits_grow_up_to_two_seconds(void **state)
{
    (void)state;
    for (unsigned failures = 0; failures < 100; failures++) {
        struct redis_line line = {.failures = failures};
        uint64_t wait = redis_line_retry_us(&line);
        assert_in_range(wait, 50000, 2000000);
        assert_true(failures > 1 || wait <= 75000);
        assert_true(failures < 8 || wait >= 1300000);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(urls_name_a_host_a_port_and_a_database),
        cmocka_unit_test(urls_may_have_a_login),
        cmocka_unit_test(which_one_it_is_is_said_without_its_password),
        cmocka_unit_test(what_is_no_url_is_refused_without_its_password),
        cmocka_unit_test(urls_have_bounds),
        cmocka_unit_test(places_of_sentinels),
        cmocka_unit_test(replies_of_every_kind_however_they_are_cut),
        cmocka_unit_test(what_is_no_reply_is_bad),
        cmocka_unit_test(texts_that_are_numbers),
        cmocka_unit_test(items_beyond_the_end_are_nil),
        cmocka_unit_test(errors_are_known_by_their_first_word),
        cmocka_unit_test(commands_are_written_in_resp),
        cmocka_unit_test(a_script_is_sent_with_its_source_where_its_digest_is_unknown),
        cmocka_unit_test(slots_of_keys_and_tags),
        cmocka_unit_test(redirections),
        cmocka_unit_test(without_a_server_nothing_is_taken),
        cmocka_unit_test(options_that_do_not_go_together),
        cmocka_unit_test(waits_grow_up_to_two_seconds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
