/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/config/document.h"
#include "gateway/config/options.h"

#define RULE(member) offsetof(struct rule_draft, member)

/* clang-format off */

static const struct option rule_time[] = {
    {.name = "from", .type = OPTION_TEXT, .where = RULE(from), .fallback = "00:00", .help = "\"08:30\"."},
    {.name = "to", .type = OPTION_TEXT, .where = RULE(to), .fallback = "24:00", .help = "Not counted in; earlier than from: over midnight."},
    {.name = "days", .type = OPTION_WORDS, .where = RULE(days), .fallback = "[]", .words = "mon|tue|wed|thu|fri|sat|sun", .help = "On which it begins; none = every day."},
    {.name = "zone", .type = OPTION_NAME, .where = RULE(zone), .fallback = "UTC", .help = "Of the system's tz database: Europe/Berlin."},
    {0},
};

static const struct option rule_when[] = {
    {.name = "tenant", .type = OPTION_TEXTS, .where = RULE(tenants), .fallback = "[]", .help = "One of these, or of the tenants in them; here and below * stands for any letters."},
    {.name = "key", .type = OPTION_TEXTS, .where = RULE(keys), .fallback = "[]", .help = "Names of keys."},
    {.name = "user", .type = OPTION_TEXTS, .where = RULE(users), .fallback = "[]", .help = "End users, as the request names them."},
    {.name = "model", .type = OPTION_TEXTS, .where = RULE(models), .fallback = "[]", .help = "As it is asked for, or the model's own name."},
    {.name = "tags", .type = OPTION_PAIRS, .where = RULE(tags), .fallback = "{}", .help = "Tags of the call: the tenant's, the key's, and x-sluice-tags where it may be set."},
    {.name = "header", .type = OPTION_PAIRS, .where = RULE(headers), .fallback = "{}", .help = "Headers of the request; at most 32 different ones in all rules."},
    {.name = "input_tokens", .type = OPTION_TEXT, .where = RULE(input_tokens), .fallback = "null", .help = "As expected before the call: \">100000\", \"<=8000\", \"1000-8000\"."},
    {.name = "capability", .type = OPTION_WORDS, .where = RULE(needs), .fallback = "[]", .words = "vision|tools|json_schema|audio", .help = "What the call needs; all of these."},
    {.name = "time", .type = OPTION_SECTION, .inner = rule_time, .fallback = "null", .help = "When it is asked."},
    {.name = "sample", .type = OPTION_SHARE, .where = RULE(sample), .fallback = "null", .help = "A share of those that meet all else. Such a rule passes over models that have none of its targets."},
    {.name = "sticky", .type = OPTION_WORD, .where = RULE(sticky), .fallback = "conversation", .words = "conversation|key|user|call", .help = "What a sample keeps together: the calls of a conversation, of a key, of an end user; call = nothing."},
    {0},
};

static const struct option rule_mirror[] = {
    {.name = "target", .type = OPTION_NAME, .where = RULE(mirror_target), .required = true, .help = "Id of a target of the client's dialect."},
    {.name = "share", .type = OPTION_SHARE, .where = RULE(mirror_share), .fallback = "1.0", .help = "Of the calls of this rule."},
    {.name = "max_body_bytes", .type = OPTION_SIZE, .where = RULE(mirror_bytes), .fallback = "256KiB", .min = KIB(1), .max = MIB(8), .help = "Longer calls are not mirrored."},
    {.name = "concurrent", .type = OPTION_COUNT, .where = RULE(mirror_calls), .fallback = "8", .min = 1, .max = 256, .help = "At once, of each worker; what is more is not mirrored."},
    {0},
};

static const struct option rule_use[] = {
    {.name = "model", .type = OPTION_NAME, .where = RULE(use_model), .fallback = "null", .help = "Its targets instead of those of the model that was asked for."},
    {.name = "policy", .type = OPTION_NAME, .where = RULE(use_policy), .fallback = "null", .help = "Routing policy."},
    {.name = "targets", .type = OPTION_TEXTS, .where = RULE(use_targets), .fallback = "[]", .help = "Only these of the model's targets. Where it has none of them the call is refused (a sample passes over it)."},
    {.name = "tags", .type = OPTION_TEXTS, .where = RULE(use_tags), .fallback = "[]", .help = "Only targets that have all of these tags, also as fallbacks."},
    {.name = "fallback", .type = OPTION_TEXTS, .where = RULE(use_fallback), .fallback = "null", .help = "At most 64 models or targets to try afterwards, instead of the policy's; [] = none."},
    {.name = "mirror", .type = OPTION_SECTION, .inner = rule_mirror, .fallback = "null", .help = "A second target that gets the call, too; its answer is thrown away, and booked."},
    {.name = "max_cost", .type = OPTION_MONEY, .where = RULE(max_cost), .fallback = "null", .help = "\"0.05 USD\": targets where the call is expected to cost more are left out."},
    {0},
};

const struct option rule_options[] = {
    {.name = "name", .type = OPTION_NAME, .where = RULE(rule.name), .fallback = "null", .help = "Unique; in headers and explain. Default: rule and its number."},
    {.name = "when", .type = OPTION_SECTION, .inner = rule_when, .help = "All of these; nothing = always."},
    {.name = "use", .type = OPTION_SECTION, .inner = rule_use, .help = "What is done with such a call."},
    {0},
};

/* clang-format on */
