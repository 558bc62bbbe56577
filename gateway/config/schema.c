/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/base/log.h"
#include "gateway/base/quantity.h"
#include "gateway/config/config.h"
#include "gateway/config/options.h"

/* JSON Schema 2020-12 (https://json-schema.org/draft/2020-12), for editors. */

static void write_string(FILE *out, struct text text)
{
    char escaped[2048];
    size_t len = log_escape(escaped, sizeof(escaped), text);
    fprintf(out, "\"%.*s\"", (int)len, escaped);
}

/* Any scalar may also be a text with a variable in it. */
static const char variable[] = "{\"type\":\"string\",\"pattern\":\"\\\\$\\\\{\"}";

static void write_bounds(FILE *out, const struct option *option)
{
    if (option->min || option->max)
        fprintf(out, ",\"minimum\":%lld,\"maximum\":%lld", (long long)option->min,
                (long long)option->max);
}

static void write_words(FILE *out, const char *words)
{
    struct text rest = text_of(words), item;
    fputs("{\"enum\":[", out);
    for (bool first = true; text_next(&rest, '|', &item); first = false) {
        if (!first)
            fputc(',', out);
        write_string(out, item);
    }
    fputs("]}", out);
}

static void write_mapping(FILE *out, const struct option *options);

static void write_text_list(FILE *out)
{
    fputs("{\"type\":\"array\",\"items\":{\"type\":[\"string\",\"number\",\"boolean\"]}}", out);
}

static void write_scalar(FILE *out, const struct option *option)
{
    switch (option->type) {
    case OPTION_BOOL:
        fputs("{\"type\":\"boolean\"}", out);
        break;
    case OPTION_COUNT:
    case OPTION_NUMBER:
        fputs("{\"type\":\"integer\"", out);
        write_bounds(out, option);
        fputc('}', out);
        break;
    case OPTION_SIZE:
    case OPTION_RATE:
        fputs("{\"type\":\"integer\",\"minimum\":0},{\"type\":\"string\",\"pattern\":"
              "\"^[0-9]+(B|[kMGT]B|[KMGT]iB)?$\"}",
              out);
        break;
    case OPTION_DURATION:
        fputs("{\"const\":0},{\"type\":\"string\",\"pattern\":\"^[0-9]+(us|ms|s|m|h|d|w|y)$\"}",
              out);
        break;
    case OPTION_SHARE:
        fputs("{\"type\":\"number\",\"minimum\":0,\"maximum\":1}", out);
        break;
    case OPTION_PRICE:
        fputs("{\"type\":\"number\",\"minimum\":0}", out);
        break;
    case OPTION_MONEY:
        fputs("{\"type\":\"string\",\"pattern\":\"^[0-9]+([.][0-9]{1,9})? USD$\"}", out);
        break;
    case OPTION_HASH:
        fputs("{\"type\":\"string\",\"pattern\":\"^sha256:\"}", out);
        break;
    case OPTION_WORD:
        write_words(out, option->words);
        break;
    case OPTION_WORDS:
        fputs("{\"type\":\"array\",\"items\":", out);
        write_words(out, option->words);
        fputc('}', out);
        break;
    case OPTION_TEXTS:
        write_text_list(out);
        break;
    case OPTION_PAIRS:
        fputs("{\"type\":\"object\",\"additionalProperties\":{\"type\":[\"string\",\"number\","
              "\"boolean\"]}}",
              out);
        break;
    case OPTION_SECTION:
        write_mapping(out, option->inner);
        break;
    case OPTION_LIST:
        fputs("{\"type\":\"array\",\"items\":", out);
        write_mapping(out, option->inner);
        fputc('}', out);
        break;
    case OPTION_MAPS:
        fputs("{\"type\":\"object\",\"additionalProperties\":", out);
        write_mapping(out, option->inner);
        fputc('}', out);
        break;
    case OPTION_ANY:
        fputs("true", out);
        break;
    case OPTION_TEXT:
    case OPTION_NAME:
    case OPTION_STRING:
    case OPTION_PATH:
    case OPTION_DATE:
    case OPTION_TYPES:
        fputs("{\"type\":[\"string\",\"number\",\"boolean\"]}", out);
        break;
    }
}

static bool is_scalar(const struct option *option)
{
    return option->type != OPTION_SECTION && option->type != OPTION_LIST &&
           option->type != OPTION_MAPS && option->type != OPTION_TEXTS &&
           option->type != OPTION_PAIRS && option->type != OPTION_WORDS &&
           option->type != OPTION_ANY;
}

static void write_default(FILE *out, const struct option *option)
{
    int64_t number;
    if (!option->fallback || !is_scalar(option) || strcmp(option->fallback, "null") == 0)
        return;
    struct text text = text_of(option->fallback);
    fputs(",\"default\":", out);
    if (option->type == OPTION_BOOL ||
        ((option->type == OPTION_COUNT || option->type == OPTION_SHARE ||
          option->type == OPTION_PRICE || option->type == OPTION_NUMBER) &&
         decimal_read(text, &number)))
        fputs(option->fallback, out);
    else
        write_string(out, text);
}

static void write_option(FILE *out, const struct option *option)
{
    fputs("{\"description\":", out);
    write_string(out, text_of(option->help));
    if (option->status != IN_FORCE)
        fputs(",\"$comment\":\"not yet in force\"", out);
    write_default(out, option);
    fputs(",\"anyOf\":[", out);
    write_scalar(out, option);
    if (option->words && option->type != OPTION_WORD && option->type != OPTION_WORDS) {
        fputc(',', out);
        write_words(out, option->words);
    }
    if (is_scalar(option))
        fprintf(out, ",%s", variable);
    /* A section or list of which all is commented out reads as null. */
    if (!is_scalar(option) || (option_is_nullable(option) && !option->required))
        fputs(",{\"type\":\"null\"}", out);
    fputs("]}", out);
}

static void write_mapping(FILE *out, const struct option *options)
{
    bool first = true;
    fputs("{\"type\":\"object\",\"additionalProperties\":false,\"properties\":{", out);
    for (const struct option *option = options; option->name; option++) {
        fprintf(out, "%s\"%s\":", first ? "" : ",", option->name);
        write_option(out, option);
        bool twin =
            option->secret && (option->type == OPTION_TEXT || option->type == OPTION_STRING);
        if (twin)
            fprintf(out,
                    ",\"%s_file\":{\"description\":\"File that holds %s.\",\"type\":"
                    "[\"string\",\"null\"]}",
                    option->name, option->name);
        first = false;
    }
    fputc('}', out);
    first = true;
    for (const struct option *option = options; option->name; option++) {
        if (!option->required)
            continue;
        fprintf(out, "%s\"%s\"", first ? ",\"required\":[" : ",", option->name);
        first = false;
    }
    fputs(first ? "}" : "]}", out);
}

void config_schema(FILE *out)
{
    fputs("{\"$schema\":\"https://json-schema.org/draft/2020-12/schema\",\"title\":\"sluice.yaml\","
          "\"description\":\"Configuration of sluice\",\"allOf\":[",
          out);
    write_mapping(out, config_options);
    fputs("]}\n", out);
}
