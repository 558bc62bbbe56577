/* SPDX-License-Identifier: Apache-2.0 */
/* Deployments made at run time, as Redis has them: told, taken over, given back to a store that has
 * forgotten. */
#include <stdio.h>

#include "deploy/models/deployment.h"
#include "gateway/base/hash.h"
#include "gateway/base/json.h"
#include "gateway/base/json_write.h"
#include "gateway/base/log.h"
#include "gateway/base/table.h"
#include "gateway/made/inside.h"

enum {
    VALUE_BYTES = 1 << 20, /* a document of 256 KiB, escaped */
    MERGE_RECORDS = 12,    /* of four words each */
    MERGE_BYTES = 4 << 20,
    PULLS_MAX = 4, /* somebody else may change something while we read */
    WORD_BYTES = 24,
    ORDER_BYTES = 96,
    LIFE_BYTES = 8,
    ARENA_BLOCK = 16 << 10,
};

void made_share(struct made *made, struct made_redis *shared)
{
    made->shared = shared;
}

/* ------------------------------------------------------------------------------- as values */

/* "version\n{…}". */
static void write_value(struct buffer *out, const struct made_deployment *one)
{
    struct json_write json = {.out = out};
    buffer_format(out, "%lld\n", (long long)one->version);
    json_open(&json, '{');
    json_text_member(&json, "id", one->id);
    json_text_member(&json, "tenant", one->tenant);
    json_text_member(&json, "token", one->token);
    json_text_member(&json, "by", one->by);
    json_int_member(&json, "made_us", one->made_us);
    json_int_member(&json, "changed_us", one->changed_us);
    json_text_member(&json, "document", one->document);
    json_close(&json, '}');
}

/* Borrows from <root>, which is the caller's. */
static bool read_value(struct text name, struct text value, struct json **root,
                       struct made_deployment *one)
{
    struct json_problem ignored;
    uint64_t version = 0;
    size_t line = text_find_byte(value, '\n');
    *one = (struct made_deployment){.name = name};
    *root = line != SIZE_MAX ? json_read(text_from(value, line + 1), &ignored) : NULL;
    if (!*root || !text_number(text_head(value, line), INT64_MAX, &version))
        return false;
    one->version = (int64_t)version;
    json_to_text(json_member(*root, "tenant"), &one->tenant);
    json_to_text(json_member(*root, "token"), &one->token);
    json_to_text(json_member(*root, "by"), &one->by);
    json_to_int(json_member(*root, "made_us"), 0, INT64_MAX, &one->made_us);
    json_to_int(json_member(*root, "changed_us"), 0, INT64_MAX, &one->changed_us);
    return json_to_text(json_member(*root, "id"), &one->id) &&
           json_to_text(json_member(*root, "document"), &one->document);
}

static struct text write_order(const struct made_order *order, char room[ORDER_BYTES])
{
    snprintf(room, ORDER_BYTES, "%d %d %d %lld %lld", order->stopped, order->pinned,
             order->unpinned, (long long)order->low, (long long)order->high);
    return text_of(room);
}

static bool read_order(struct text name, struct text value, struct made_order *order)
{
    struct text rest = value, word;
    int64_t numbers[5] = {0};
    size_t count = 0;
    while (count < 5 && text_next(&rest, ' ', &word)) {
        uint64_t number;
        if (text_equal(word, TEXT("-1")))
            numbers[count++] = -1;
        else if (text_number(word, INT32_MAX, &number))
            numbers[count++] = (int64_t)number;
        else
            return false;
    }
    *order = (struct made_order){name,           numbers[0] > 0, numbers[1] > 0,
                                 numbers[2] > 0, numbers[3],     numbers[4]};
    return count == 5;
}

static struct text number_word(int64_t number, char room[WORD_BYTES])
{
    snprintf(room, WORD_BYTES, "%lld", (long long)number);
    return text_of(room);
}

/* ---------------------------------------------------------------------------------- telling */

static bool away(struct fault *fault)
{
    return fault_set(
        fault, FAULT_STORE_AWAY,
        "Redis does not answer: it has the deployments, so that nothing can be changed "
        "now.");
}

static bool conflict(struct fault *fault)
{
    return fault_set(fault, FAULT_CONFLICT, "It has been changed meanwhile on another node.");
}

/* <value> empty: it is removed. */
static bool write_to(struct made *made, struct text name, int64_t version, struct text value,
                     struct fault *fault)
{
    char room[WORD_BYTES];
    const struct text words[] = {name, number_word(version, room), value};
    for (int i = 0; i < 2; i++) {
        struct made_answer answer;
        bool asked = made_redis_ask(made->shared, MADE_WRITE, words, 3, &answer);
        struct text word = made_answer_text(&answer, 0);
        bool done = text_equal(word, TEXT("DONE")), empty = text_equal(word, TEXT("EMPTY"));
        made_answer_done(&answer);
        if (done)
            return true;
        if (!asked)
            return away(fault);
        if (!empty || made_pull(made) == MADE_AWAY)
            break;
    }
    return conflict(fault);
}

