/* SPDX-License-Identifier: Apache-2.0 */
/* Scenarios of `sluice simulate`, read with rows as the configuration is. */
#include "gateway/config/scenario.h"

#include "gateway/config/document.h"
#include "gateway/config/options.h"

struct simulated_target_draft {
    const struct node *node;
    struct simulate_target target;
};

struct simulated_answer_draft {
    const struct node *node;
    struct simulate_answer answer;
};

struct scenario {
    const struct node *node;
    struct simulate_scenario is;
    int64_t per_minute;
    struct items targets, answers;
    struct document *document; /* owns all of it */
};

#define TARGET(member)   offsetof(struct simulated_target_draft, target.member)
#define ANSWER(member)   offsetof(struct simulated_answer_draft, answer.member)
#define SCENARIO(member) offsetof(struct scenario, member)
#define TOKENS_MOST      1000000000

/* clang-format off */

static const struct option trouble_options[] = {
    {.name = "kind", .type = OPTION_WORD, .where = TARGET(trouble), .fallback = "none", .words = "none|slow|fail|busy|stall", .help = "slow: its first token takes <takes>; fail, busy: 503, 429 after <takes>; stall: <takes> later."},
    {.name = "from", .type = OPTION_DURATION, .where = TARGET(from_us), .fallback = "0s", .min = 0, .max = DAYS(1), .help = "Since the beginning."},
    {.name = "until", .type = OPTION_DURATION, .where = TARGET(until_us), .fallback = "24h", .min = 0, .max = DAYS(1), .help = "The same."},
    {.name = "takes", .type = OPTION_DURATION, .where = TARGET(takes_us), .fallback = "5ms", .min = 0, .max = SECONDS(3600), .help = "How long."},
    {.name = "share", .type = OPTION_SHARE, .where = TARGET(share), .fallback = "1", .help = "Of its calls."},
    {0},
};

static const struct option simulated_price_options[] = {
    {.name = "input", .type = OPTION_PRICE, .where = TARGET(price.input), .fallback = "0", .help = "USD per million tokens."},
    {.name = "cached_input", .type = OPTION_PRICE, .where = TARGET(price.cached_input), .fallback = "0", .help = "The same, of those that were cached."},
    {.name = "output", .type = OPTION_PRICE, .where = TARGET(price.output), .fallback = "0", .help = "The same."},
    {0},
};

static const struct option simulated_target_options[] = {
    {.name = "name", .type = OPTION_NAME, .where = TARGET(name), .help = "For messages."},
    {.name = "first_token", .type = OPTION_DURATION, .where = TARGET(first_us), .fallback = "300ms", .min = 1, .max = SECONDS(3600), .help = "Median, without queue and prompt."},
    {.name = "spread", .type = OPTION_SHARE, .where = TARGET(spread), .fallback = "0.25", .help = "Sigma of its logarithm."},
    {.name = "token", .type = OPTION_DURATION, .where = TARGET(token_us), .fallback = "0s", .min = 0, .max = SECONDS(60), .help = "For each output token after the first."},
    {.name = "read_rate", .type = OPTION_NUMBER, .where = TARGET(read_rate), .fallback = "0", .min = 0, .max = TOKENS_MOST, .help = "Prompt tokens a second; 0 = they take no time."},
    {.name = "slots", .type = OPTION_COUNT, .where = TARGET(slots), .fallback = "0", .min = 0, .max = 100000, .help = "Calls at once; 0 = any."},
    {.name = "cache", .type = OPTION_COUNT, .where = TARGET(cache), .fallback = "0", .min = 0, .max = SIMULATE_PREFIXES_MAX, .help = "Shared prefixes that it holds."},
    {.name = "tokens_per_minute", .type = OPTION_NUMBER, .where = TARGET(tokens_per_minute), .fallback = "0", .min = 0, .max = TOKENS_MOST, .help = "Its quota; 0 = none."},
    {.name = "joins", .type = OPTION_DURATION, .where = TARGET(joins_us), .fallback = "0s", .min = 0, .max = DAYS(1), .help = "It is not there before."},
    {.name = "warms", .type = OPTION_DURATION, .where = TARGET(warms_us), .fallback = "0s", .min = 0, .max = DAYS(1), .help = "For so long after that it is slow."},
    {.name = "warms_times", .type = OPTION_COUNT, .where = TARGET(warms_times), .fallback = "1", .min = 1, .max = 1000, .help = "So many times."},
    {.name = "weight", .type = OPTION_COUNT, .where = TARGET(weight), .fallback = "1", .min = 1, .max = 1000, .help = "As in a configuration."},
    {.name = "count", .type = OPTION_ANY, .fallback = "1", .help = "So many like this one."},
    {.name = "price", .type = OPTION_SECTION, .inner = simulated_price_options, .help = "What calls cost."},
    {.name = "trouble", .type = OPTION_SECTION, .inner = trouble_options, .help = "What goes wrong."},
    {0},
};

