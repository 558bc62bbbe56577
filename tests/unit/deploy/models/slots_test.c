/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "deploy/models/slots.h"

/* cmocka wants the headers above. */
#include <cmocka.h>

enum { MANY = 1000, PLENTY = 1 << 30 };

static struct loop *loop;
static unsigned granted, refused, rings;
static const struct launch_address address = {.host = "127.0.0.1", .port = 1};
static const struct slots_wish any = {0};

static int begin(void **state)
{
    (void)state;
    loop = loop_new();
    granted = refused = rings = 0;
    return 0;
}

static int end(void **state)
{
    (void)state;
    loop_free(loop);
    return 0;
}

/* Slots live as long as the program: each test has its own. */
static struct slots *fresh(void)
{
    static unsigned number;
    char name[16];
    snprintf(name, sizeof(name), "d%u", number++);
    return slots_of(text_of(name));
}

static void on_grant(struct ticket *ticket)
{
    if (ticket->why_not)
        refused++;
    else
        granted++;
}

static struct ticket ticket_of(uint64_t key)
{
    return (struct ticket){.key = key, .bytes = 10, .loop = loop, .on_grant = on_grant};
}

static void places_are_never_more_than_there_are(void **state)
{
    (void)state;
    struct slots *slots = fresh();
    struct slot taken[5];
    assert_false(slots_take(slots, &any, &taken[0]));
    struct slot one = slots_open(slots, 7, 1, &address, 2);
    struct slot two = slots_open(slots, 8, 1, &address, 2);
    for (int i = 0; i < 4; i++)
        assert_true(slots_take(slots, &any, &taken[i]));
    assert_false(slots_take(slots, &any, &taken[4]));
    assert_int_equal(slots_in_flight(slots, &one), 2); /* the less busy one, each time */
    assert_int_equal(slots_in_flight(slots, &two), 2);
    struct slots_figures figures = slots_figures(slots);
    assert_int_equal(figures.ready, 2);
    assert_int_equal(figures.places, 4);
    assert_int_equal(figures.in_flight, 4);
    for (int i = 0; i < 4; i++)
        slots_give(slots, &taken[i], SLOT_FINE, 0);
    assert_int_equal(taken[0].generation, 0);
    assert_int_equal(slots_figures(slots).in_flight, 0);
    assert_ptr_equal(slots_of(TEXT("qwen")), slots_of(TEXT("qwen")));
}

static void a_closed_one_keeps_its_calls_and_gets_no_more(void **state)
{
    (void)state;
    struct slots *slots = fresh();
    struct launch_address where;
    struct slot taken, none;
    struct slot one = slots_open(slots, 7, 1, &address, 4);
    assert_true(slots_take(slots, &any, &taken));
    assert_true(slots_address(slots, &taken, &where));
    assert_int_equal(where.port, 1);
    slots_close(slots, &one);
    assert_false(slots_take(slots, &any, &none));
    assert_int_equal(slots_in_flight(slots, &one), 1);
    assert_false(slots_address(slots, &taken, &where));
    struct slot again =
        slots_open(slots, 7, 1, &address, 4); /* another place, that one is in use */
    assert_int_not_equal(again.index, one.index);
    slots_close(slots, &again);
    slots_give(slots, &taken, SLOT_FAILED, 0);
    assert_int_equal(slots_in_flight(slots, &one), 0);
    struct slot third = slots_open(slots, 9, 2, &address, 1);
    assert_int_equal(third.index, one.index);
    assert_int_not_equal(third.generation, one.generation);
    slots_close(slots, &one); /* it is not that one any more */
    assert_true(slots_take(slots, &any, &taken));
    assert_int_equal(taken.replica, 9);
    slots_give(slots, &taken, SLOT_UNKNOWN, 0);
}

static void on_doubt(struct errand *errand)
{
    (void)errand;
    rings++;
    loop_stop(loop);
}

static void one_that_is_doubted_gets_no_more_calls_before_the_desk_has_looked(void **state)
{
    (void)state;
    struct slots *slots = fresh();
    struct errand bell = {.run = on_doubt};
    struct slot taken, other;
    slots_set_desk(slots, loop, &bell);
    struct slot own = slots_open(slots, 7, 1, &address, 2);
    assert_true(slots_take(slots, &any, &taken));
    slots_doubt(slots, &taken); /* of our own we hear otherwise */
    assert_true(slots_is_open(slots, &own));
    slots_give(slots, &taken, SLOT_FAILED, 0);
    slots_close(slots, &own);
    struct slot guest = slots_open_doubtful(slots, 8, 1, &address, 2);
    assert_true(slots_take(slots, &any, &taken));
    slots_doubt(slots, &taken);
    assert_false(slots_is_open(slots, &guest));
    assert_false(slots_take(slots, &any, &other));
    assert_int_equal(slots_in_flight(slots, &guest), 1);
    loop_run(loop, NULL, NULL);
    assert_int_equal(rings, 1);
    slots_give(slots, &taken, SLOT_FAILED, 0);
    slots_set_desk(slots, NULL, NULL);
}

