/* SPDX-License-Identifier: Apache-2.0 */
/* Commands to the scripts, put together: names of keys, and what every call carries. */
#include "gateway/base/clock.h"
#include "policy/store_inside.h"

/* --------------------------------------------------------------------------------- names */

/* A root's name inside the braces: what could end them early is written %7b, %7d, %25, and a name
 * that is empty %. */
static size_t tag_write(char *out, struct text root)
{
    static const char digits[] = "0123456789abcdef";
    size_t len = 0;
    for (size_t i = 0; i < root.len; i++) {
        unsigned char byte = (unsigned char)root.at[i];
        if (byte == '{' || byte == '}' || byte == '%') {
            out[len++] = '%';
            out[len++] = digits[byte >> 4];
            out[len++] = digits[byte & 15];
        } else {
            out[len++] = (char)byte;
        }
    }
    if (root.len == 0)
        out[len++] = '%';
    return len;
}

static void key_words(const struct shared *shared, struct words *words, struct text root,
                      struct text kind, struct text counter)
{
    size_t prefix = strlen(shared->prefix);
    char *key = arena_take(&words->arena, prefix + 3 * root.len + 3 + kind.len + counter.len);
    size_t len = prefix;
    memcpy(key, shared->prefix, prefix);
    key[len++] = '{';
    len += tag_write(key + len, root);
    key[len++] = '}';
    memcpy(key + len, kind.at, kind.len);
    len += kind.len;
    if (counter.len)
        memcpy(key + len, counter.at, counter.len);
    words_add(words, (struct text){key, len + counter.len});
    words->keys++;
}

void shared_life_key(const struct shared *shared, struct words *words, struct text root)
{
    key_words(shared, words, root, TEXT(":l"), TEXT(""));
}

void shared_key(const struct shared *shared, struct words *words, struct text root,
                struct text counter)
{
    key_words(shared, words, root, TEXT(":c:"), counter);
}

void shared_sign(const struct shared *shared, struct words *words, uint64_t incarnation)
{
    words_add(words, text_of(shared->node));
    words_add(words, text_of(shared->generation));
    words_number(words, (int64_t)incarnation);
    int64_t least = atomic_load_explicit(&shared->least_us, memory_order_relaxed);
    words_number(words, least ? (int64_t)clock_now_us() + least : 0);
}

void shared_beat_words(const struct shared *shared, struct words *words, bool check)
{
    words_begin(words);
    words_add(words, arena_format(&words->arena, "%snodes", shared->prefix));
    words->keys++;
    words_add(words, text_of(shared->node));
    words_number(words, check);
    words_number(words, atomic_load(&shared->swept));
    words_add(words, text_of(shared->generation));
    words_number(words, atomic_load(&shared->leapt));
    words_number(words, atomic_load(&shared->forgot));
}

static struct text mode_of(enum limit_period period)
{
    switch (period) {
    case PERIOD_ROLLING:
        return TEXT("r");
    case PERIOD_TOTAL:
        return TEXT("t");
    case PERIOD_NONE:
        return TEXT("p");
    case PERIOD_HOUR:
    case PERIOD_DAY:
    case PERIOD_WEEK:
    case PERIOD_MONTH:
        break;
    }
    return TEXT("c");
}

static int64_t slot_us(int64_t window_us)
{
    return window_us > 0 ? (window_us + METER_SLOTS - 1) / METER_SLOTS : 1;
}

static struct text joined(struct words *words, struct text first, struct text second)
{
    if (!second.len)
        return first;
    char *both = arena_take(&words->arena, first.len + second.len);
    memcpy(both, first.at, first.len);
    memcpy(both + first.len, second.at, second.len);
    return (struct text){both, first.len + second.len};
}

void shared_span_words(struct words *words, const struct meter_change *change, bool had)
{
    int64_t a = 0, z = 0;
    if (change->period == PERIOD_ROLLING)
        a = change->slot_us;
    else if (change->period != PERIOD_NONE && change->period != PERIOD_TOTAL)
        a = change->slot, z = change->end_us;
    words_add(words, joined(words, mode_of(change->period), had ? TEXT("h") : TEXT("")));
    words_number(words, a);
    words_number(words, z);
}

/* One counter of a question; <flags> as in admit.lua. */
void shared_ask_words(struct words *words, const struct use *use, const struct meter_lack *lack,
                      struct text flags)
{
    const struct limit *limit = use->limit;
    int64_t a = 0, z = 0, least = use->least < use->want ? use->least : use->want;
    if (limit->period == PERIOD_ROLLING)
        a = slot_us(limit->window_us);
    else if (limit->period != PERIOD_NONE && limit->period != PERIOD_TOTAL)
        a = lack->slot, z = lack->spend_by_us;
    words_add(words, joined(words, mode_of(limit->period), flags));
    words_number(words, a);
    words_number(words, z);
    words_number(words, limit->amount > 0 ? limit->amount : 0);
    words_number(words, lack->slot);
    words_number(words, lack->lack);
    words_number(words, use->want - least);
    words_number(words, use->want);
    words_number(words, lack->more);
}
