/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/config/scalar.h"

#include <assert.h>

#include "gateway/base/quantity.h"

static struct problem *complain(struct document *document, struct node *node,
                                const struct option *option, const char *wanted)
{
    struct problem *problem = NULL;
    if (document && !node->broken) {
        /* Who puts the key itself where its hash belongs shall not find it in a log. */
        if (option->secret || option->type == OPTION_HASH)
            problem = problem_at_value(document, node, SEVERITY_ERROR, "\"%s\" must be %s",
                                       option->name, wanted);
        else
            problem =
                problem_at_value(document, node, SEVERITY_ERROR, "\"%s\" must be %s, not \"%.*s\"",
                                 option->name, wanted, TEXT_ARGS(node_shown(node)));
    }
    node->broken = true;
    return problem;
}

static struct text next_word(void *with, size_t i)
{
    struct text rest = text_of(with), item;
    while (text_next(&rest, '|', &item))
        if (!i--)
            return item;
    return (struct text){NULL, 0};
}

static void list_words(const struct option *option, char *list, size_t room)
{
    size_t len = 0;
    for (const char *at = option->words; *at && len + 3 < room; at++)
        len += (size_t)snprintf(list + len, room - len, *at == '|' ? ", " : "%c", *at);
}

static void hint_word(struct document *document, struct problem *problem, const struct node *node,
                      const struct option *option)
{
    char words[256];
    snprintf(words, sizeof(words), "%s", option->words);
    struct text near =
        problem ? nearest(node_text(node), next_word, words) : (struct text){NULL, 0};
    if (near.at)
        problem->hint = arena_copy(&document->arena, near).at;
}

void scalar_complain_word(struct document *document, struct node *node, const struct option *option)
{
    char list[256];
    list_words(option, list, sizeof(list));
    if (document && !node->broken) {
        struct problem *problem = problem_at_value(
            document, node, SEVERITY_ERROR, "\"%s\" must be %s%s, not \"%.*s\"", option->name,
            strchr(option->words, '|') ? "one of " : "", list, TEXT_ARGS(node_shown(node)));
        hint_word(document, problem, node, option);
    }
    node->broken = true;
}

bool scalar_is_printable(struct text text)
{
    for (size_t i = 0; i < text.len; i++)
        if ((unsigned char)text.at[i] < ' ' || text.at[i] == 0x7f)
            return false;
    return true;
}

/* Print a bound in the unit that it would be written in. */
static void print_bound(const struct option *option, int64_t bound, char *out, size_t room)
{
    static const struct {
        const char *name;
        int64_t factor;
    } times[] = {{"d", 86400000000},
                 {"h", 3600000000},
                 {"m", 60000000},
                 {"s", 1000000},
                 {"ms", 1000}},
      sizes[] = {{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}};
    bool is_time = option->type == OPTION_DURATION;
    bool is_size = option->type == OPTION_SIZE || option->type == OPTION_RATE;
    for (size_t i = 0; is_time && bound && i < sizeof(times) / sizeof(*times); i++)
        if (bound % times[i].factor == 0) {
            snprintf(out, room, "%lld%s", (long long)(bound / times[i].factor), times[i].name);
            return;
        }
    for (size_t i = 0; is_size && bound && i < sizeof(sizes) / sizeof(*sizes); i++)
        if (bound % sizes[i].factor == 0) {
            snprintf(out, room, "%lld%s", (long long)(bound / sizes[i].factor), sizes[i].name);
            return;
        }
    snprintf(out, room, "%lld", (long long)bound);
}

static bool check_range(struct document *document, struct node *node, const struct option *option,
                        int64_t number)
{
    if ((!option->min && !option->max) || (number >= option->min && number <= option->max))
        return true;
    char min[32], max[32], wanted[80];
    print_bound(option, option->min, min, sizeof(min));
    print_bound(option, option->max, max, sizeof(max));
    if (option->min == option->max)
        snprintf(wanted, sizeof(wanted), "%s", min);
    else
        snprintf(wanted, sizeof(wanted), "from %s to %s", min, max);
    complain(document, node, option, wanted);
    return false;
}

static const char *const wanted_words[OPTION_TYPES] = {
    [OPTION_COUNT] = "a whole number",
    [OPTION_NUMBER] = "a whole number",
    [OPTION_SIZE] = "a size such as 64KiB or 4MiB",
    [OPTION_RATE] = "a size such as 64KiB or 4MiB",
    [OPTION_DURATION] = "a duration such as 250ms, 30s, 5m, 1h or 7d",
    [OPTION_SHARE] = "a number from 0 to 1",
    [OPTION_MONEY] = "an amount such as \"12.50 USD\"",
    [OPTION_PRICE] = "a decimal number that is not negative",
    [OPTION_BOOL] = "true or false",
    [OPTION_HASH] = "\"sha256:\" and 64 hexadecimal digits (see sluice hash-key)",
    [OPTION_DATE] = "a date such as \"2027-01-01\" or \"2027-01-01T12:00:00Z\"",
    [OPTION_NAME] = "1 to 128 printable characters",
};

/* "a duration such as …", where words may stand too "one of hour, day or a duration such as …". */
static void complain_type(struct document *document, struct node *node, const struct option *option)
{
    const char *type = wanted_words[option->type];
    char wanted[400], list[256];
    if (!option->words) {
        complain(document, node, option, type);
        return;
    }
    list_words(option, list, sizeof(list));
    snprintf(wanted, sizeof(wanted), "%s%s or %s", strchr(option->words, '|') ? "one of " : "",
             list, type);
    struct problem *problem = complain(document, node, option, wanted);
    hint_word(document, problem, node, option);
}

