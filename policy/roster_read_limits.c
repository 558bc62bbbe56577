/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>

#include "gateway/base/quantity.h"
#include "policy/roster_reading.h"

/* The same names and the same rules as in the file (gateway/config/options_policy.c). */

static const int64_t SECOND = 1000000, NANOS = 1000000000;
static const int64_t WINDOW_MIN_US = 60 * 1000000LL, WINDOW_MAX_US = 3660 * 86400LL * 1000000;
/* What a number of JSON holds exactly. */
static const int64_t AMOUNT_MAX = INT64_C(1) << 53;

enum { CALLS_MAX = 1000000, LIST_MAX = 64, FEW = 4 };

/* Limits while they are gathered. */
struct gathered {
    struct limit *at;
    size_t count, room;
};

static bool add_limit(struct reading *reading, struct gathered *limits, const struct limit *limit)
{
    if (limits->count == ROSTER_LIMITS_MAX)
        return reading_bad(reading, "'limits' and 'budgets' are at most %d in all.",
                           ROSTER_LIMITS_MAX);
    for (size_t i = 0; i < limits->count; i++) {
        const struct limit *other = &limits->at[i];
        char name[48];
        if (other->kind != limit->kind || other->period != limit->period ||
            other->window_us != limit->window_us || !text_equal(other->model, limit->model))
            continue;
        limit_name_write(limit, name);
        return reading_bad(reading, "'%s' stands there twice: %s%s%.*s.",
                           limit->kind == LIMIT_MONEY ? "budgets" : "limits", name,
                           limit->model.len ? " of " : "", TEXT_ARGS(text_head(limit->model, 60)));
    }
    if (limits->count == limits->room) {
        limits->room = limits->room ? 2 * limits->room : FEW;
        limits->at = memory_resize(limits->at, limits->room * sizeof(*limits->at));
    }
    limits->at[limits->count++] = *limit;
    return true;
}

/* One of <words> (NULL ends), when it is given. */
static bool read_word(struct reading *reading, const struct json *value, const char *name,
                      const char *const *words, int *place)
{
    struct text word;
    char list[128] = "";
    if (!reading_is_given(value))
        return true;
    for (int i = 0; words[i]; i++) {
        if (json_to_text(value, &word) && text_equal(word, text_of(words[i]))) {
            *place = i;
            return true;
        }
        size_t len = strlen(list);
        snprintf(list + len, sizeof(list) - len, "%s%s", i ? ", " : "", words[i]);
    }
    return reading_bad(reading, "'%s' must be one of: %s.", name, list);
}

static bool read_away(struct reading *reading, const struct json *value, enum limit_away *away)
{
    static const char *const words[] = {
        [AWAY_LOCAL] = "local", [AWAY_OPEN] = "open", [AWAY_CLOSED] = "closed", NULL};
    int place = (int)*away;
    bool good = read_word(reading, value, "on_error", words, &place);
    *away = (enum limit_away)place;
    return good;
}

/* -------------------------------------------------------------------------------- budgets */

static bool read_period(struct reading *reading, const struct json *value, struct limit *limit)
{
    static const struct {
        struct text word;
        enum limit_period period;
    } words[] = {{{"hour", 4}, PERIOD_HOUR},
                 {{"day", 3}, PERIOD_DAY},
                 {{"week", 4}, PERIOD_WEEK},
                 {{"month", 5}, PERIOD_MONTH},
                 {{"total", 5}, PERIOD_TOTAL}};
    struct text word = TEXT("month");
    if (!reading_text(reading, value, "period", &word))
        return false;
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
        if (text_equal(word, words[i].word)) {
            limit->period = words[i].period;
            return true;
        }
    limit->period = PERIOD_ROLLING;
    return (duration_read(word, &limit->window_us) && limit->window_us >= WINDOW_MIN_US &&
            limit->window_us <= WINDOW_MAX_US && limit->window_us % SECOND == 0) ||
           reading_bad(reading, "'period' must be hour, day, week, month, total, or a duration "
                                "such as \"30d\", from 1m to 3660d.");
}

/* Exactly, or not at all: of a number only 15 digits are sure to be those that were written. */
static bool number_to_nanos(const struct json *value, int64_t *nanos)
{
    double number;
    char digits[64];
    int64_t whole;
    if (json_to_int(value, 0, INT64_MAX / NANOS, &whole)) {
        *nanos = whole * NANOS;
        return true;
    }
    if (!json_to_number(value, &number) || !(number >= 0 && number < 1e9))
        return false;
    snprintf(digits, sizeof(digits), "%.15g", number);
    if (strchr(digits, 'e')) /* below a ten-thousandth */
        snprintf(digits, sizeof(digits), "%.9f", number);
    return strtod(digits, NULL) == number && decimal_read(text_of(digits), nanos);
}

