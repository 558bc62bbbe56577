/* SPDX-License-Identifier: Apache-2.0 */
/* Batches in the ledger: held until they are released, and booked once, whoever dies when. */
#include <signal.h>
#include <sys/wait.h>

#include "tests/unit/child.h"
#include "tests/unit/policy/ledger_cases.h"

static struct place place;

static int make_place(void **state)
{
    (void)state;
    place_make(&place);
    return 0;
}

static int remove_place(void **state)
{
    (void)state;
    place_remove(&place);
    return 0;
}

struct held {
    size_t count;
    int64_t cost;
    char models[64];
};

static void see(void *with, const struct ledger_row *part)
{
    struct held *held = with;
    held->count++;
    held->cost += part->cost_nanos;
    size_t len = strlen(held->models);
    snprintf(held->models + len, sizeof(held->models) - len, "%.*s ",
             TEXT_ARGS(part->upstream_model));
}

static struct held held_now(void)
{
    struct held held = {0};
    struct fault fault = {0};
    struct ledger_reader *reader = ledger_reader_new(place.database);
    assert_true(ledger_each_held(place.ledger, reader, see, &held, &fault));
    ledger_reader_free(reader);
    return held;
}

static struct ledger_row part_of(const char *id, const char *model, int64_t cost)
{
    struct ledger_row part = row_of(id, cost);
    part.upstream_model = text_of(model);
    part.operation = TEXT("batch");
    part.counted = COUNTED_ESTIMATE;
    return part;
}

/* Submit a batch of two models. */
static void submit(struct journal *journal, const char *id)
{
    struct ledger_row call = row_of("call", 300),
                      parts[] = {part_of(id, "a", 100), part_of(id, "b", 200)};
    struct ledger_mark mark;
    assert_true(ledger_open_call(journal, &call, &mark));
    call.cost_nanos = 0;
    assert_true(ledger_settle_batch(journal, &call, &mark, parts, 2));
    assert_true(journal_is_safe(journal, mark));
}

static void release(struct journal *journal, const char *id, const char *model, int64_t cost)
{
    struct ledger_row part = part_of(id, model, cost);
    part.counted = COUNTED_PROVIDER;
    assert_true(ledger_release(journal, &part));
}

static void drain(struct ledger *ledger)
{
    assert_true(wait_until(is_drained, ledger));
}

static void what_is_held_costs_nothing_until_it_is_released(void **state)
{
    (void)state;
    struct ledger *ledger = ledger_at(&place, 1);
    struct journal *journal = ledger_journal(ledger, 0);
    submit(journal, "batch_1");
    struct usage_row total = total_of(&place);
    assert_int_equal(total.requests, 1);
    assert_int_equal(total.cost_nanos, 0);
    drain(ledger);
    assert_int_equal(ask_number(&place, "SELECT count(*) FROM held"), 2);
    release(journal, "batch_1", "a", 60);
    total = total_of(&place); /* from the journal or the database, wherever it is now */
    assert_int_equal(total.requests, 2);
    assert_int_equal(total.cost_nanos, 60);
    drain(ledger);
    assert_int_equal(total_of(&place).cost_nanos, 60);
    assert_int_equal(ask_number(&place, "SELECT count(*) FROM held"), 1);
    ledger_close(ledger);
    struct held held = held_now();
    assert_int_equal(held.count, 1);
    assert_int_equal(held.cost, 200);
    assert_string_equal(held.models, "b ");
}

static void releasing_twice_is_releasing_once(void **state)
{
    (void)state;
    struct ledger *ledger = ledger_at(&place, 2);
    submit(ledger_journal(ledger, 0), "batch_1");
    drain(ledger);
    for (int i = 0; i < 3; i++) {
        release(ledger_journal(ledger, 0), "batch_1", "a", 60);
        release(ledger_journal(ledger, 1), "batch_1", "a", 70);
        if (i == 1)
            drain(ledger);
        assert_int_equal(total_of(&place).requests, 2);
    }
    release(ledger_journal(ledger, 0), "batch_2", "a", 1000); /* there is no such */
    ledger_close(ledger);
    struct usage_row total = total_of(&place);
    assert_int_equal(total.requests, 2);
    assert_true(total.cost_nanos == 60 || total.cost_nanos == 70);
    assert_int_equal(ask_number(&place, "SELECT count(*) FROM requests_20251124"), 2);
}

/* Do it in a process that dies then, with all of it in the journal only. */
static void die_after(bool releases)
{
    pid_t child = child_fork();
    if (child == 0) {
        struct ledger *ledger = ledger_at(&place, 1);
        submit(ledger_journal(ledger, 0), "batch_1");
        if (releases)
            release(ledger_journal(ledger, 0), "batch_1", "b", 50);
        raise(SIGKILL);
    }
    assert_int_equal(waitpid(child, NULL, 0), child);
}