static bool read_hash(struct document *document, struct node *node, struct value *value)
{
    static const struct text prefix = {"sha256:", 7}, placeholder = {"sha256:<64 hex digits>", 22};
    struct text text = node_text(node);
    if (text_equal(text, placeholder)) {
        if (document)
            problem_at_value(document, node, SEVERITY_WARNING,
                             "this is the example's placeholder: the key can never match");
        node->broken = true;
        return true;
    }
    return text_starts(text, prefix) && hash_from_hex(text_from(text, prefix.len), &value->digest);
}

static bool read_number(const struct option *option, struct text text, int64_t *number)
{
    uint64_t unsigned_number = 0;
    int64_t share = 0;
    bool read = false;
    switch (option->type) {
    case OPTION_COUNT:
        read = text_number(text, UINT32_MAX, &unsigned_number);
        *number = (int64_t)unsigned_number;
        break;
    case OPTION_NUMBER:
        read = text_number(text, INT64_MAX, &unsigned_number);
        *number = (int64_t)unsigned_number;
        break;
    case OPTION_SIZE:
    case OPTION_RATE:
        read = size_read(text, number);
        break;
    case OPTION_DURATION:
        read = duration_read(text, number);
        break;
    case OPTION_MONEY:
        read = money_read(text, number);
        break;
    case OPTION_PRICE:
        read = decimal_read(text, number);
        break;
    case OPTION_SHARE:
        read = decimal_read(text, &share) && share <= 1000000000;
        *number = share;
        break;
    case OPTION_DATE:
        read = date_read(text, number);
        break;
    case OPTION_SECTION:
    case OPTION_LIST:
    case OPTION_MAPS:
    case OPTION_TEXT:
    case OPTION_NAME:
    case OPTION_STRING:
    case OPTION_PATH:
    case OPTION_BOOL:
    case OPTION_WORD:
    case OPTION_WORDS:
    case OPTION_TEXTS:
    case OPTION_PAIRS:
    case OPTION_HASH:
    case OPTION_ANY:
    case OPTION_TYPES:
        break;
    }
    return read;
}

static bool read_bool(struct text text, int64_t *number)
{
    *number = text_equal(text, TEXT("true"));
    return *number || text_equal(text, TEXT("false"));
}

bool scalar_read(struct document *document, struct node *node, const struct option *option,
                 struct value *value)
{
    assert(option->type < OPTION_TYPES);
    *value = (struct value){.text = node_text(node)};
    unsigned place;
    bool read;
    if (node->kind != NODE_SCALAR) {
        if (document)
            problem_at_value(document, node, SEVERITY_ERROR, "\"%s\" must be one value, not a %s",
                             option->name, node->kind == NODE_LIST ? "list" : "mapping");
        node->broken = true;
        return false;
    }
    if (option->type == OPTION_WORD) {
        if (word_find(option->words, node->at, node->len, &place)) {
            value->number = place;
            return true;
        }
        scalar_complain_word(document, node, option);
        return false;
    }
    if (option->words && word_find(option->words, node->at, node->len, NULL))
        return true;
    if (option->type == OPTION_BOOL)
        read = read_bool(value->text, &value->number);
    else if (option->type == OPTION_HASH)
        read = read_hash(document, node, value);
    else if (option->type == OPTION_NAME)
        read = value->text.len > 0 && value->text.len <= SCALAR_NAME_MAX &&
               scalar_is_printable(value->text);
    else if (option->type == OPTION_TEXT || option->type == OPTION_STRING ||
             option->type == OPTION_PATH)
        read = true;
    else
        read = read_number(option, value->text, &value->number);
    if (!read) {
        complain_type(document, node, option);
        return false;
    }
    return check_range(document, node, option, value->number);
}

static const char *path_of(struct document *document, struct text text)
{
    struct text prefix = TEXT("STATE/");
    if (!text_starts(text, prefix))
        return arena_copy(&document->arena, text).at;
    return arena_format(&document->arena, "%s/%.*s", document->config.state,
                        TEXT_ARGS(text_from(text, prefix.len)))
        .at;
}

void scalar_keep(struct document *document, const struct option *option, const struct value *value,
                 char *base)
{
    void *to = base + option->where;
    switch (option->type) {
    case OPTION_TEXT:
    case OPTION_NAME:
        *(struct text *)to = value->text;
        break;
    case OPTION_STRING:
        *(const char **)to = value->text.at;
        break;
    case OPTION_PATH:
        *(const char **)to = path_of(document, value->text);
        break;
    case OPTION_BOOL:
        *(bool *)to = value->number != 0;
        break;
    case OPTION_COUNT:
        *(unsigned *)to = (unsigned)value->number;
        break;
    case OPTION_WORD:
        *(int *)to = (int)value->number;
        break;
    case OPTION_SIZE:
        *(size_t *)to = (size_t)value->number;
        break;
    case OPTION_SHARE:
        *(double *)to = (double)value->number / 1e9;
        break;
    case OPTION_NUMBER:
    case OPTION_RATE:
    case OPTION_DURATION:
    case OPTION_MONEY:
    case OPTION_PRICE:
    case OPTION_DATE:
        *(int64_t *)to = value->number;
        break;
    case OPTION_HASH:
        *(struct digest *)to = value->digest;
        break;
    case OPTION_SECTION:
    case OPTION_LIST:
    case OPTION_MAPS:
    case OPTION_WORDS:
    case OPTION_TEXTS:
    case OPTION_PAIRS:
    case OPTION_ANY:
    case OPTION_TYPES:
        assert(!"a value of one piece");
    }
}