static const struct option simulated_answer_options[] = {
    {.name = "tokens", .type = OPTION_NUMBER, .where = ANSWER(tokens), .fallback = "1", .min = 1, .max = 1000000, .help = "Median."},
    {.name = "share", .type = OPTION_SHARE, .where = ANSWER(share), .fallback = "1", .help = "Of the calls."},
    {.name = "spread", .type = OPTION_SHARE, .where = ANSWER(spread), .fallback = "0", .help = "Sigma of its logarithm."},
    {.name = "memoryless", .type = OPTION_BOOL, .where = ANSWER(memoryless), .fallback = "false", .help = "Exponential, with tokens as the mean."},
    {.name = "tail", .type = OPTION_SHARE, .where = ANSWER(tail), .fallback = "0", .help = "Pareto: 1 / its exponent, with tokens as the least."},
    {0},
};

static const struct option calls_options[] = {
    {.name = "per_minute", .type = OPTION_NUMBER, .where = SCENARIO(per_minute), .required = true, .min = 1, .max = 10000000, .help = "Poisson."},
    {.name = "for", .type = OPTION_DURATION, .where = SCENARIO(is.seconds_us), .fallback = "2m", .min = SECOND, .max = DAYS(1), .help = "Until the last one comes."},
    {.name = "warmup", .type = OPTION_DURATION, .where = SCENARIO(is.warmup_us), .fallback = "0s", .min = 0, .max = DAYS(1), .help = "Those before are not counted."},
    {.name = "burst_times", .type = OPTION_COUNT, .where = SCENARIO(is.burst_times), .fallback = "1", .min = 1, .max = 100, .help = "So many times the rate"},
    {.name = "burst_every", .type = OPTION_DURATION, .where = SCENARIO(is.burst_every_us), .fallback = "0s", .min = 0, .max = DAYS(1), .help = "so often"},
    {.name = "burst_for", .type = OPTION_DURATION, .where = SCENARIO(is.burst_for_us), .fallback = "0s", .min = 0, .max = DAYS(1), .help = "for so long."},
    {.name = "input_tokens", .type = OPTION_NUMBER, .where = SCENARIO(is.input_tokens), .fallback = "500", .min = 1, .max = 10000000, .help = "Of each."},
    {.name = "prefixes", .type = OPTION_COUNT, .where = SCENARIO(is.prefixes), .fallback = "0", .min = 0, .max = SIMULATE_PREFIXES_MAX, .help = "Shared beginnings of prompts."},
    {.name = "prompts", .type = OPTION_COUNT, .where = SCENARIO(is.prompts), .fallback = "1", .min = 1, .max = 100000, .help = "Different ones of each prefix."},
    {.name = "prefix_tokens", .type = OPTION_NUMBER, .where = SCENARIO(is.prefix_tokens), .fallback = "0", .min = 0, .max = 10000000, .help = "Of input_tokens."},
    {.name = "lengths_known", .type = OPTION_BOOL, .where = SCENARIO(is.lengths_known), .fallback = "false", .help = "It is known before what a call will write."},
    {.name = "whole", .type = OPTION_BOOL, .where = SCENARIO(is.whole), .fallback = "false", .help = "Answers come in one piece."},
    {.name = "retries", .type = OPTION_COUNT, .where = SCENARIO(is.retries), .fallback = "0", .min = 0, .max = 10, .help = "On other targets."},
    {.name = "noisy_share", .type = OPTION_SHARE, .where = SCENARIO(is.noisy_share), .fallback = "0", .help = "Of one tenant, which calls for 4 s in 20."},
    {.name = "noisy_tokens", .type = OPTION_NUMBER, .where = SCENARIO(is.noisy_tokens), .fallback = "1", .min = 1, .max = 1000000, .help = "And writes so much."},
    {0},
};

