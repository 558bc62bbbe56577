/* SPDX-License-Identifier: Apache-2.0 */
/* How much a call may use at most, and how much it likely will: what is held for it follows from
 * that (reserve.c). */
#include "gateway/batch.h"
#include "gateway/reserve.h"
#include "gateway/reserve_inside.h"
#include "gateway/tiers.h"
#include "gateway/upload.h"
#include "gateway/worker_inside.h"

enum {
    USEFUL_OUTPUT_TOKENS = 64, /* an answer cut shorter than this helps nobody */
    FORM_BYTES_PER_TOKEN = 32, /* sound at the lowest rate that can be understood */
    PICTURES_MAX = 10,         /* of one call, at any provider */
    BYTES_PER_SECOND = 256,
    USUAL_BYTES_PER_SECOND = 2000, /* 16 kbit/s: who talks and wants it small */
    DOCUMENTS_PER_SEARCH = 100,
    SPEECH_TOKENS_PER_BYTE = 8, /* where its words are not known; of those see lengths.h */
    /* A search is of up to 100 documents, each of 3 bytes of JSON at least. */
    BYTES_PER_SEARCH = 300,
};

bool reserve_takes_tokens(enum operation operation)
{
    return operation_has_tokens(operation) || operation == OPERATION_REALTIME;
}

static bool has_output(enum operation operation)
{
    return reserve_takes_tokens(operation) && operation != OPERATION_EMBEDDING &&
           operation != OPERATION_MODERATION && operation != OPERATION_RERANK;
}

int64_t reserve_units(const struct exchange *x)
{
    int64_t pieces = x->call.pieces;
    switch ((int)x->call.operation) {
    case OPERATION_IMAGE:
        return reserve_choices(x);
    case OPERATION_SPEECH:
        return pieces ? pieces : x->body_bytes;
    case OPERATION_TRANSCRIPTION: /* one that was counted in tokens has no seconds */
        return x->answer.usage_seen ? 0 : x->body_bytes / USUAL_BYTES_PER_SECOND + 1;
    case OPERATION_RERANK:
        return pieces ? (pieces + DOCUMENTS_PER_SEARCH - 1) / DOCUMENTS_PER_SEARCH : 1;
    default:
        return 0;
    }
}

int64_t reserve_raw_bytes(const struct exchange *x)
{
    if (!x->upload)
        return x->body_bytes;
    int64_t announced = upload_length(x->upload);
    if (announced == 0)
        announced = (int64_t)x->snapshot->config->limits.max_upload_bytes;
    return announced > x->body_bytes ? announced : x->body_bytes;
}

static int64_t input_bytes(const struct exchange *x)
{
    return x->upload ? reserve_raw_bytes(x) / FORM_BYTES_PER_TOKEN + 1 : x->body_bytes;
}

int64_t reserve_model_output(const struct exchange *x)
{
    return x->route ? x->route->output_tokens : 0;
}

int64_t reserve_choices(const struct exchange *x)
{
    return x->call.choices > 0 ? x->call.choices : 1;
}

int64_t reserve_pictures(const struct exchange *x)
{
    if (x->call.operation == OPERATION_IMAGE && x->upload && !upload_is_whole(x->upload))
        return PICTURES_MAX; /* it may be said at the end */
    return reserve_choices(x);
}

bool reserve_counts_output(const struct target *target)
{
    const struct price *price = &target->price;
    int64_t input = price->tier_above_tokens > 0 ? price->tier_above_tokens + 1 : 0;
    return !target->off &&
           price_bound(price, input, ESTIMATE_PICTURE_TOKENS, 0) > price_bound(price, input, 0, 0);
}

int64_t reserve_picture_output(const struct exchange *x, const struct route *route)
{
    bool counts = x->pinned && reserve_counts_output(x->pinned);
    for (size_t i = 0; route && !x->pinned && !counts && i < route->target_count; i++)
        counts = reserve_counts_output(&route->targets[i]);
    return counts ? ESTIMATE_PICTURE_TOKENS * reserve_pictures(x) : 0;
}

