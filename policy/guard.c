/* SPDX-License-Identifier: Apache-2.0 */
#include "policy/guard.h"

#include <stdio.h>

#include "gateway/base/json.h"
#include "gateway/base/memory.h"
#include "gateway/base/scan.h"
#include "policy/guard_inside.h"

enum { TERMS_MAX = 10000, PATTERNS_MAX = 256, TERM_MAX = 1024, NAME_MAX = 128 };

/* ----------------------------------------------------------------------------- compiling */

static bool bad(struct fault *fault, const struct guard_rule *rule, const char *words)
{
    fault_set(fault, FAULT_INTERNAL, "guardrail '%.*s': %s", TEXT_ARGS(rule->name), words);
    return false;
}

static bool add_regex(struct matcher *matcher, struct text pattern, bool nocase, char *words,
                      size_t room)
{
    struct regex *regex = regex_new(pattern, nocase, words, room);
    if (regex)
        matcher->regexes[matcher->regex_count++] = regex;
    return regex != NULL;
}

static bool compile_patterns(struct matcher *matcher, const struct guard_rule *rule, char *words,
                             size_t room)
{
    snprintf(words, room, "patterns: from 1 to %d of them are needed", PATTERNS_MAX);
    if (rule->pattern_count == 0 || rule->pattern_count > PATTERNS_MAX)
        return false;
    matcher->regexes = memory_new(rule->pattern_count * sizeof(struct regex *));
    for (size_t i = 0; i < rule->pattern_count; i++) {
        char why[200];
        if (!add_regex(matcher, rule->patterns[i], false, why, sizeof(why))) {
            snprintf(words, room, "patterns: '%.*s' is no regular expression: %s",
                     TEXT_ARGS(text_head(rule->patterns[i], 60)), why);
            return false;
        }
    }
    return true;
}

static bool compile_injection(struct matcher *matcher, char *words, size_t room)
{
    size_t count = 0;
    while (injection_patterns[count])
        count++;
    matcher->regexes = memory_new(count * sizeof(struct regex *));
    for (size_t i = 0; i < count; i++)
        if (!add_regex(matcher, text_of(injection_patterns[i]), true, words, room))
            return false;
    return true;
}

static bool compile_terms(struct matcher *matcher, const struct guard_rule *rule, char *words,
                          size_t room)
{
    snprintf(words, room, "terms: from 1 to %d are needed, each of 1 to %d bytes", TERMS_MAX,
             TERM_MAX);
    if (rule->term_count == 0 || rule->term_count > TERMS_MAX)
        return false;
    for (size_t i = 0; i < rule->term_count; i++)
        if (rule->terms[i].len == 0 || rule->terms[i].len > TERM_MAX)
            return false;
    matcher->words = words_new(rule->terms, rule->term_count);
    return true;
}

static bool compile_entities(struct matcher *matcher, const struct guard_rule *rule, char *words,
                             size_t room)
{
    bool wanted[ENTITIES] = {false};
    for (enum entity entity = 0; entity < ENTITY_IP; entity++)
        wanted[entity] = rule->entity_count == 0;
    for (size_t i = 0; i < rule->entity_count; i++) {
        enum entity entity = entity_find(rule->entities[i]);
        if (entity == ENTITIES) {
            int len = (int)(rule->entities[i].len < 40 ? rule->entities[i].len : 40);
            snprintf(words, room,
                     "entities: '%.*s' is none of email, phone, card, iban, ip, secret", len,
                     rule->entities[i].at);
            return false;
        }
        wanted[entity] = true;
    }
    for (enum entity entity = 0; entity < ENTITIES; entity++)
        if (wanted[entity])
            matcher->entities[matcher->entity_count++] = entity;
    return true;
}

static bool compile_schema(struct matcher *matcher, const struct guard_rule *rule, char *words,
                           size_t room)
{
    const char *problem = NULL;
    if (rule->stage != GUARD_RESPONSE)
        problem = "stage: json_schema looks at answers only (response)";
    else if (rule->action == GUARD_REDACT)
        problem = "action: an answer that does not fit can be blocked or flagged, not redacted";
    if (problem)
        snprintf(words, room, "%s", problem);
    else
        matcher->schema = schema_new(rule->schema, words, room);
    return matcher->schema != NULL;
}

static bool compile(struct matcher *matcher, const struct guard_rule *rule, char *words,
                    size_t room)
{
    switch (rule->type) {
    case GUARD_REGEX:
        return compile_patterns(matcher, rule, words, room);
    case GUARD_CONTAINS:
        return compile_terms(matcher, rule, words, room);
    case GUARD_PII:
        return compile_entities(matcher, rule, words, room);
    case GUARD_PROMPT_INJECTION:
        return compile_injection(matcher, words, room);
    case GUARD_JSON_SCHEMA:
        return compile_schema(matcher, rule, words, room);
    case GUARD_WEBHOOK:
        snprintf(words, room, "url: a webhook needs one");
        return rule->url.len > 0;
    }
    return false;
}

