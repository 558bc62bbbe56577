/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/cli/level.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/base/clock.h"
#include "gateway/base/member.h"
#include "gateway/cli/ask.h"
#include "gateway/cli/table.h"

enum { CELL_BYTES = 1024 };

/* ---------------------------------------------------------------------------- options to JSON */

static bool is_none(const char *word)
{
    return strcmp(word, "none") == 0;
}

static void write_models(const char *word, struct json_write *json)
{
    struct text rest = text_of(word), model;
    json_name(json, "models");
    if (is_none(word)) {
        json_null(json);
        return;
    }
    json_open(json, '[');
    while (text_next(&rest, ',', &model))
        if (model.len > 0)
            json_text(json, model);
    json_close(json, ']');
}

/* Take "name=value" apart. */
static bool split_pair(struct text pair, struct text *name, struct text *value)
{
    size_t equals = text_find_byte(pair, '=');
    *name = text_trim(text_head(pair, equals));
    *value = text_trim(text_from(pair, name->len < pair.len ? equals + 1 : pair.len));
    return equals != SIZE_MAX && name->len > 0;
}

static void write_name(struct json_write *json, struct text name)
{
    char z[128];
    snprintf(z, sizeof z, "%.*s", TEXT_ARGS(name));
    json_name(json, z);
}

static bool write_limits(const char *word, struct json_write *json, struct fault *fault)
{
    struct text rest = text_of(word), pair, name, value;
    uint64_t number;
    json_name(json, "limits");
    if (is_none(word)) {
        json_null(json);
        return true;
    }
    json_open(json, '{');
    while (text_next(&rest, ',', &pair)) {
        bool is_pair = split_pair(pair, &name, &value);
        if (!is_pair ||
            (!text_equal(value, TEXT("none")) && !text_number(value, INT64_MAX, &number)))
            return fault_set(fault, FAULT_BAD_REQUEST,
                             "\"%.*s\" is no limit: requests_per_minute=60,tokens_per_day=1000000,"
                             "concurrent=5",
                             TEXT_ARGS(text_head(pair, 60)));
        write_name(json, name);
        if (text_equal(value, TEXT("none")))
            json_null(json);
        else
            json_int(json, (int64_t)number);
    }
    json_close(json, '}');
    return true;
}

/* "500 USD/month", "500/month", "12.50/24h". */
static bool write_budget(const char *word, struct json_write *json, struct fault *fault)
{
    struct text all = text_of(word);
    size_t slash = text_find_byte(all, '/');
    struct text amount = text_trim(text_head(all, slash));
    struct text period = text_trim(text_from(all, amount.len < all.len ? slash + 1 : all.len));
    char money[64];
    json_name(json, "budget");
    if (is_none(word)) {
        json_null(json);
        return true;
    }
    if (slash == SIZE_MAX || amount.len == 0 || period.len == 0 || amount.len > 40)
        return fault_set(
            fault, FAULT_BAD_REQUEST,
            "\"%.60s\" is no budget: \"500 USD/month\", of hour day week month total or "
            "a time such as 24h",
            word);
    bool has_unit = text_find_byte(amount, ' ') != SIZE_MAX;
    snprintf(money, sizeof money, "%.*s%s", TEXT_ARGS(amount), has_unit ? "" : " USD");
    json_open(json, '{');
    json_text_member(json, "amount", text_of(money));
    json_text_member(json, "period", period);
    json_close(json, '}');
    return true;
}

static bool write_tags(const char *word, struct json_write *json, struct fault *fault)
{
    struct text rest = text_of(word), pair, name, value;
    json_name(json, "tags");
    if (is_none(word)) {
        json_null(json);
        return true;
    }
    json_open(json, '{');
    while (text_next(&rest, ',', &pair)) {
        if (!split_pair(pair, &name, &value))
            return fault_set(fault, FAULT_BAD_REQUEST, "\"%.*s\" is no tag: team=search,env=prod",
                             TEXT_ARGS(text_head(pair, 60)));
        write_name(json, name);
        json_text(json, value);
    }
    json_close(json, '}');
    return true;
}

bool level_write(const struct cli *cli, struct json_write *json, struct fault *fault)
{
    const char *models = cli_value(cli, "models"), *limits = cli_value(cli, "limits"),
               *budget = cli_value(cli, "budget"), *tags = cli_value(cli, "tags");
    if (models != NULL)
        write_models(models, json);
    return (limits == NULL || write_limits(limits, json, fault)) &&
           (budget == NULL || write_budget(budget, json, fault)) &&
           (tags == NULL || write_tags(tags, json, fault));
}