bool made_tell(struct made *made, const struct made_deployment *one, struct fault *fault)
{
    struct buffer value;
    buffer_init(&value, VALUE_BYTES);
    write_value(&value, one);
    bool done = value.overrun
                    ? fault_set(fault, FAULT_TOO_LARGE, "It is too large.")
                    : write_to(made, one->name, one->version - 1, buffer_text(&value), fault);
    buffer_done(&value);
    return done;
}

bool made_tell_end(struct made *made, const struct made_deployment *one, struct fault *fault)
{
    return write_to(made, one->name, one->version, (struct text){"", 0}, fault);
}

bool made_tell_order(struct made *made, const struct made_order *order, struct fault *fault)
{
    char room[ORDER_BYTES];
    struct made_answer answer;
    const struct text words[] = {order->name, write_order(order, room)};
    bool done = made_redis_ask(made->shared, MADE_ORDER, words, 2, &answer);
    made_answer_done(&answer);
    return done || away(fault);
}

bool made_tell_verdict(struct made *made, struct text name, struct text words, struct fault *fault)
{
    struct made_answer answer;
    const struct text both[] = {name, words};
    bool done = made_redis_ask(made->shared, MADE_VERDICT, both, 2, &answer);
    made_answer_done(&answer);
    return done || away(fault);
}

/* --------------------------------------------------------------- giving it what it has lost */

struct merge {
    struct made *made;
    struct arena arena;
    char number[WORD_BYTES];
    struct text life, words[MADE_WORDS_MAX];
    size_t count, bytes;
    bool good;
};

static void begin_words(struct merge *merge)
{
    arena_reset(&merge->arena);
    merge->count = merge->bytes = 0;
    merge->words[merge->count++] = merge->life;
    merge->words[merge->count++] = text_of(merge->number);
}

static void send_words(struct merge *merge)
{
    struct made_answer answer;
    if (merge->good) {
        merge->good =
            made_redis_ask(merge->made->shared, MADE_MERGE, merge->words, merge->count, &answer);
        made_answer_done(&answer);
    }
    begin_words(merge);
}

/* NOLINTNEXTLINE(bugprone-easily-swappable-parameters) */
static void add_words(struct merge *merge, struct text kind, struct text name, int64_t version,
                      struct text value)
{
    char room[WORD_BYTES];
    if (merge->count + 4 > 2 + 4 * MERGE_RECORDS || merge->bytes + value.len > MERGE_BYTES)
        send_words(merge);
    merge->words[merge->count++] = kind;
    merge->words[merge->count++] = arena_copy(&merge->arena, name);
    merge->words[merge->count++] = arena_copy(&merge->arena, number_word(version, room));
    merge->words[merge->count++] = arena_copy(&merge->arena, value);
    merge->bytes += value.len;
}

static void merge_order(void *with, const struct made_order *order)
{
    char room[ORDER_BYTES];
    add_words(with, TEXT("o"), order->name, 0, write_order(order, room));
}

static void merge_verdicts(struct merge *merge)
{
    struct arena arena;
    struct text line, name;
    arena_init(&arena, ARENA_BLOCK);
    struct text lines = made_verdicts(merge->made, &arena);
    while (text_next(&lines, '\n', &line))
        if (text_next(&line, ' ', &name))
            add_words(merge, TEXT("v"), name, 0, line);
    arena_done(&arena);
}

/* All that this node has: what the store has in a newer version stays. */
static bool give_back(struct made *made, struct text life, int64_t number)
{
    struct merge merge = {.made = made, .life = life, .good = true};
    struct made_list *list = made_read(made);
    arena_init(&merge.arena, ARENA_BLOCK);
    number_word(number, merge.number);
    begin_words(&merge);
    for (size_t i = 0; i < list->count; i++) {
        struct buffer value;
        buffer_init(&value, VALUE_BYTES);
        write_value(&value, &list->at[i]);
        if (!value.overrun)
            add_words(&merge, TEXT("d"), list->at[i].name, list->at[i].version,
                      buffer_text(&value));
        buffer_done(&value);
    }
    made_orders_each(made, merge_order, &merge);
    merge_verdicts(&merge);
    send_words(&merge);
    made_list_free(list);
    arena_done(&merge.arena);
    return merge.good;
}

/* ------------------------------------------------------------------------------ taking over */

struct taking {
    struct made *made;
    const struct made_list *ours;
    const struct made_answer *answer; /* kind, name, version or order; from item 3 on */
    bool changed, good;
};

static void take_document(struct taking *taking, struct text name, struct text version)
{
    uint64_t number = 0;
    struct fault fault;
    struct made_answer answer;
    struct json *root = NULL;
    struct made_deployment one;
    const struct made_deployment *ours = made_find(taking->ours, name);
    if (ours && text_number(version, INT64_MAX, &number) && (int64_t)number == ours->version)
        return;
    if (!taking->good)
        return;
    taking->good = made_redis_ask(taking->made->shared, MADE_GET, &name, 1, &answer);
    struct text value = made_answer_text(&answer, 0);
    if (value.len > 0 && read_value(name, value, &root, &one)) {
        taking->good = made_keep(taking->made, &one, &fault);
        taking->changed = true;
    } else if (value.len > 0) {
        log_line(LOG_WARN, "deploy", "what Redis has of the deployment %.*s cannot be read",
                 TEXT_ARGS(text_head(name, SPEC_NAME_MAX)));
    }
    json_free(root);
    made_answer_done(&answer);
}