static bool read_amount(struct reading *reading, const struct json *value, int64_t *nanos)
{
    struct text text;
    if (!reading_is_given(value))
        return reading_bad(reading, "'amount' of a budget must be given.");
    bool good = json_to_text(value, &text) ? money_read(text, nanos) || decimal_read(text, nanos)
                                           : number_to_nanos(value, nanos);
    return good ||
           reading_bad(reading, "'amount' must be such as \"500.00 USD\", with at most nine "
                                "decimals.");
}

static bool read_warnings(struct reading *reading, const struct json *list, struct limit *limit)
{
    size_t count = json_count(list);
    int before = 0;
    if (!reading_is_given(list)) {
        limit->warn_at[0] = 500;
        limit->warn_at[1] = 800;
        return true;
    }
    if (json_kind(list) != SCAN_ARRAY || count > LIMIT_WARNINGS)
        return reading_bad(reading, "'warn_at' must be a list of at most %d shares.",
                           LIMIT_WARNINGS);
    for (size_t i = 0; i < count; i++) {
        double share = 0;
        bool good = json_to_number(json_item(list, i), &share) && share >= 0.001 && share <= 1;
        int thousandths = good ? (int)(share * 1000 + 0.5) : 0;
        if (!good || thousandths <= before)
            return reading_bad(reading, "'warn_at' must hold shares from 0.001 to 1, rising.");
        limit->warn_at[i] = (uint16_t)thousandths;
        before = thousandths;
    }
    return true;
}

static bool read_exceeded(struct reading *reading, const struct json *value, struct limit *limit)
{
    static const char *const words[] = {[EXCEEDED_REJECT] = "reject",
                                        [EXCEEDED_DEGRADE] = "degrade",
                                        [EXCEEDED_WARN] = "warn",
                                        NULL};
    int place = EXCEEDED_REJECT;
    bool good = read_word(reading, value, "on_exceeded", words, &place);
    limit->exceeded = (enum limit_exceeded)place;
    return good;
}

static bool read_zone(struct reading *reading, const struct json *value, struct limit *limit)
{
    struct text name = {"", 0};
    bool of_calendar = limit->period != PERIOD_ROLLING && limit->period != PERIOD_TOTAL;
    if (!reading_text(reading, value, "time_zone", &name))
        return false;
    if (name.len == 0 || text_equal(name, TEXT("UTC")))
        return true;
    limit->zone = zone_find(name);
    if (!limit->zone)
        return reading_bad(reading,
                           "'time_zone' must be a name such as Europe/Berlin; there is no "
                           "'%.*s'.",
                           TEXT_ARGS(text_head(name, 60)));
    if (!of_calendar)
        limit->zone = NULL;
    return true;
}

static bool read_budget(struct reading *reading, const struct json *budget, struct text model,
                        struct gathered *limits)
{
    static const char *const members[] = {"amount",      "period",   "time_zone", "warn_at",
                                          "on_exceeded", "on_error", "model",     NULL};
    struct limit limit = {.kind = LIMIT_MONEY, .away = reading->file->away_budgets};
    if (!reading_is_given(budget))
        return true;
    if (json_kind(budget) != SCAN_OBJECT)
        return reading_bad(reading, "'budget' must be an object.");
    limit.model = model;
    return reading_members(reading, budget, members, "budget") &&
           reading_text(reading, json_member(budget, "model"), "model", &limit.model) &&
           read_amount(reading, json_member(budget, "amount"), &limit.amount) &&
           read_period(reading, json_member(budget, "period"), &limit) &&
           read_zone(reading, json_member(budget, "time_zone"), &limit) &&
           read_warnings(reading, json_member(budget, "warn_at"), &limit) &&
           read_exceeded(reading, json_member(budget, "on_exceeded"), &limit) &&
           read_away(reading, json_member(budget, "on_error"), &limit.away) &&
           add_limit(reading, limits, &limit);
}

static bool read_budgets(struct reading *reading, const struct json *object, struct text model,
                         struct gathered *limits)
{
    const struct json *list = json_member(object, "budgets");
    if (!read_budget(reading, json_member(object, "budget"), model, limits))
        return false;
    if (reading_is_given(list) && (json_kind(list) != SCAN_ARRAY || json_count(list) > LIST_MAX))
        return reading_bad(reading, "'budgets' must be a list of at most %d.", LIST_MAX);
    for (size_t i = 0; i < json_count(list); i++)
        if (!read_budget(reading, json_item(list, i), model, limits))
            return false;
    return true;
}

/* ---------------------------------------------------------------------------------- rates */

/* What limits of one section share. */
struct manner {
    struct text model;
    int algorithm;
    enum limit_away away;
    bool strict;
};