bool level_write_expires(const char *word, struct json_write *json, struct fault *fault)
{
    struct text t = text_of(word);
    uint64_t days;
    json_name(json, "expires_at");
    if (is_none(word)) {
        json_null(json);
    } else if (t.len > 1 && t.at[t.len - 1] == 'd' &&
               text_number(text_head(t, t.len - 1), 36500, &days)) {
        char stamp[CLOCK_STAMP_BYTES];
        clock_stamp(clock_wall_us() + (int64_t)days * 86400 * 1000000, stamp);
        json_text(json, text_of(stamp));
    } else if (t.len >= 10 && t.at[4] == '-') {
        json_text(json, t);
    } else {
        return fault_set(fault, FAULT_BAD_REQUEST,
                         "--expires takes 90d, 2027-01-01, 2027-01-01T12:00:00Z or none");
    }
    return true;
}

/* ---------------------------------------------------------------------------- JSON to words */

/* A value inside another one: strings without their quotes, the rest as it stands. */
static void put_value(struct buffer *out, struct text value)
{
    char room[CELL_BYTES];
    if (member_string(value).at != NULL)
        value = cli_string(value, room, sizeof room);
    buffer_append_text(out, text_head(value, out->limit - buffer_length(out)));
}

/* No name may speak to the terminal. */
static struct text tame(char *room, size_t length)
{
    for (size_t i = 0; i < length; i++)
        if ((unsigned char)room[i] < 0x20 || room[i] == 0x7F)
            room[i] = '?';
    return (struct text){room, length};
}

struct text level_words(struct text value, char *room, size_t bytes)
{
    struct text name, item;
    struct buffer out;
    if (member_string(value).at != NULL)
        return tame(room, cli_string(value, room, bytes).len);
    if (value.at == NULL || text_equal(value, TEXT("null")))
        return TEXT("-");
    if (value.at[0] != '[' && value.at[0] != '{')
        return value;
    buffer_init(&out, bytes);
    bool is_object = value.at[0] == '{';
    while (member_next(&value, &name, &item)) {
        if (buffer_length(&out) > 0)
            buffer_append_text(&out, TEXT(", "));
        if (is_object) {
            buffer_append_text(&out, name);
            buffer_append_text(&out, TEXT("="));
        }
        put_value(&out, item);
    }
    struct text words = text_head(buffer_text(&out), bytes);
    memcpy(room, words.at, words.len);
    buffer_done(&out);
    return words.len > 0 ? tame(room, words.len) : TEXT("-");
}

/* ---------------------------------------------------------------------------- printing */

struct listing {
    enum cli_format format;
    struct cli_table table;
    const struct level_column *columns;
    size_t count, rows;
};

/* The two largest units that say something: "26 d 3 h", "59 s". */
static struct text time_words(int64_t ms, char *room, size_t bytes)
{
    static const struct {
        const char *name;
        int64_t seconds;
    } units[] = {{"d", 86400}, {"h", 3600}, {"min", 60}, {"s", 1}};
    enum { UNITS = sizeof units / sizeof *units };
    int64_t seconds = ms / 1000 + (ms % 1000 > 0); /* not sooner than it is true */
    size_t i = 0;
    while (i < UNITS - 1 && seconds < units[i].seconds)
        i++;
    int64_t rest = i < UNITS - 1 ? seconds % units[i].seconds / units[i + 1].seconds : 0;
    int len = snprintf(room, bytes, "%" PRId64 " %s", seconds / units[i].seconds, units[i].name);
    if (rest > 0)
        len +=
            snprintf(room + len, bytes - (size_t)len, " %" PRId64 " %s", rest, units[i + 1].name);
    return (struct text){room, (size_t)len};
}

/* What else a budget says - its zone, its marks - has the page of its owner. */
static void put_budget(struct buffer *out, struct text budget)
{
    char amount[48], period[32], exceeded[16];
    struct text words = cli_member_text(budget, "on_exceeded", exceeded, sizeof exceeded);
    buffer_format(out, "%s%.*s/%.*s", buffer_length(out) > 0 ? ", " : "",
                  TEXT_ARGS(cli_member_text(budget, "amount", amount, sizeof amount)),
                  TEXT_ARGS(cli_member_text(budget, "period", period, sizeof period)));
    if (!text_equal(words, TEXT("reject")))
        buffer_format(out, " (%.*s)", TEXT_ARGS(words));
}