/* The marker in all its dresses: in a string, in a string in a string, and as such. */
static void write_markers(struct matcher *matcher, struct text name)
{
    struct buffer once, twice, out;
    buffer_init(&out, 256);
    buffer_init(&once, 2048);
    buffer_init(&twice, 16 * 1024);
    buffer_append_text(&out, TEXT("[REDACTED:"));
    buffer_append_text(&out, text_head(name, NAME_MAX));
    buffer_append_text(&out, TEXT("]"));
    json_write_string(&once, buffer_text(&out));
    struct text marker = buffer_text(&once);
    marker = (struct text){marker.at + 1, marker.len - 2};
    json_write_string(&twice, marker);
    struct text inside = buffer_text(&twice);
    inside = (struct text){inside.at + 1, inside.len - 2};
    matcher->memory =
        memory_format("%.*s%c%.*s%.*s\\\"%.*s\\\"\"%.*s\"", TEXT_ARGS(name), 0, TEXT_ARGS(marker),
                      TEXT_ARGS(inside), TEXT_ARGS(inside), TEXT_ARGS(marker));
    const char *at = matcher->memory;
    size_t lengths[] = {marker.len, inside.len, inside.len + 4, marker.len + 2};
    matcher->name = (struct text){at, name.len};
    at += name.len + 1;
    for (int dress = DRESS_PLAIN; dress <= DRESS_NUMBER; dress++) {
        matcher->markers[dress] = (struct text){at, lengths[dress]};
        at += lengths[dress];
    }
    buffer_done(&out);
    buffer_done(&once);
    buffer_done(&twice);
}

static size_t count_units(const struct matcher *matcher)
{
    return matcher->regex_count + matcher->entity_count + (matcher->words ? 1 : 0);
}

struct guard *guard_new(const struct guard_rule *rules, size_t count, struct fault *fault)
{
    struct guard *guard = memory_new(sizeof(*guard));
    guard->rules = rules;
    guard->matchers = memory_new(count * sizeof(*guard->matchers) + 1);
    if (count > GUARD_RULES_MAX) {
        fault_set(fault, FAULT_INTERNAL, "guardrails: at most %d are possible", GUARD_RULES_MAX);
        guard_free(guard);
        return NULL;
    }
    for (; guard->count < count; guard->count++) {
        const struct guard_rule *rule = &rules[guard->count];
        struct matcher *matcher = &guard->matchers[guard->count];
        char words[300];
        write_markers(matcher, rule->name);
        if (compile(matcher, rule, words, sizeof(words))) {
            matcher->first_unit = guard->units;
            guard->units += count_units(matcher);
            continue;
        }
        bad(fault, rule, words);
        fault->param = rule->name.at; /* a C string in every configuration */
        guard->count++;
        guard_free(guard);
        return NULL;
    }
    return guard;
}

void guard_free(struct guard *guard)
{
    if (!guard)
        return;
    for (size_t i = 0; i < guard->count; i++) {
        struct matcher *matcher = &guard->matchers[i];
        for (size_t r = 0; r < matcher->regex_count; r++)
            regex_free(matcher->regexes[r]);
        memory_free(matcher->regexes);
        words_free(matcher->words);
        schema_free(matcher->schema);
        memory_free(matcher->memory);
    }
    memory_free(guard->matchers);
    memory_free(guard);
}

/* ------------------------------------------------------------------------------ concerns */

static bool is_among(const struct text *list, size_t count, const struct text *names,
                     size_t name_count)
{
    for (size_t i = 0; i < count; i++)
        for (size_t n = 0; n < name_count; n++)
            if (text_matches(names[n], list[i]))
                return true;
    return count == 0;
}

uint64_t guard_concerns(const struct guard *guard, enum guard_stage stage,
                        const struct text *tenants, size_t tenant_count, struct text model)
{
    uint64_t concerns = 0;
    for (size_t i = 0; guard && i < guard->count; i++) {
        const struct guard_rule *rule = &guard->rules[i];
        if (rule->stage == stage &&
            is_among(rule->tenants, rule->tenant_count, tenants, tenant_count) &&
            is_among(rule->models, rule->model_count, &model, 1))
            concerns |= 1ULL << i;
    }
    return concerns;
}

const struct guard_rule *guard_rule_at(const struct guard *guard, size_t i)
{
    return i < guard->count ? &guard->rules[i] : NULL;
}

const char *guard_rule_name(const struct guard *guard, size_t i)
{
    return guard->matchers[i].name.at;
}

uint64_t guard_only(const struct guard *guard, uint64_t rules, unsigned types)
{
    uint64_t only = 0;
    for (size_t i = 0; i < guard->count; i++)
        if ((rules >> i & 1) && (types >> guard->rules[i].type & 1))
            only |= 1ULL << i;
    return only;
}

/* ------------------------------------------------------------------------------- hunting */

bool guard_stop(const struct guard *guard, size_t i, struct guard_verdict *verdict)
{
    verdict->matched |= 1ULL << i;
    if (!verdict->blocks)
        verdict->rule = guard->matchers[i].name.at;
    verdict->blocks = true;
    return false;
}