static void who_waits_is_served_in_turn_by_keys(void **state)
{
    (void)state;
    struct slots *slots = fresh();
    struct ticket tickets[6];
    struct slot taken;
    static const uint64_t keys[] = {1, 1, 1, 1, 2, 2}, order[] = {0, 4, 1, 5, 2, 3};
    slots_open(slots, 7, 1, &address, 1);
    assert_true(slots_take(slots, &any, &taken));
    for (unsigned i = 0; i < 6; i++) {
        tickets[i] = ticket_of(keys[i]);
        assert_int_equal(slots_wait(slots, &tickets[i], MANY, PLENTY, i + 1), TICKET_WAITS);
    }
    assert_int_equal(slots_figures(slots).held, 6);
    assert_int_equal(slots_figures(slots).held_bytes, 60);
    assert_int_equal(slots_figures(slots).oldest_us, 1);
    slots_give(slots, &taken, SLOT_FINE, 0);
    for (unsigned i = 0; i < 6; i++) {
        struct ticket *next = &tickets[order[i]];
        assert_int_not_equal(next->slot.generation, 0);
        assert_false(slots_take(slots, &any, &taken)); /* nobody overtakes */
        loop_clear(loop);
        assert_int_equal(granted, i + 1);
        slots_give(slots, &next->slot, SLOT_FINE, 0);
    }
    assert_int_equal(slots_figures(slots).held, 0);
}

static void a_place_is_taken_at_once_where_there_is_one(void **state)
{
    (void)state;
    struct slots *slots = fresh();
    struct ticket ticket = ticket_of(1);
    slots_open(slots, 7, 1, &address, 1);
    assert_int_equal(slots_wait(slots, &ticket, 0, 0, 1), TICKET_TAKEN);
    loop_clear(loop);
    assert_int_equal(granted, 0); /* it knows already */
    struct ticket full = ticket_of(1);
    assert_int_equal(slots_wait(slots, &full, 0, PLENTY, 1), TICKET_FULL);
    slots_leave(slots, &full);
    slots_give(slots, &ticket.slot, SLOT_FINE, 0);
}

static void the_queue_is_bounded_and_the_greedy_give_way(void **state)
{
    (void)state;
    struct slots *slots = fresh();
    struct ticket tickets[8];
    for (unsigned i = 0; i < 8; i++)
        tickets[i] = ticket_of(i < 5 ? 1 : 2);
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(slots_wait(slots, &tickets[i], 4, PLENTY, i + 1), TICKET_WAITS);
    assert_int_equal(slots_wait(slots, &tickets[4], 4, PLENTY, 5), TICKET_FULL);
    assert_int_equal(slots_wait(slots, &tickets[5], 4, PLENTY, 6), TICKET_WAITS);
    loop_clear(loop);
    assert_int_equal(refused, 1);
    assert_string_equal(tickets[3].why_not, "queue_full"); /* the last of the one with most */
    assert_int_equal(slots_wait(slots, &tickets[6], 4, PLENTY, 7), TICKET_WAITS);
    assert_int_equal(slots_wait(slots, &tickets[7], 4, PLENTY, 8), TICKET_FULL); /* both have two */
    tickets[7].bytes = 100;
    assert_int_equal(slots_wait(slots, &tickets[7], 100, 139, 9), TICKET_FULL);
    assert_int_equal(slots_figures(slots).held, 4);
    slots_fail_waiting(slots, "stopped");
    loop_clear(loop);
    assert_int_equal(slots_figures(slots).held, 0);
    assert_string_equal(tickets[6].why_not, "stopped");
    assert_int_equal(slots_figures(slots).held_bytes, 0);
}