/* Of its one budget, and of several. */
static struct text budget_words(struct text item, char *room, size_t bytes)
{
    struct text one = cli_member(item, "budget"), several = cli_member(item, "budgets"), name, each;
    struct buffer out;
    buffer_init(&out, bytes);
    if (one.at && one.at[0] == '{')
        put_budget(&out, one);
    while (several.at && member_next(&several, &name, &each))
        put_budget(&out, each);
    struct text words = text_head(buffer_text(&out), bytes);
    if (words.len > 0)
        memcpy(room, words.at, words.len);
    buffer_done(&out);
    return words.len > 0 ? tame(room, words.len) : TEXT("-");
}

static struct text shown_words(enum level_shown shown, struct text item, struct text value,
                               char *room, size_t bytes)
{
    char unit[16];
    int64_t number;
    bool is_money = text_equal(cli_member_text(item, "unit", unit, sizeof unit), TEXT("nanos"));
    if (shown == SHOWN_AS_UNIT && is_money)
        return TEXT("USD");
    if (shown == SHOWN_AS_BUDGET)
        return budget_words(item, room, bytes);
    if (shown == SHOWN_AS_TIME && member_count(value, INT64_MAX, &number))
        return time_words(number, room, bytes);
    if (shown == SHOWN_AS_AMOUNT && is_money && member_count(value, INT64_MAX, &number)) {
        int len = snprintf(room, bytes, "%" PRId64 ".%06" PRId64, number / 1000000000,
                           number / 1000 % 1000000);
        return (struct text){room, (size_t)len};
    }
    return level_words(value, room, bytes);
}

static void see_item(void *with, struct text item)
{
    struct listing *listing = with;
    char room[CELL_BYTES];
    if (listing->format == FORMAT_JSON) {
        printf("%s\n%.*s", listing->rows++ > 0 ? "," : "", TEXT_ARGS(item));
        return;
    }
    listing->rows++;
    for (size_t i = 0; i < listing->count; i++) {
        const struct level_column *column = &listing->columns[i];
        enum level_shown shown = listing->format == FORMAT_TABLE ? column->shown : SHOWN_AS_IT_IS;
        table_cell(&listing->table,
                   shown_words(shown, item, cli_member(item, column->member), room, sizeof room));
    }
}

int level_print_list(const struct cli *cli, const char *path, const struct level_column *columns,
                     size_t count, const char *none)
{
    struct listing listing = {.columns = columns, .count = count};
    if (!cli_format_find(cli_value(cli, "format"), &listing.format))
        return cli_misuse(cli, "--format is table, json or csv, not \"%s\"",
                          cli_value(cli, "format"));
    table_begin(&listing.table);
    for (size_t i = 0; i < count; i++) {
        bool has_title = listing.format == FORMAT_TABLE && columns[i].title != NULL;
        table_column(&listing.table, has_title ? columns[i].title : columns[i].name,
                     columns[i].shown == SHOWN_AS_AMOUNT);
    }
    if (listing.format == FORMAT_JSON)
        putchar('[');
    int code = cli_each(cli, path, see_item, &listing);
    if (listing.format == FORMAT_JSON)
        fputs("\n]\n", stdout);
    else if (listing.format == FORMAT_CSV && code == EXIT_GOOD)
        table_print_csv(&listing.table, stdout);
    else if (listing.rows > 0)
        table_print(&listing.table, stdout);
    else if (code == EXIT_GOOD)
        fprintf(stderr, "%s\n", none);
    table_end(&listing.table);
    return code;
}

int level_print_one(const struct cli *cli, struct text object)
{
    const char *word = cli_value(cli, "format");
    enum cli_format format;
    char room[CELL_BYTES];
    struct text name, value;
    if (!cli_format_find(word, &format) || format == FORMAT_CSV)
        return cli_misuse(cli, "--format is table or json, not \"%s\"", word);
    if (format == FORMAT_JSON)
        printf("%.*s\n", TEXT_ARGS(object));
    while (format == FORMAT_TABLE && member_next(&object, &name, &value))
        printf("%-14.*s %.*s\n", TEXT_ARGS(name), TEXT_ARGS(level_words(value, room, sizeof room)));
    return EXIT_GOOD;
}
