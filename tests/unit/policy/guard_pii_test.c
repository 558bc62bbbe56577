/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/policy/guard_cases.h"

struct example {
    const char *text;
    const char *redacted; /* NULL: nothing of the kind */
};

static void check_all(const char *entity, const struct example *examples, size_t count)
{
    struct text entities[] = {text_of(entity)};
    struct guard_rule rule = {.name = TEXT("p"),
                              .type = GUARD_PII,
                              .action = GUARD_REDACT,
                              .entities = entities,
                              .entity_count = 1};
    for (size_t i = 0; i < count; i++)
        check_text(&rule, examples[i].text, examples[i].redacted);
}

#define CHECK(entity, list) check_all(entity, list, sizeof(list) / sizeof((list)[0]))
#define GONE                "[REDACTED:p]"

static void emails(void **state)
{
    (void)state;
    static const struct example list[] = {
        {"write to jane.doe+x@mail.example.com.", "write to " GONE "."},
        {"<o'neil@example.org>", "<" GONE ">"},
        {"a@b.co,c@d.io", GONE "," GONE},
        {"müller@exämple.de", GONE},
        {"jane@sub-domain.example.museum/x", GONE "/x"},
        {"jane@example.", NULL},
        {"jane@localhost", NULL},
        {"@decorator and a @ b.com", NULL},
        {"user@1.2.3.4", NULL},
        {"git@github.com:a/b", GONE ":a/b"},
        {"x@y..com", NULL},
        {"@@@@", NULL},
    };
    CHECK("email", list);
}

static void phones(void **state)
{
    (void)state;
    static const struct example list[] = {
        {"call +49 30 1234567 now", "call " GONE " now"},
        {"+14155552671", GONE},
        {"+49 (0)30 1234567", GONE},
        {"+44 (0) 20 7946 0958.", GONE "."},
        {"tel:+1-415-555-2671", "tel:" GONE},
        {"(415) 555-2671", GONE},
        {"415-555-2671", GONE},
        {"415.555.2671", GONE},
        {"1-415-555-2671", GONE},
        {"030 1234567", GONE},
        {"(030) 1234567", GONE},
        {"0151/23456789", GONE},
        {"01 23 45 67 89", GONE},
        {"020 7946 0958", GONE},
        {"0049 30 1234567", GONE},
        {"415-555-2671 4 times", GONE " 4 times"},
        {"0151 23456789 4111111111111111", GONE " 4111111111111111"},
        {"415-555-2671-1234", NULL},
        {"1234567890", NULL},
        {"0123456789", NULL},
        {"2024-01-02 03:04:05", NULL},
        {"01.02.2024 10:30", NULL},
        {"01.02.2024", NULL},
        {"version 1.22.333.4444", NULL},
        {"115-555-2671", NULL},
        {"3.14159265358979", NULL},
        {"+1 + 2 = 3", NULL},
        {"a+49301234567", NULL},
        {"192.168.100.200", NULL},
        {"1700000000000", NULL},
        {"order 415-555-26711", NULL},
        {"550e8400-e29b-41d4-a716-446655440000", NULL},
        {"000 000 0000", NULL},
    };
    CHECK("phone", list);
}

static void cards(void **state)
{
    (void)state;
    static const struct example list[] = {
        {"4111 1111 1111 1111", GONE},
        {"card 4111-1111-1111-1111!", "card " GONE "!"},
        {"5555555555554444", GONE},
        {"378282246310005", GONE},
        {"3782 822463 10005", GONE},
        {"6011111111111117", GONE},
        {"30569309025904", GONE},
        {"3530111333300000", GONE},
        {"2223003122003222", GONE},
        {"order 77 4111 1111 1111 1111", "order 77 " GONE},
        {"4111 1111 1111 1111 123", GONE " 123"},
        {"4111 1111 1111 1112", NULL},
        {"14111111111111111", NULL},
        {"x4111111111111111", NULL},
        {"4111111111111111a", NULL},
        {"0000000000000000", NULL},
        {"1234567812345670", NULL},
    };
    CHECK("card", list);
}