/* Of one choice, where it is known; 0 = not. */
static int64_t longest_answer(const struct exchange *x)
{
    int64_t most = reserve_model_output(x);
    if (x->call.operation == OPERATION_IMAGE)
        return ESTIMATE_PICTURE_TOKENS;
    if (x->call.operation != OPERATION_SPEECH || most)
        return most;
    int64_t spoken = x->call.spoken ? x->call.spoken : x->body_bytes * SPEECH_TOKENS_PER_BYTE;
    return spoken > ESTIMATE_UNKNOWN_OUTPUT_TOKENS ? spoken : ESTIMATE_UNKNOWN_OUTPUT_TOKENS;
}

void reserve_bound(const struct exchange *x, struct usage *usage)
{
    *usage = (struct usage){.input_tokens = input_bytes(x), .units = reserve_most_units(x)};
    if (x->batch) {
        struct ledger_row row;
        batch_bound(x->batch, &row);
        *usage = row.usage;
    } else if (x->estimated) {
        usage->input_tokens = x->estimate.input_bound;
        usage->output_tokens = x->estimate.output_bound;
        usage->searches =
            x->target ? price_searches(&x->target->price, tiers_searches(x)) : tiers_searches(x);
        usage->surcharge_percent = x->estimate_facts.surcharge_percent;
    } else if (x->call.operation == OPERATION_IMAGE) {
        usage->output_tokens = reserve_picture_output(x, x->route);
    } else if (has_output(x->call.operation)) {
        int64_t most = x->call.max_tokens ? x->call.max_tokens : longest_answer(x);
        usage->output_tokens = (most ? most : ESTIMATE_UNKNOWN_OUTPUT_TOKENS) * reserve_choices(x);
    }
}

void reserve_row(const struct exchange *x, struct ledger_row *row)
{
    reserve_bound(x, &row->usage);
    row->counted = COUNTED_ESTIMATE;
    if (!x->target)
        return;
    row->cost_nanos = tiers_bound(x, x->target, row->usage.input_tokens, row->usage.output_tokens,
                                  row->usage.units);
    row->usage.service = tiers_asked(x, x->target);
}

uint64_t reserve_key_hash(const struct key *key)
{
    uint64_t hash;
    memcpy(&hash, key->digest.bytes, sizeof(hash));
    return hash;
}

static bool is_unframed(enum operation operation)
{
    return operation == OPERATION_EMBEDDING || operation == OPERATION_COMPLETION ||
           operation == OPERATION_MODERATION || operation == OPERATION_RERANK;
}

/* What providers put in of their own: the most of all that may get the call. */
static int64_t added_tokens(const struct exchange *x)
{
    int64_t most = 0;
    const struct target *before = NULL;
    if (x->route && x->route->sum.known)
        return x->route->sum.added_tokens;
    for (size_t i = 0; x->route && i < x->route->target_count; i++) {
        const struct target *target = &x->route->targets[i];
        if (target->off || (before && before->provider == target->provider &&
                            text_equal(before->model, target->model)))
            continue;
        before = target;
        int64_t added = estimate_added(target->provider->type->name, target->model);
        most = added > most ? added : most;
    }
    return most;
}

/* Who will likely answer. */
static struct text likely_provider(const struct exchange *x)
{
    for (size_t i = 0; x->route && i < x->route->target_count; i++)
        if (!x->route->targets[i].off)
            return x->route->targets[i].provider->type->name;
    return (struct text){"", 0};
}

void reserve_facts(const struct exchange *x, struct estimate_facts *facts)
{
    *facts = (struct estimate_facts){
        .model = x->route ? x->route->name : x->call.model,
        .provider = likely_provider(x),
        .unframed = is_unframed(x->call.operation),
        .key = reserve_key_hash(x->key),
        .body_bytes = input_bytes(x),
        .context_tokens = x->route ? route_context(x->route) : 0,
        .max_tokens = x->call.max_tokens,
        .output_tokens = longest_answer(x),
        .choices = reserve_choices(x),
        .added_tokens = added_tokens(x),
    };
}