static void who_leaves_gives_back_what_was_granted(void **state)
{
    (void)state;
    struct slots *slots = fresh();
    struct slot taken;
    struct ticket first = ticket_of(1), second = ticket_of(1);
    struct slot one = slots_open(slots, 7, 1, &address, 1);
    assert_true(slots_take(slots, &any, &taken));
    assert_int_equal(slots_wait(slots, &first, MANY, PLENTY, 1), TICKET_WAITS);
    assert_int_equal(slots_wait(slots, &second, MANY, PLENTY, 2), TICKET_WAITS);
    slots_leave(slots, &second);
    assert_int_equal(slots_wait(slots, &second, MANY, PLENTY, 2), TICKET_WAITS);
    slots_give(slots, &taken, SLOT_FINE, 0);
    slots_leave(slots, &first); /* granted, not told: the other one has it now */
    memset(&first, 0x55, sizeof(first));
    loop_clear(loop);
    assert_int_equal(granted, 1);
    assert_int_equal(second.slot.replica, 7);
    slots_leave(slots, &second); /* told: its place comes back too */
    assert_int_equal(slots_in_flight(slots, &one), 0);
}

static void a_canary_has_its_share_and_no_more(void **state)
{
    (void)state;
    struct slots *slots = fresh();
    struct slot taken;
    unsigned on_canary = 0;
    struct slot stable = slots_open(slots, 7, 1, &address, 1000);
    struct slot canary = slots_open(slots, 8, 2, &address, 1000);
    slots_share(slots, 1, 2, 100);
    for (uint64_t i = 0; i < 10000; i++) {
        struct slots_wish wish = {.share_hash = i + 1};
        assert_true(slots_take(slots, &wish, &taken));
        on_canary += taken.revision == 2;
        slots_give(slots, &taken, SLOT_FINE, 0);
    }
    assert_in_range(on_canary, 850, 1150);
    slots_share(slots, 1, 2, 0);
    for (uint64_t i = 0; i < 1000; i++) {
        struct slots_wish wish = {.share_hash = i + 1};
        assert_true(slots_take(slots, &wish, &taken));
        assert_int_equal(taken.revision, 1);
        slots_give(slots, &taken, SLOT_FINE, 0);
    }
    struct slots_wish wish = {.revision = 2};
    assert_true(slots_take(slots, &wish, &taken));
    assert_int_equal(taken.revision, 2);
    slots_give(slots, &taken, SLOT_FINE, 0);
    slots_share(slots, 1, 2, 1000);
    slots_close(slots, &canary);
    assert_true(slots_take(slots, &any, &taken)); /* the stable one stands in */
    slots_give(slots, &taken, SLOT_FINE, 0);
    slots_close(slots, &stable);
    assert_false(slots_take(slots, &any, &taken));
}

static void calls_of_one_beginning_go_to_one_replica(void **state)
{
    (void)state;
    struct slots *slots = fresh();
    struct slot taken[12];
    unsigned hits[4] = {0};
    for (uint64_t i = 0; i < 4; i++)
        slots_open(slots, 10 + i, 1, &address, 8);
    for (uint64_t i = 1; i <= 100; i++) {
        struct slots_wish wish = {.affinity = i * 7919};
        assert_true(slots_take(slots, &wish, &taken[0]));
        uint64_t replica = taken[0].replica;
        slots_give(slots, &taken[0], SLOT_FINE, 0);
        assert_true(slots_take(slots, &wish, &taken[0]));
        assert_int_equal(taken[0].replica, replica);
        hits[replica - 10]++;
        slots_give(slots, &taken[0], SLOT_FINE, 0);
    }
    for (int i = 0; i < 4; i++)
        assert_in_range(hits[i], 5, 60);
    struct slots_wish wish = {.affinity = 99};
    unsigned same = 0;
    for (int i = 0; i < 12; i++) {
        assert_true(slots_take(slots, &wish, &taken[i]));
        same += taken[i].replica == taken[0].replica;
    }
    assert_in_range(same, 2, 6); /* a little more than the others, not all */
    for (int i = 0; i < 12; i++)
        slots_give(slots, &taken[i], SLOT_FINE, 0);
}

static void an_adapter_is_only_where_it_is_loaded(void **state)
{
    (void)state;
    struct slots *slots = fresh();
    struct slot taken;
    struct slots_wish wish = {.adapter = 42};
    const uint64_t loaded[] = {41, 42};
    slots_open(slots, 7, 1, &address, 4);
    struct slot two = slots_open(slots, 8, 1, &address, 4);
    struct ticket waits = ticket_of(1), plain = ticket_of(2);
    waits.wish = wish;
    assert_false(slots_take(slots, &wish, &taken));
    assert_int_equal(slots_wait(slots, &waits, MANY, PLENTY, 1), TICKET_WAITS);
    assert_int_equal(slots_wait(slots, &plain, MANY, PLENTY, 1), TICKET_TAKEN); /* not behind it */
    slots_give(slots, &plain.slot, SLOT_FINE, 0);
    slots_adapters(slots, &two, loaded, 2);
    loop_clear(loop);
    assert_int_equal(granted, 1);
    assert_int_equal(waits.slot.replica, 8);
    slots_give(slots, &waits.slot, SLOT_FINE, 0);
}