static void ibans(void **state)
{
    (void)state;
    static const struct example list[] = {
        {"IBAN: DE89 3704 0044 0532 0130 00.", "IBAN: " GONE "."},
        {"DE89370400440532013000", GONE},
        {"gb82west12345698765432", GONE},
        {"FR14 2004 1010 0505 0001 3M02 606", GONE},
        {"NO93 8601 1117 947", GONE},
        {"MT84MALT011000012345MTLCAST001S", GONE},
        {"DE88370400440532013000", NULL},
        {"XX89370400440532013000", NULL},
        {"XDE89370400440532013000", NULL},
        {"DE893704004405320130001", NULL},
    };
    CHECK("iban", list);
}

static void addresses(void **state)
{
    (void)state;
    static const struct example list[] = {
        {"from 192.168.1.10, port", "from " GONE ", port"},
        {"10.0.0.1:8080", GONE ":8080"},
        {"[2001:db8::1]", "[" GONE "]"},
        {"fe80::1ff:fe23:4567:890a", GONE},
        {"at 8.8.8.8.", "at " GONE "."},
        {"256.1.1.1", NULL},
        {"1.2.3", NULL},
        {"v1.2.3.4.5", NULL},
        {"std::vector, a::b", NULL},
        {"12:30:45", NULL},
        {"dead:beef", NULL},
    };
    CHECK("ip", list);
}

static void secrets(void **state)
{
    (void)state;
    static const struct example list[] = {
        {"key sk-abcdefghijklmnopqrst1234 x", "key " GONE " x"},
        {"sk-proj-Abc_def-0123456789abcdef", GONE},
        {"sk-ant-api03-abcdefgh-0123456789_XYZ", GONE},
        {"AKIAIOSFODNN7EXAMPLE", GONE},
        {"ghp_0123456789abcdefghijABCDEFGHIJ012345", GONE},
        {"xoxb-123456789012-abcdef", GONE},
        {"AIzaSyA0123456789_abcdefghijklmnop-qrst", GONE},
        {"Bearer eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I",
         "Bearer " GONE},
        {"postgres://app:s3cr3t@db.example/x", "postgres://" GONE "@db.example/x"},
        {"-----BEGIN RSA PRIVATE KEY-----\nMIIEpAIBAAKCAQEA\nabc+/=\n-----END RSA PRIVATE "
         "KEY-----\nafter",
         GONE "\nafter"},
        {"-----BEGIN PRIVATE KEY-----\nMIIEpAIBAAKCAQEA", GONE},
        {"-----BEGIN CERTIFICATE-----\nMIIEpAIBAAKCAQEA\n-----END CERTIFICATE-----", NULL},
        {"sk-learn and sk-toggleable__label-arrow", NULL},
        {"task-abcdefghijklmnopqrst1234", NULL},
        {"AKIAIOSFODNN7EXAMPLES", NULL},
        {"http://example.com:8080/a@b", NULL},
        {"https://example.com/?q=a:b@c", NULL},
        {"eyJhbGciOiJIUzI1NiJ9.notajwt", NULL},
        {"npm_config_registry", NULL},
    };
    CHECK("secret", list);
}

static void all_but_addresses_without_entities(void **state)
{
    (void)state;
    struct guard_rule rule = {.name = TEXT("p"), .type = GUARD_PII, .action = GUARD_REDACT};
    check_text(&rule, "a@b.co 10.0.0.1 415-555-2671 4111111111111111 AKIAIOSFODNN7EXAMPLE",
               GONE " 10.0.0.1 " GONE " " GONE " " GONE);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(emails),
        cmocka_unit_test(phones),
        cmocka_unit_test(cards),
        cmocka_unit_test(ibans),
        cmocka_unit_test(addresses),
        cmocka_unit_test(secrets),
        cmocka_unit_test(all_but_addresses_without_entities),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
