/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/base/hash.h"
#include "providers/call.h"

enum { TOKENS_PER_PRICE = 1000000 };

/* A bill is in millionths of a nano-dollar, wide enough for any product of two int64. It is cut at
 * this, which is INT64_MAX nano-dollars, so that a sum cannot wrap. */
static const unsigned __int128 BILL_MAX = (unsigned __int128)INT64_MAX * TOKENS_PER_PRICE;

static uint64_t at_least_zero(int64_t figure)
{
    return figure > 0 ? (uint64_t)figure : 0;
}

static uint64_t larger(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static uint64_t smaller(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* Bring <figure> to the level of the tier, in the proportion in which <from> became <to>. */
static int64_t raised(int64_t figure, int64_t from, int64_t to)
{
    if (figure <= 0 || from <= 0 || from == to)
        return figure;
    unsigned __int128 product = (unsigned __int128)figure * at_least_zero(to);
    unsigned __int128 scaled = (product + (unsigned __int128)from - 1) / (unsigned __int128)from;
    return scaled > INT64_MAX ? INT64_MAX : (int64_t)scaled;
}

/* The kinds that are a part of input or output rise and fall with it. */
static void raise_kinds(const struct price *price, struct price *now)
{
    int64_t *const of_input[] = {&now->cache_write, &now->cache_write_1h, &now->audio_input,
                                 &now->image_input};
    int64_t *const of_output[] = {&now->reasoning, &now->audio_output, &now->image_output};
    for (size_t i = 0; i < sizeof(of_input) / sizeof(of_input[0]); i++)
        *of_input[i] = raised(*of_input[i], price->input, now->input);
    for (size_t i = 0; i < sizeof(of_output) / sizeof(of_output[0]); i++)
        *of_output[i] = raised(*of_output[i], price->output, now->output);
}

static struct price price_of_tier(const struct price *price)
{
    struct price now = *price;
    if (price->tier_input)
        now.input = price->tier_input;
    if (price->tier_output)
        now.output = price->tier_output;
    now.cached_input = price->tier_cached_input
                           ? price->tier_cached_input
                           : raised(price->cached_input, price->input, now.input);
    raise_kinds(price, &now);
    return now;
}

static bool has_service(const struct price *price, enum service_tier tier)
{
    const struct service_price *service = &price->services[tier];
    return tier != SERVICE_STANDARD && (service->input || service->output);
}

bool price_has_service(const struct price *price, enum service_tier tier)
{
    return tier == SERVICE_STANDARD || has_service(price, tier) ||
           (price->input <= 0 && price->output <= 0); /* nothing in any */
}

const struct price *price_of_service(const struct price *price, enum service_tier tier,
                                     struct price *room)
{
    const struct service_price *service = &price->services[tier];
    if (!has_service(price, tier))
        return price;
    *room = *price;
    room->input = service->input;
    room->output = service->output;
    room->cached_input = service->cached_input
                             ? service->cached_input
                             : raised(price->cached_input, price->input, room->input);
    raise_kinds(price, room);
    room->tier_input = raised(price->tier_input, price->input, room->input);
    room->tier_cached_input = raised(price->tier_cached_input, price->input, room->input);
    room->tier_output = raised(price->tier_output, price->output, room->output);
    return room;
}

/* The prices in force for a prompt of <input> tokens: above the tier the whole call is dearer.
 * <room> is for what is not there yet. */
static const struct price *price_at(const struct price *price, uint64_t input, struct price *room)
{
    if (price->tier_above_tokens <= 0 || input <= (uint64_t)price->tier_above_tokens)
        return price;
    *room = price_of_tier(price);
    return room;
}

/* Add <tokens> at <own>, or at <base> where there is no price of its own. */
static void bill_add(unsigned __int128 *bill, uint64_t tokens, int64_t own, int64_t base)
{
    if (!tokens) /* as mostly, of all kinds but two */
        return;
    *bill += (unsigned __int128)tokens * at_least_zero(own ? own : base);
    if (*bill > BILL_MAX)
        *bill = BILL_MAX;
}

/* What is written to be kept for an hour: Anthropic takes twice the input for it where it
 * takes 1.25 times that for five minutes. */
static int64_t written_1h(const struct price *price)
{
    if (price->cache_write_1h)
        return price->cache_write_1h;
    if (price->cache_write <= price->input)
        return price->cache_write;
    int64_t twice = price->input > INT64_MAX / 2 ? INT64_MAX : 2 * price->input;
    return twice > price->cache_write ? twice : price->cache_write;
}

static void bill_input(unsigned __int128 *bill, const struct price *price,
                       const struct usage *usage)
{
    uint64_t cached = at_least_zero(usage->cached_tokens);
    uint64_t written = at_least_zero(usage->cache_write_tokens);
    uint64_t kept = smaller(at_least_zero(usage->cache_write_1h_tokens), written);
    uint64_t audio = at_least_zero(usage->audio_input_tokens);
    uint64_t images = at_least_zero(usage->image_tokens);
    /* A total that is less than its parts is wrong; what was reported is paid. */
    uint64_t rest =
        larger(at_least_zero(usage->input_tokens), larger(cached + written, audio + images));
    rest -= cached + written;
    /* Audio and pictures may have been cached, too: then they are counted in both and paid once. */
    audio = smaller(audio, rest);
    images = smaller(images, rest - audio);
    bill_add(bill, cached, price->cached_input, price->input);
    bill_add(bill, kept, written_1h(price), price->input);
    bill_add(bill, written - kept, price->cache_write, price->input);
    bill_add(bill, audio, price->audio_input, price->input);
    bill_add(bill, images, price->image_input, price->input);
    bill_add(bill, rest - audio - images, price->input, 0);
}

static void bill_output(unsigned __int128 *bill, const struct price *price,
                        const struct usage *usage)
{
    uint64_t reasoning = at_least_zero(usage->reasoning_tokens);
    uint64_t audio = at_least_zero(usage->audio_output_tokens);
    uint64_t images = at_least_zero(usage->image_output_tokens);
    uint64_t rest = larger(at_least_zero(usage->output_tokens), larger(reasoning, audio + images));
    rest -= reasoning;
    audio = smaller(audio, rest);
    images = smaller(images, rest - audio);
    bill_add(bill, reasoning, price->reasoning, price->output);
    bill_add(bill, audio, price->audio_output, price->output);
    bill_add(bill, images, price->image_output, price->output);
    bill_add(bill, rest - audio - images, price->output, 0);
}

static unsigned __int128 pieces(int64_t count, int64_t figure)
{
    return (unsigned __int128)at_least_zero(count) * at_least_zero(figure);
}

static int64_t cut(unsigned __int128 nanos)
{
    return nanos > INT64_MAX ? INT64_MAX : (int64_t)nanos;
}

static int64_t searches_cost(const struct price *price, int64_t searches)
{
    return cut(pieces(searches, price->search ? price->search : price->unit));
}

static int64_t sum_of(int64_t a, int64_t b)
{
    return a > INT64_MAX - b ? INT64_MAX : a + b;
}

static unsigned __int128 with_surcharge(unsigned __int128 bill, const struct usage *usage)
{
    uint64_t percent = smaller(at_least_zero(usage->surcharge_percent), 100);
    return bill + (bill * percent + 99) / 100;
}

int64_t price_bound_with(const struct price *price, const struct usage *usage, int64_t bound)
{
    unsigned __int128 all = with_surcharge(at_least_zero(bound), usage);
    return sum_of(cut(all), searches_cost(price, usage->searches));
}

/* What the bill comes to, rounded up to a whole nano, with what is paid by the piece. */
static int64_t bill_total(unsigned __int128 bill, const struct price *price, int64_t units)
{
    unsigned __int128 cost = bill + TOKENS_PER_PRICE - 1;
    /* Nearly every bill fits into 64 bits, where a division is cheap. */
    cost = cost >> 64 ? cost / TOKENS_PER_PRICE : (uint64_t)cost / TOKENS_PER_PRICE;
    cost += at_least_zero(price->request);
    return cut(cost + pieces(units, price->unit));
}

/* Add <tokens> at <figure>; false: that does not fit. */
static bool small_add(uint64_t *bill, uint64_t tokens, int64_t figure)
{
    uint64_t part;
    return figure <= 0 || (!__builtin_mul_overflow(tokens, (uint64_t)figure, &part) &&
                           !__builtin_add_overflow(*bill, part, bill));
}

static int64_t small_total(uint64_t bill, int64_t request)
{
    uint64_t sum = bill / TOKENS_PER_PRICE + at_least_zero(request);
    return sum > INT64_MAX ? INT64_MAX : (int64_t)sum;
}

static bool is_above_tier(const struct price *price, int64_t input)
{
    return price->tier_above_tokens > 0 && input > price->tier_above_tokens;
}

/* Prompt, cached part of it and answer, and no tier, in 64 bits; false where that is not enough. */
static bool small_cost(const struct price *price, int64_t input, int64_t cached, int64_t output,
                       int64_t *cost)
{
    uint64_t rest = at_least_zero(input), bill = TOKENS_PER_PRICE - 1;
    if (is_above_tier(price, input))
        return false;
    if (cached > 0) {
        rest = rest > (uint64_t)cached ? rest - (uint64_t)cached : 0;
        if (!small_add(&bill, (uint64_t)cached,
                       price->cached_input ? price->cached_input : price->input))
            return false;
    }
    if (!small_add(&bill, rest, price->input) ||
        !small_add(&bill, at_least_zero(output), price->output))
        return false;
    *cost = small_total(bill, price->request);
    return true;
}

static int64_t large_cost(const struct price *price, const struct usage *usage)
{
    __attribute__((uninitialized)) struct price room, served;
    const struct price *now = price_of_service(price, usage->service, &served);
    now = price_at(now, at_least_zero(usage->input_tokens), &room);
    unsigned __int128 bill = 0;
    bill_input(&bill, now, usage);
    bill_output(&bill, now, usage);
    if (usage->surcharge_percent)
        bill = with_surcharge(bill, usage);
    int64_t cost = bill_total(bill, now, usage->units);
    cost = sum_of(cost, searches_cost(price, usage->searches));
    bool is_more = price->is_told && cost > 0 && usage->told_nanos > cost;
    return is_more ? usage->told_nanos : cost;
}

int64_t price_expect(const struct price *price, int64_t input, int64_t cached, int64_t output)
{
    int64_t cost;
    if (small_cost(price, input, cached, output, &cost))
        return cost;
    struct usage usage = {.input_tokens = input, .cached_tokens = cached, .output_tokens = output};
    return large_cost(price, &usage);
}

void usage_add(struct usage *sum, const struct usage *more)
{
    sum->input_tokens += more->input_tokens;
    sum->cached_tokens += more->cached_tokens;
    sum->cache_write_tokens += more->cache_write_tokens;
    sum->cache_write_1h_tokens += more->cache_write_1h_tokens;
    sum->output_tokens += more->output_tokens;
    sum->reasoning_tokens += more->reasoning_tokens;
    sum->audio_input_tokens += more->audio_input_tokens;
    sum->audio_output_tokens += more->audio_output_tokens;
    sum->image_tokens += more->image_tokens;
    sum->image_output_tokens += more->image_output_tokens;
    sum->units += more->units;
    sum->searches += more->searches;
    sum->told_nanos += more->told_nanos;
}

int64_t price_cost(const struct price *price, const struct usage *usage)
{
    if (usage->cache_write_tokens | usage->audio_input_tokens | usage->reasoning_tokens |
        usage->audio_output_tokens | usage->image_tokens | usage->image_output_tokens |
        usage->units | usage->searches | usage->told_nanos | usage->surcharge_percent |
        (int64_t)usage->service)
        return large_cost(price, usage);
    return price_expect(price, usage->input_tokens, usage->cached_tokens, usage->output_tokens);
}

static int64_t dearest(int64_t a, int64_t b, int64_t c, int64_t d)
{
    int64_t most = a > b ? a : b;
    most = c > most ? c : most;
    return d > most ? d : most;
}

static int64_t dearest_input(const struct price *price, bool for_hour)
{
    int64_t most = dearest(price->input, price->cached_input, price->cache_write,
                           for_hour ? written_1h(price) : 0);
    return dearest(most, price->audio_input, price->image_input, 0);
}

static int64_t dearest_output(const struct price *price)
{
    return dearest(price->output, price->reasoning, price->audio_output, price->image_output);
}

/* All of it of the dearest kind, at the prices in force for a prompt of <level> tokens. */
static int64_t cost_of_dearest(const struct price *price, int64_t level, int64_t input,
                               int64_t output, int64_t units, bool for_hour)
{
    __attribute__((uninitialized)) struct price room;
    const struct price *now = price_at(price, at_least_zero(level), &room);
    int64_t dear_input = dearest_input(now, for_hour), dear_output = dearest_output(now);
    uint64_t small = TOKENS_PER_PRICE - 1;
    unsigned __int128 bill = 0;
    if (units <= 0 && small_add(&small, at_least_zero(input), dear_input) &&
        small_add(&small, at_least_zero(output), dear_output))
        return small_total(small, now->request);
    bill_add(&bill, at_least_zero(input), dear_input, 0);
    bill_add(&bill, at_least_zero(output), dear_output, 0);
    return bill_total(bill, now, units);
}

static int64_t bound_of(const struct price *price, int64_t input, int64_t output, int64_t units,
                        bool for_hour)
{
    int64_t bound = cost_of_dearest(price, input, input, output, units, for_hour);
    if (price->tier_above_tokens <= 0 || input <= price->tier_above_tokens)
        return bound;
    /* The prompt may turn out to be below the tier, and that need not be the cheaper one. */
    int64_t below = cost_of_dearest(price, 0, price->tier_above_tokens, output, units, for_hour);
    return below > bound ? below : bound;
}

int64_t price_bound(const struct price *price, int64_t input, int64_t output, int64_t units)
{
    return bound_of(price, input, output, units, true);
}

int64_t price_bound_brief(const struct price *price, int64_t input, int64_t output, int64_t units)
{
    return bound_of(price, input, output, units, false);
}

/* What price_bound(), price_bound_brief() and price_bound_with() reckon with: below the tier and
 * above it. */
enum {
    BOUND_INPUT,
    BOUND_OUTPUT,
    BOUND_REQUEST,
    BOUND_UNIT,
    BOUND_SEARCH,
    BOUND_HOUR,
    BOUND_FIGURES
};
struct bounds {
    uint64_t of[2][BOUND_FIGURES];
};

static struct bounds bounds_of(const struct price *price)
{
    struct price tier = price->tier_above_tokens > 0 ? price_of_tier(price) : *price;
    const struct price *levels[] = {price, &tier};
    struct bounds bounds = {0};
    for (int i = 0; i < 2; i++) {
        uint64_t *of = bounds.of[i];
        of[BOUND_INPUT] = at_least_zero(dearest_input(levels[i], false));
        of[BOUND_OUTPUT] = at_least_zero(dearest_output(levels[i]));
        of[BOUND_REQUEST] = at_least_zero(levels[i]->request);
        of[BOUND_UNIT] = at_least_zero(levels[i]->unit);
        of[BOUND_SEARCH] = at_least_zero(levels[i]->search ? levels[i]->search : levels[i]->unit);
        of[BOUND_HOUR] = at_least_zero(dearest_input(levels[i], true));
    }
    return bounds;
}

bool price_covers(const struct price *price, const struct price *other)
{
    struct bounds a = bounds_of(price), b = bounds_of(other);
    bool same = price->tier_above_tokens == other->tier_above_tokens, above = true;
    for (int i = 0; i < BOUND_FIGURES; i++) {
        same = same && a.of[0][i] == b.of[0][i] && a.of[1][i] == b.of[1][i];
        above = above && smaller(a.of[0][i], a.of[1][i]) >= larger(b.of[0][i], b.of[1][i]);
    }
    bool fewer = price->search_once && !other->search_once;
    if ((fewer || (other->search_each && !price->search_each)) && b.of[0][BOUND_SEARCH])
        return false;
    return same || above;
}

/* Byte by byte, so that the same prices have the same version on every machine. */
static size_t put_figures(char *to, const int64_t *figures, size_t count)
{
    for (size_t i = 0; i < count * 8; i++)
        to[i] = (char)((uint64_t)figures[i / 8] >> (i % 8 * 8));
    return count * 8;
}

void price_seal(struct price *price)
{
    const int64_t figures[] = {
        price->input,       price->cached_input,      price->cache_write,  price->output,
        price->reasoning,   price->audio_input,       price->audio_output, price->request,
        price->unit,        price->tier_above_tokens, price->tier_input,   price->tier_cached_input,
        price->tier_output,
    };
    /* What has none of these keeps the version that it always had; that goes for tiers, too. */
    const int64_t later[] = {price->cache_write_1h, price->image_input, price->image_output,
                             price->search_once ? -price->search : price->search};
    char bytes[sizeof(figures) + sizeof(price->services) + sizeof(later)];
    size_t len = put_figures(bytes, figures, sizeof(figures) / sizeof(figures[0]));
    for (enum service_tier tier = SERVICE_STANDARD; tier < SERVICE_TIERS; tier++) {
        const struct service_price *service = &price->services[tier];
        const int64_t more[] = {service->input, service->cached_input, service->output};
        if (has_service(price, tier))
            len += put_figures(bytes + len, more, sizeof(more) / sizeof(more[0]));
    }
    if (later[0] | later[1] | later[2] | later[3])
        len += put_figures(bytes + len, later, sizeof(later) / sizeof(later[0]));
    price->version = hash_crc32((struct text){bytes, len});
}

/* ----------------------------------------------------------------------------- tiers of service */

const char *service_tier_name(enum service_tier tier)
{
    static const char *const names[SERVICE_TIERS] = {
        [SERVICE_STANDARD] = "standard",
        [SERVICE_PRIORITY] = "priority",
        [SERVICE_FLEX] = "flex",
        [SERVICE_BATCH] = "batch",
    };
    return names[tier];
}

/* OpenAI's and Azure's words; Anthropic's; Groq's; Bedrock's; Gemini's are these too, or have a
 * prefix; Vertex tells its kind of traffic. What was paid for in advance costs no more. */
bool service_tier_read(struct text word, enum service_tier *tier)
{
    static const struct {
        struct text word;
        enum service_tier tier;
    } words[] = {
        {{"default", 7}, SERVICE_STANDARD},
        {{"standard", 8}, SERVICE_STANDARD},
        {{"standard_only", 13}, SERVICE_STANDARD},
        {{"scale", 5}, SERVICE_STANDARD},
        {{"on_demand", 9}, SERVICE_STANDARD},
        {{"reserved", 8}, SERVICE_STANDARD},
        {{"provisioned_throughput", 22}, SERVICE_STANDARD},
        {{"priority", 8}, SERVICE_PRIORITY},
        {{"fast", 4}, SERVICE_PRIORITY},
        {{"on_demand_priority", 18}, SERVICE_PRIORITY},
        {{"flex", 4}, SERVICE_FLEX},
        {{"on_demand_flex", 14}, SERVICE_FLEX},
        {{"batch", 5}, SERVICE_BATCH},
    };
    static const struct text prefix = {"SERVICE_TIER_", 13};
    if (text_starts_nocase(word, prefix))
        word = text_from(word, prefix.len);
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
        if (text_equal_nocase(word, words[i].word)) {
            *tier = words[i].tier;
            return true;
        }
    return false;
}