static void one_that_failed_a_call_is_avoided_where_there_is_another(void **state)
{
    (void)state;
    struct slots *slots = fresh();
    struct slot taken;
    struct slots_wish wish = {.not_this = 7};
    slots_open(slots, 7, 1, &address, 4);
    assert_true(slots_take(slots, &wish, &taken)); /* better that one than none */
    slots_give(slots, &taken, SLOT_FINE, 0);
    slots_open(slots, 8, 1, &address, 1);
    assert_true(slots_take(slots, &wish, &taken));
    assert_int_equal(taken.replica, 8);
    struct slot none;
    assert_false(slots_take(slots, &wish, &none));
    slots_give(slots, &taken, SLOT_FINE, 0);
}

static void records_tell_each_revision_once(void **state)
{
    (void)state;
    struct slots *slots = fresh();
    struct slot taken;
    struct slot one = slots_open(slots, 7, 1, &address, 4);
    for (int i = 0; i < 3; i++) {
        assert_true(slots_take(slots, &any, &taken));
        slots_give(slots, &taken, i ? SLOT_FINE : SLOT_FAILED, 1000 * (i + 1));
    }
    assert_true(slots_take(slots, &any, &taken));
    slots_give(slots, &taken, SLOT_UNKNOWN, 0);
    slots_close(slots, &one);
    slots_open(slots, 8, 2, &address, 4); /* in the same place: what it did is kept */
    struct trial record = slots_record(slots, 1);
    assert_int_equal(record.calls, 3);
    assert_int_equal(record.failures, 1);
    assert_int_equal(record.timed, 2);                      /* of those that did not fail */
    assert_in_range(trial_typical_us(&record), 2440, 2450); /* of 2 and 3 ms */
    assert_int_equal(slots_record(slots, 1).calls, 0);
    assert_int_equal(slots_record(slots, 2).calls, 0);
    assert_int_equal(slots_figures(slots).calls, 3);
}

static void on_ring(struct errand *errand)
{
    (void)errand;
    rings++;
}

static void the_desk_is_rung_when_somebody_waits(void **state)
{
    (void)state;
    struct slots *slots = fresh();
    struct errand errand = {.run = on_ring};
    struct ticket first = ticket_of(1), second = ticket_of(2);
    slots_set_desk(slots, loop, &errand);
    assert_int_equal(slots_wait(slots, &first, MANY, PLENTY, 1), TICKET_WAITS);
    assert_int_equal(slots_wait(slots, &second, MANY, PLENTY, 1), TICKET_WAITS);
    loop_clear(loop);
    assert_int_equal(rings, 1);
    slots_leave(slots, &first);
    assert_int_equal(slots_wait(slots, &first, MANY, PLENTY, 1), TICKET_WAITS);
    slots_set_desk(slots, NULL, NULL);
    loop_clear(loop);
    assert_int_equal(rings, 1);
    slots_leave(slots, &first);
    slots_leave(slots, &second);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(places_are_never_more_than_there_are, begin, end),
        cmocka_unit_test_setup_teardown(a_closed_one_keeps_its_calls_and_gets_no_more, begin, end),
        cmocka_unit_test_setup_teardown(
            one_that_is_doubted_gets_no_more_calls_before_the_desk_has_looked, begin, end),
        cmocka_unit_test_setup_teardown(who_waits_is_served_in_turn_by_keys, begin, end),
        cmocka_unit_test_setup_teardown(a_place_is_taken_at_once_where_there_is_one, begin, end),
        cmocka_unit_test_setup_teardown(the_queue_is_bounded_and_the_greedy_give_way, begin, end),
        cmocka_unit_test_setup_teardown(who_leaves_gives_back_what_was_granted, begin, end),
        cmocka_unit_test_setup_teardown(a_canary_has_its_share_and_no_more, begin, end),
        cmocka_unit_test_setup_teardown(calls_of_one_beginning_go_to_one_replica, begin, end),
        cmocka_unit_test_setup_teardown(an_adapter_is_only_where_it_is_loaded, begin, end),
        cmocka_unit_test_setup_teardown(one_that_failed_a_call_is_avoided_where_there_is_another,
                                        begin, end),
        cmocka_unit_test_setup_teardown(records_tell_each_revision_once, begin, end),
        cmocka_unit_test_setup_teardown(the_desk_is_rung_when_somebody_waits, begin, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