static const struct option scenario_options[] = {
    {.name = "name", .type = OPTION_NAME, .where = SCENARIO(is.name), .required = true, .help = "In tables."},
    {.name = "about", .type = OPTION_TEXT, .where = SCENARIO(is.about), .help = "What it shows."},
    {.name = "judged", .type = OPTION_WORD, .where = SCENARIO(is.judged), .fallback = "misses", .words = "misses|first|first_p99|total|errors|bill", .help = "What is compared: the less, the better."},
    {.name = "objective", .type = OPTION_DURATION, .where = SCENARIO(is.objective_us), .fallback = "1s", .min = 1, .max = SECONDS(3600), .help = "Of the first token."},
    {.name = "miss", .type = OPTION_MONEY, .where = SCENARIO(is.miss_nanos), .fallback = "0.01 USD", .min = 0, .max = INT64_C(1000000000000), .help = "For bill: what one that is later costs."},
    {.name = "replicas", .type = OPTION_COUNT, .where = SCENARIO(is.replicas), .fallback = "1", .min = 1, .max = SIMULATE_REPLICAS_MAX, .help = "Gateways, each with its own figures."},
    {.name = "told_every", .type = OPTION_DURATION, .where = SCENARIO(is.told_us), .fallback = "0s", .min = 0, .max = SECONDS(3600), .help = "So often servers tell their load (metrics_url); 0s = never."},
    {.name = "calls", .type = OPTION_SECTION, .inner = calls_options, .required = true, .help = "What comes."},
    {.name = "answers", .type = OPTION_LIST, .where = SCENARIO(answers), .inner = simulated_answer_options, .size = sizeof(struct simulated_answer_draft), .required = true, .help = "What is written."},
    {.name = "targets", .type = OPTION_LIST, .where = SCENARIO(targets), .inner = simulated_target_options, .size = sizeof(struct simulated_target_draft), .required = true, .help = "Who answers."},
    {.name = "routing", .type = OPTION_ANY, .fallback = "{}", .help = "As in a configuration: default_policy, policies."},
    {0},
};

/* clang-format on */

static unsigned count_of(struct document *document, const struct node *node)
{
    const struct node *given = node_find(node, "count");
    uint64_t count = 1;
    if (given && !text_number(node_text(given), SIMULATE_TARGETS_MAX, &count))
        problem_at_value(document, given, SEVERITY_ERROR, "there are at most %d targets",
                         SIMULATE_TARGETS_MAX);
    return (unsigned)count;
}

static void resolve_targets(struct scenario *scenario)
{
    const struct simulated_target_draft *drafts = scenario->targets.at;
    struct simulate_scenario *is = &scenario->is;
    for (size_t i = 0; i < scenario->targets.count; i++)
        for (unsigned k = count_of(scenario->document, drafts[i].node); k > 0; k--) {
            if (is->target_count == SIMULATE_TARGETS_MAX) {
                problem_at_value(scenario->document, drafts[i].node, SEVERITY_ERROR,
                                 "there are at most %d targets", SIMULATE_TARGETS_MAX);
                return;
            }
            struct simulate_target *target = &is->targets[is->target_count++];
            *target = drafts[i].target;
            target->price.known = true;
        }
}