bool guard_match(const struct guard *guard, size_t i, struct guard_verdict *verdict)
{
    if (guard->rules[i].action == GUARD_BLOCK)
        return guard_stop(guard, i, verdict);
    verdict->matched |= 1ULL << i;
    return true;
}

/* One pattern, one entity or all words. */
static bool find(const struct matcher *matcher, size_t unit, const struct hunt *hunt,
                 struct span *span)
{
    if (unit < matcher->regex_count)
        return regex_find(matcher->regexes[unit], hunt, span);
    unit -= matcher->regex_count;
    if (unit < matcher->entity_count)
        return pii_find(matcher->entities[unit], hunt, span);
    return words_find(matcher->words, hunt, span);
}

static bool hunt_unit(const struct guard *guard, size_t i, size_t unit, struct hunt hunt,
                      struct guard_verdict *verdict, struct marks *marks)
{
    bool redacts = guard->rules[i].action == GUARD_REDACT;
    size_t first = marks->count;
    struct span span;
    size_t *resume = hunt.resume ? &hunt.resume[guard->matchers[i].first_unit + unit] : NULL;
    if (resume && *resume > hunt.from)
        hunt.from = *resume;
    while (hunt.from < hunt.until && find(&guard->matchers[i], unit, &hunt, &span)) {
        if (!guard_match(guard, i, verdict))
            return false;
        if (!redacts)
            return true;
        bool many = marks->count - first >= MARKS_MAX && !hunt.more;
        marks_add(marks, span.begin, many ? hunt.text.len : span.end, (unsigned)i);
        hunt.from = many ? hunt.text.len : span.end;
        if (resume)
            *resume = hunt.from;
    }
    return true;
}

bool guard_hunt(const struct guard *guard, uint64_t rules, const struct hunt *hunt,
                struct guard_verdict *verdict, struct marks *marks)
{
    size_t first = marks->count;
    for (size_t i = 0; i < guard->count; i++) {
        bool flagged = guard->rules[i].action == GUARD_FLAG && (verdict->matched >> i & 1);
        if (!(rules >> i & 1) || flagged)
            continue;
        for (size_t unit = 0; unit < count_units(&guard->matchers[i]); unit++)
            if (!hunt_unit(guard, i, unit, *hunt, verdict, marks))
                return false;
    }
    marks_sort(marks, first);
    return true;
}

/* Hunt through a text that has a layer of escapes of its own: JSON in a string. */
static bool hunt_inside(const struct guard *guard, uint64_t rules, struct hunt *hunt,
                        struct guard_verdict *verdict, struct marks *marks)
{
    struct text json = hunt->text;
    size_t first = marks->count;
    char *plain = NULL;
    if (memchr(json.at, '\\', json.len)) {
        plain = memory_new(json.len);
        hunt->text = (struct text){plain, text_unescape(json, plain)};
        hunt->until = hunt->text.len;
    }
    bool passes = guard_hunt(guard, rules, hunt, verdict, marks);
    if (passes && plain)
        marks_lead_back(marks, first, json);
    memory_free(plain);
    if (passes && marks->count > first) {
        size_t rule = marks->list[first].rule;
        passes = marks_dress(marks, first, (struct lexer){0}, json, 0) ||
                 guard_stop(guard, rule, verdict);
    }
    return passes;
}

bool is_base64(struct text raw)
{
    size_t i = 0;
    for (; i < raw.len; i++) {
        char c = raw.at[i];
        bool plain = (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z');
        if (!plain && c != '+' && c != '/' && c != '=')
            return false;
    }
    return raw.len >= 256;
}

bool guard_hunt_whole(const struct guard *guard, uint64_t rules, const struct found *found,
                      struct hunter *hunter, struct guard_verdict *verdict, struct marks *marks)
{
    if (found->raw.len == 0 || (found->kind == TEXT_FILE && is_base64(found->raw)))
        return true;
    size_t first = marks->count;
    struct hunt hunt = {.text = found->raw, .hunter = hunter};
    char *plain = NULL;
    if (found->escaped || found->kind == TEXT_RAW) {
        plain = memory_new(found->raw.len);
        hunt.text.at = plain;
        if (found->kind == TEXT_RAW)
            text_mend(found->raw, plain);
        else
            hunt.text.len = text_unescape(found->raw, plain);
    }
    hunt.until = hunt.text.len;
    bool passes = found->kind == TEXT_JSON ? hunt_inside(guard, rules, &hunt, verdict, marks)
                                           : guard_hunt(guard, rules, &hunt, verdict, marks);
    memory_free(plain);
    for (size_t i = first; found->kind == TEXT_NUMBER && passes && i < marks->count; i++) {
        marks->list[i].begin = 0;
        marks->list[i].end = found->raw.len;
        marks->list[i].dress = DRESS_NUMBER;
        marks->count = first + 1;
    }
    return passes;
}