static void take_order(struct taking *taking, struct text name, struct text value)
{
    struct fault fault;
    struct made_order order, ours = made_order_of(taking->made, name);
    if (!read_order(name, value, &order))
        return;
    if (order.stopped == ours.stopped && order.pinned == ours.pinned &&
        order.unpinned == ours.unpinned && order.low == ours.low && order.high == ours.high)
        return;
    taking->good = made_order_keep(taking->made, &order, &fault) && taking->good;
    taking->changed = true;
}

/* It changes nothing that is in force here: only who leads, or starts, goes by it. */
static void take_verdict(struct taking *taking, struct text name, struct text words)
{
    struct fault fault;
    taking->good = made_verdict_keep(taking->made, name, words, &fault) && taking->good;
}

static void drop_others(struct taking *taking)
{
    struct fault fault;
    struct table there;
    table_init(&there);
    for (size_t i = 3; i + 2 < taking->answer->count; i += 3)
        if (text_equal(taking->answer->items[i], TEXT("d")))
            table_set(&there, taking->answer->items[i + 1], taking);
    for (size_t i = 0; i < taking->ours->count; i++)
        if (!table_find(&there, taking->ours->at[i].name)) {
            made_drop(taking->made, taking->ours->at[i].name, &fault);
            taking->changed = true;
        }
    table_done(&there);
}

/* All that the store has, in the place of what we had. */
static bool take_all(struct made *made, const struct made_answer *answer, bool *changed)
{
    struct made_list *ours = made_read(made);
    struct taking taking = {made, ours, answer, false, true};
    uint64_t number = 0;
    struct made_mark mark = {.number = 0};
    for (size_t i = 3; i + 2 < answer->count; i += 3) {
        if (text_equal(answer->items[i], TEXT("d")))
            take_document(&taking, answer->items[i + 1], answer->items[i + 2]);
        else if (text_equal(answer->items[i], TEXT("o")))
            take_order(&taking, answer->items[i + 1], answer->items[i + 2]);
        else
            take_verdict(&taking, answer->items[i + 1], answer->items[i + 2]);
    }
    if (taking.good) {
        drop_others(&taking);
        struct text life = text_head(made_answer_text(answer, 2), sizeof(mark.life) - 1);
        memcpy(mark.life, life.at, life.len);
        text_number(made_answer_text(answer, 1), INT64_MAX, &number);
        mark.number = (int64_t)number;
        taking.good = made_set_mark(made, &mark);
    }
    *changed = *changed || taking.changed;
    made_list_free(ours);
    return taking.good;
}

static struct text new_life(char room[2 * LIFE_BYTES + 1])
{
    unsigned char bytes[LIFE_BYTES];
    hash_random(bytes, sizeof(bytes));
    for (size_t i = 0; i < LIFE_BYTES; i++)
        snprintf(room + 2 * i, 3, "%02x", bytes[i]);
    return text_of(room);
}

/* One look. True: there is no more to do, or the store is away. */
static bool pull_once(struct made *made, bool *given, bool *changed, bool *reached)
{
    char room[WORD_BYTES], life[2 * LIFE_BYTES + 1];
    struct made_answer answer;
    struct made_mark mark = made_mark_of(made);
    const struct text words[] = {text_of(mark.life), number_word(mark.number, room)};
    uint64_t number = 0;
    bool over = true;
    *reached = made_redis_ask(made->shared, MADE_READ, words, 2, &answer);
    struct text word = made_answer_text(&answer, 0), its_life = made_answer_text(&answer, 2);
    if (*reached && text_equal(word, TEXT("EMPTY"))) {
        *reached = give_back(made, new_life(life), mark.number);
        *given = true;
        over = !*reached;
    } else if (*reached && text_equal(word, TEXT("ALL"))) {
        text_number(made_answer_text(&answer, 1), INT64_MAX, &number);
        bool lacks = !text_equal(its_life, text_of(mark.life)) || (int64_t)number < mark.number;
        if (lacks && !*given) {
            *reached = give_back(made, its_life, mark.number);
            *given = true;
            over = !*reached;
        } else {
            *reached = take_all(made, &answer, changed);
        }
    }
    made_answer_done(&answer);
    return over;
}

enum made_pulled made_pull(struct made *made)
{
    bool given = false, changed = false, reached = true;
    if (!made || !made->shared)
        return MADE_SAME;
    for (int i = 0; i < PULLS_MAX && !pull_once(made, &given, &changed, &reached); i++)
        continue;
    if (!reached)
        return MADE_AWAY;
    return changed ? MADE_CHANGED : MADE_SAME;
}