static void what_a_dead_process_held_is_held_by_the_next(void **state)
{
    (void)state;
    die_after(false);
    assert_int_equal(held_now().cost, 300);
    assert_int_equal(total_of(&place).lost, 0);
    struct ledger *ledger = ledger_at(&place, 1);
    assert_int_equal(held_now().cost, 300); /* while it is drained, and afterwards */
    ledger_close(ledger);
    assert_int_equal(held_now().cost, 300);
}

static void what_a_dead_process_released_is_not_held(void **state)
{
    (void)state;
    die_after(true);
    assert_int_equal(held_now().cost, 100);
    assert_int_equal(total_of(&place).cost_nanos, 50);
    struct ledger *ledger = ledger_at(&place, 1);
    ledger_close(ledger);
    assert_int_equal(held_now().cost, 100);
    assert_int_equal(total_of(&place).cost_nanos, 50);
}

static void groups_cross_no_end_of_a_segment(void **state)
{
    (void)state;
    static char long_name[256];
    memset(long_name, 'm', 255);
    struct ledger *ledger = ledger_at(&place, 1);
    struct journal *journal = ledger_journal(ledger, 0);
    for (int i = 0; i < 300; i++) {
        char id[16];
        struct ledger_row call = row_of("call", 1), parts[BATCH_PARTS_MAX];
        struct ledger_mark mark;
        snprintf(id, sizeof(id), "batch_%d", i);
        for (int k = 0; k < BATCH_PARTS_MAX; k++) {
            static const char *const models[] = {"a", "b", "c", "d"};
            parts[k] = part_of(id, models[k], 1);
            parts[k].tags = (struct text){long_name, (size_t)(i * 7 + k * 31) % 256};
        }
        assert_true(ledger_open_call(journal, &call, &mark));
        call.cost_nanos = 0;
        assert_true(ledger_settle_batch(journal, &call, &mark, parts, BATCH_PARTS_MAX));
    }
    ledger_close(ledger);
    assert_int_equal(held_now().cost, 300 * BATCH_PARTS_MAX);
    assert_int_equal(total_of(&place).requests, 300);
    assert_int_equal(count_entries(place.ledger, ".bad"), 0);
}

struct asked {
    struct owner_question question;
    struct owner owners[2];
    char facts[OBJECT_FACTS_BYTES + 1];
    _Atomic bool is_answered;
};

static void on_answer(struct owner_question *question)
{
    ((struct asked *)(void *)question)->is_answered = true;
}

static bool is_answered(void *with)
{
    return ((struct asked *)with)->is_answered;
}

static void ask(struct ledger *ledger, struct asked *asked, const char *id)
{
    *asked = (struct asked){.question = {.count = 1, .answer = on_answer}};
    asked->question.owners = asked->owners;
    asked->question.facts = asked->facts;
    memset(asked->facts, 'x', OBJECT_FACTS_BYTES);
    snprintf(asked->owners[0].id, OWNER_TEXT_BYTES, "%s", id);
    ledger_ask_owners(ledger, &asked->question);
    assert_true(wait_until(is_answered, asked));
}

static void facts_come_back_with_their_owner(void **state)
{
    (void)state;
    static struct asked asked;
    struct ledger *ledger = ledger_at(&place, 1);
    struct journal *journal = ledger_journal(ledger, 0);
    assert_true(
        ledger_own_file(journal, TEXT("file-1"), TEXT("acme"), TEXT("mini"), TEXT("two\nlines")));
    assert_true(
        ledger_own(journal, TEXT("file-2"), TEXT("file"), TEXT("acme"), TEXT("mini"), TEXT("")));
    ask(ledger, &asked, "file-1");
    assert_true(asked.owners[0].found);
    assert_string_equal(asked.owners[0].target, "mini");
    assert_string_equal(asked.facts, "two\nlines");
    ask(ledger, &asked, "file-2");
    assert_true(asked.owners[0].found);
    assert_string_equal(asked.facts, "");
    ask(ledger, &asked, "file-3");
    assert_string_equal(asked.facts, "");
    ledger_close(ledger);
}

int main(void)
{
#define CASE(test) cmocka_unit_test_setup_teardown(test, make_place, remove_place)
    const struct CMUnitTest tests[] = {
        CASE(what_is_held_costs_nothing_until_it_is_released),
        CASE(releasing_twice_is_releasing_once),
        CASE(what_a_dead_process_held_is_held_by_the_next),
        CASE(what_a_dead_process_released_is_not_held),
        CASE(groups_cross_no_end_of_a_segment),
        CASE(facts_come_back_with_their_owner),
    };
#undef CASE
    return cmocka_run_group_tests(tests, NULL, NULL);
}