/* Only where somebody asks for it: it reads the whole body once more. */
static void make_estimate(struct exchange *x)
{
    struct estimate_facts *facts = &x->estimate_facts;
    if (x->estimated)
        return;
    reserve_facts(x, facts);
    if (x->match.endpoint->body == BODY_JSON)
        estimate_look(buffer_text(&x->body), x->seeking ? x->seeking->outline : NULL, facts);
    estimate_make(x->worker->options.estimates, facts, &x->estimate);
    if (x->call.operation == OPERATION_IMAGE) /* likely there are as many as it has said so far */
        x->estimate.output_bound = reserve_picture_output(x, x->route);
    if (!has_output(x->call.operation))
        x->estimate.output_bound = x->estimate.output_likely = x->estimate.output_mean = 0;
    x->estimated = true;
}

const struct estimate *reserve_estimate(struct exchange *x)
{
    make_estimate(x);
    return &x->estimate;
}

int64_t reserve_most_units(const struct exchange *x)
{
    if (x->call.operation == OPERATION_TRANSCRIPTION)
        return reserve_raw_bytes(x) / BYTES_PER_SECOND + 1;
    if (x->call.operation == OPERATION_IMAGE && x->upload)
        return reserve_pictures(x);
    if (x->call.operation == OPERATION_RERANK)
        return reserve_raw_bytes(x) / BYTES_PER_SEARCH + 1;
    return reserve_units(x);
}

/* Those that may get the call; of a model that was looked at before, those of them that can be the
 * dearest. */
static uint64_t dear_ones(const struct exchange *x)
{
    const struct route *route = x->route;
    uint64_t out = x->ruling.out, on = 0;
    if (route->sum.known && tiers_are_plain(x, route))
        return route->sum.dearest & out ? route->sum.on & ~out : route->sum.dearest;
    for (size_t i = 0; i < route->target_count; i++)
        on |= route->targets[i].off ? 0 : UINT64_C(1) << i;
    return on & ~out;
}

/* Of a model that the call has fallen back on. */
static int64_t detour_cost_bound(const struct exchange *x, int64_t input, int64_t output,
                                 int64_t units)
{
    const struct route *route = x->detour;
    int64_t most = 0;
    for (size_t i = 0; i < route->target_count; i++) {
        const struct target *target = &route->targets[i];
        int64_t cost = target->off ? 0 : tiers_bound(x, target, input, output, units);
        most = cost > most ? cost : most;
    }
    return most;
}

int64_t reserve_cost_bound(const struct exchange *x, int64_t output)
{
    int64_t most = 0, input = x->estimate.input_bound, units = reserve_most_units(x);
    if (x->pinned)
        return tiers_bound(x, x->pinned, input, output, units);
    for (uint64_t left = x->route ? dear_ones(x) : 0; left; left &= left - 1) {
        const struct target *target = &x->route->targets[__builtin_ctzll(left)];
        int64_t cost = tiers_bound(x, target, input, output, units);
        most = cost > most ? cost : most;
    }
    int64_t detour = x->detour ? detour_cost_bound(x, input, output, units) : 0;
    return detour > most ? detour : most;
}

bool reserve_may_lower(const struct exchange *x)
{
    return x->call.operation == OPERATION_CHAT || x->call.operation == OPERATION_COMPLETION ||
           (x->call.operation == OPERATION_RESPONSE && !x->compacts);
}

int64_t reserve_least_output(const struct exchange *x)
{
    if (!reserve_may_lower(x))
        return x->estimate.output_bound;
    int64_t least = USEFUL_OUTPUT_TOKENS * reserve_choices(x);
    return x->estimate.output_bound < least ? x->estimate.output_bound : least;
}