/* What may stand in a section; the last ones not in that of a model, or only there. */
static const char *const section_members[] = {"requests_per_second",
                                              "requests_per_minute",
                                              "requests_per_hour",
                                              "requests_per_day",
                                              "tokens_per_second",
                                              "tokens_per_minute",
                                              "tokens_per_hour",
                                              "tokens_per_day",
                                              "input_tokens_per_second",
                                              "input_tokens_per_minute",
                                              "input_tokens_per_hour",
                                              "input_tokens_per_day",
                                              "output_tokens_per_second",
                                              "output_tokens_per_minute",
                                              "output_tokens_per_hour",
                                              "output_tokens_per_day",
                                              "concurrent",
                                              "strict",
                                              "algorithm",
                                              "on_error",
                                              "models",
                                              "budget",
                                              "budgets",
                                              NULL};

static bool is_manner(struct text name, bool of_model)
{
    if (text_equal(name, TEXT("strict")) || text_equal(name, TEXT("algorithm")) ||
        text_equal(name, TEXT("on_error")))
        return true;
    if (of_model)
        return text_equal(name, TEXT("budget")) || text_equal(name, TEXT("budgets"));
    return text_equal(name, TEXT("models"));
}

static bool read_rate(struct reading *reading, struct text name, const struct json *value,
                      const struct manner *manner, struct gathered *limits)
{
    struct limit limit = {.model = manner->model, .away = manner->away};
    if (!limit_name_read(name, &limit))
        return reading_bad(reading, "'limits' has no member '%.*s'.%s",
                           TEXT_ARGS(text_head(name, 60)),
                           reading_hint(reading, name, section_members));
    bool of_tokens = limit.kind == LIMIT_TOKENS || limit.kind == LIMIT_INPUT_TOKENS ||
                     limit.kind == LIMIT_OUTPUT_TOKENS;
    int64_t most = limit.kind == LIMIT_CONCURRENT ? CALLS_MAX : AMOUNT_MAX;
    if (!json_to_int(value, 0, most, &limit.amount))
        return reading_bad(reading, "'%.*s' must be a whole number from 0 to %lld.",
                           TEXT_ARGS(text_head(name, 60)), (long long)most);
    limit.algorithm = (enum limit_algorithm)manner->algorithm;
    limit.strict = manner->strict && of_tokens;
    return add_limit(reading, limits, &limit);
}

static bool read_manner(struct reading *reading, const struct json *section, struct manner *manner)
{
    static const char *const words[] = {
        [LIMIT_SLIDING_WINDOW] = "sliding_window", [LIMIT_TOKEN_BUCKET] = "token_bucket", NULL};
    const struct json *strict = json_member(section, "strict");
    if (reading_is_given(strict) && !json_to_bool(strict, &manner->strict))
        return reading_bad(reading, "'strict' must be true or false.");
    return read_word(reading, json_member(section, "algorithm"), "algorithm", words,
                     &manner->algorithm) &&
           read_away(reading, json_member(section, "on_error"), &manner->away);
}

/* <around>: what holds for what the section does not say itself. */
static bool read_section(struct reading *reading, const struct json *section, struct manner *around,
                         struct gathered *limits)
{
    void *at = NULL;
    struct text name;
    const struct json *value;
    if (!reading_is_given(section))
        return true;
    if (json_kind(section) != SCAN_OBJECT)
        return reading_bad(reading, "'limits' must be an object.");
    if (!read_manner(reading, section, around))
        return false;
    while (json_next(section, &at, &name, &value))
        if (!is_manner(name, around->model.len > 0) && json_kind(value) != SCAN_NULL &&
            !read_rate(reading, name, value, around, limits))
            return false;
    return true;
}

static bool read_models(struct reading *reading, const struct json *models,
                        const struct manner *around, struct gathered *limits)
{
    void *at = NULL;
    struct text name;
    const struct json *value;
    if (reading_is_given(models) && json_kind(models) != SCAN_OBJECT)
        return reading_bad(reading, "'models' in 'limits' must be an object.");
    while (json_next(models, &at, &name, &value)) {
        struct manner manner = *around;
        manner.model = arena_copy(reading->arena, name);
        if (name.len == 0)
            return reading_bad(reading, "'models' in 'limits' must have names of models.");
        if (!read_section(reading, value, &manner, limits) ||
            !read_budgets(reading, value, manner.model, limits))
            return false;
    }
    return true;
}

bool reading_limits(struct reading *reading, const struct json *owner, struct limit_list *list)
{
    struct gathered limits = {NULL, 0, 0};
    const struct json *section = json_member(owner, "limits");
    struct manner manner = {.model = {"", 0},
                            .algorithm = (int)reading->file->algorithm,
                            .away = reading->file->away_limits,
                            .strict = reading->file->strict_tokens};
    bool good = read_section(reading, section, &manner, &limits) &&
                read_models(reading, json_member(section, "models"), &manner, &limits) &&
                read_budgets(reading, owner, (struct text){"", 0}, &limits);
    struct limit *kept = NULL;
    if (limits.count) {
        kept = arena_take(reading->arena, limits.count * sizeof(*kept));
        memcpy(kept, limits.at, limits.count * sizeof(*kept));
    }
    *list = (struct limit_list){kept, limits.count};
    memory_free(limits.at);
    return good;
}