static void resolve_answers(struct scenario *scenario)
{
    const struct simulated_answer_draft *drafts = scenario->answers.at;
    struct simulate_scenario *is = &scenario->is;
    for (size_t i = 0; i < scenario->answers.count; i++) {
        if (is->answer_count == SIMULATE_ANSWERS_MAX) {
            problem_at_value(scenario->document, drafts[i].node, SEVERITY_ERROR,
                             "there are at most %d kinds of answers", SIMULATE_ANSWERS_MAX);
            return;
        }
        if (drafts[i].answer.tail > 0.95)
            problem_at_value(scenario->document, node_of(drafts[i].node, "tail"), SEVERITY_ERROR,
                             "with such a tail answers have no mean: at most 0.95");
        is->answers[is->answer_count++] = drafts[i].answer;
    }
}

static void resolve(struct scenario *scenario)
{
    struct document *document = scenario->document;
    const struct node *routing = node_find(document->root, "routing");
    static const struct node none = {.kind = NODE_MAP};
    scenario->is.rate = (double)scenario->per_minute / 60;
    resolve_targets(scenario);
    resolve_answers(scenario);
    if (document->errors == 0 && (scenario->is.target_count == 0 || scenario->is.answer_count == 0))
        problem_at_value(document, document->root, SEVERITY_ERROR,
                         "\"targets\" and \"answers\" must not be empty");
    if (scenario->is.prefix_tokens > scenario->is.input_tokens)
        problem_at_value(document, node_at(document->root, "calls.prefix_tokens"), SEVERITY_ERROR,
                         "\"prefix_tokens\" are a part of \"input_tokens\"");
    if (scenario->is.rate * (double)scenario->is.seconds_us / 1e6 * scenario->is.burst_times >
        SIMULATE_CALLS_MAX)
        problem_at_value(document, node_find(document->root, "calls"), SEVERITY_ERROR,
                         "these are more than %d calls", SIMULATE_CALLS_MAX);
    document_fill_mapping(document, routing && routing->kind == NODE_MAP ? routing : &none,
                          routing_options, document);
    resolve_policies(document);
}

struct scenario *scenario_load(const char *path, FILE *words)
{
    struct scenario *scenario = memory_new(sizeof(*scenario));
    struct config_options options = {.path = path, .allow_inert = true};
    struct document *document = scenario->document = document_new(&options);
    document->root = document_read_plain(document, path);
    if (document->root) {
        document_fill_mapping(document, document->root, scenario_options, scenario);
        resolve(scenario);
    }
    problems_print(document, words);
    if (document->root && document->errors == 0)
        return scenario;
    scenario_free(scenario);
    return NULL;
}

void scenario_free(struct scenario *scenario)
{
    if (!scenario)
        return;
    document_free(scenario->document);
    memory_free(scenario);
}

const struct simulate_scenario *scenario_is(const struct scenario *scenario)
{
    return &scenario->is;
}

const struct route_policy *scenario_policy(struct scenario *scenario, struct text name)
{
    struct document *document = scenario->document;
    const struct config *config = &document->config;
    unsigned strategy;
    bool is_file;
    for (size_t i = 0; i < config->policy_count; i++)
        if (text_equal(config->policies[i].name, name))
            return &config->policies[i];
    if (text_equal(name, strategy_balanced.name))
        return &strategy_balanced;
    const struct option *rows = option_find(routing_options, "policies", 8, &is_file)->inner;
    if (!word_find(option_find(rows, "strategy", 8, &is_file)->words, name.at, name.len, &strategy))
        return NULL;
    struct route_policy *policy = arena_new(&document->arena, sizeof(*policy));
    *policy = strategy_balanced;
    policy->strategy = (enum strategy)strategy;
    return policy;
}

const struct route_policy *scenario_default_policy(const struct scenario *scenario)
{
    return scenario->document->config.default_policy;
}
