/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Bounds and estimates, held against what providers counted for recorded calls
 * (tests/cases/recorded, counted.tsv). Writes docs/ESTIMATES.md when WRITE_ESTIMATES is set, else
 * fails when the figures in it are not these. Run from the top of the tree.
 */

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "gateway/base/member.h"
#include "gateway/base/memory.h"
#include "gateway/base/scan.h"
#include "policy/estimate.h"

/* cmocka wants the headers above. */
#include <cmocka.h>

#define CASES "tests/cases/recorded/"
#define PAGE  "docs/ESTIMATES.md"

enum {
    CALLS_MAX = 4000,
    CONTEXT_TOKENS = 128000, /* less than most models have, so that a bound has no air */
    LEARNT_CALLS = 5,        /* of a model, before its estimates are looked at */
    MODELS_MAX = 1000,
};

struct call_seen {
    char file[32], id[80], provider[32], model[96];
    int64_t input, output;
    struct estimate_facts facts;
    struct estimate before; /* as made before this call was learnt */
    unsigned learnt;        /* calls of its model before it */
};

static struct call_seen calls[CALLS_MAX];
static size_t call_count;

/* --------------------------------------------------------------------------------- reading */

static size_t put_utf8(char *to, unsigned code)
{
    if (code < 0x800) {
        to[0] = (char)(0xc0 | code >> 6);
        to[1] = (char)(0x80 | (code & 0x3f));
        return 2;
    }
    to[0] = (char)(0xe0 | code >> 12);
    to[1] = (char)(0x80 | (code >> 6 & 0x3f));
    to[2] = (char)(0x80 | (code & 0x3f));
    return 3;
}

/* As short as a client may send it: no spaces between values, no escapes that are not needed. Half
 * of a surrogate pair takes three bytes here instead of two: a byte too much for each. */
static struct text compact(struct text json, char *room)
{
    size_t len = 0;
    bool inside = false;
    for (size_t i = 0; i < json.len; i++) {
        char byte = json.at[i];
        unsigned code = 0;
        if (!inside && (byte == ' ' || byte == '\n'))
            continue;
        if (byte == '"')
            inside = !inside;
        bool escape = inside && byte == '\\';
        if (escape && json.at[i + 1] == 'u' && sscanf(json.at + i + 2, "%4x", &code) == 1 &&
            code >= 0x80) {
            len += put_utf8(room + len, code >= 0xd800 && code < 0xe000 ? 0x400 : code);
            i += 5;
            continue;
        }
        room[len++] = byte;
        if (escape)
            room[len++] = json.at[++i];
    }
    return (struct text){room, len};
}

static int64_t number_in(struct text object, const char *name)
{
    int64_t number = 0;
    return member_count(member_find(object, text_of(name)), INT64_C(1) << 40, &number) ? number : 0;
}

static void read_wishes(struct text body, struct estimate_facts *facts)
{
    static const char *const names[] = {"max_completion_tokens", "max_output_tokens", "max_tokens"};
    struct text config = member_find(body, TEXT("generationConfig"));
    for (size_t i = 0; i < 3 && !facts->max_tokens; i++)
        facts->max_tokens = number_in(body, names[i]);
    facts->choices = number_in(body, "n");
    if (config.at) {
        facts->max_tokens = number_in(config, "maxOutputTokens");
        facts->choices = number_in(config, "candidateCount");
    }
}

static void read_call(struct call_seen *call, struct text line)
{
    struct text body = member_find(member_find(line, TEXT("request")), TEXT("body"));
    assert_non_null(body.at);
    char *room = memory_new(body.len + 1);
    struct text sent = compact(body, room);
    struct scan_problem problem;
    if (!scan_check(sent, &problem))
        fail_msg("%s: %s at %zu", call->id, problem.what, problem.at);
    call->facts.body_bytes = (int64_t)sent.len;
    call->facts.context_tokens = CONTEXT_TOKENS;
    call->facts.added_tokens = estimate_added(text_of(call->provider), text_of(call->model));
    read_wishes(sent, &call->facts);
    estimate_look(sent, &call->facts);
    memory_free(room);
}

static FILE *recorded;
static char recorded_name[32];

static char *line_of(const char *file, const char *id, char **line, size_t *room)
{
    char path[96];
    if (strcmp(recorded_name, file) != 0) {
        if (recorded)
            fclose(recorded);
        snprintf(recorded_name, sizeof(recorded_name), "%s", file);
        snprintf(path, sizeof(path), CASES "%s.jsonl", file);
        recorded = fopen(path, "r");
        assert_non_null(recorded);
    }
    while (getline(line, room, recorded) > 0)
        if (strncmp(*line, "{\"id\": \"", 8) == 0 && strncmp(*line + 8, id, strlen(id)) == 0)
            return *line;
    fail_msg("%s is not in %s", id, file);
    return NULL;
}

static int read_all(void **state)
{
    (void)state;
    FILE *counted = fopen(CASES "counted.tsv", "r");
    assert_non_null(counted);
    char *line = NULL;
    size_t room = 0;
    long long input, output;
    struct call_seen call = {0};
    while (fscanf(counted, "%31[^\t]\t%79[^\t]\t%31[^\t]\t%95[^\t]\t%lld\t%lld\n", call.file,
                  call.id, call.provider, call.model, &input, &output) == 6) {
        assert_true(call_count < CALLS_MAX);
        struct call_seen *kept = &calls[call_count++];
        *kept = call;
        kept->input = input;
        kept->output = output;
        read_call(kept, text_of(line_of(kept->file, kept->id, &line, &room)));
    }
    assert_true(feof(counted));
    assert_true(call_count > 2000);
    fclose(counted);
    fclose(recorded);
    free(line);
    return 0;
}

/* ------------------------------------------------------------------------------------ bounds */

static void input_is_never_more_than_its_bound(void **state)
{
    (void)state;
    struct estimates *estimates = estimates_new();
    size_t broken = 0;
    for (size_t i = 0; i < call_count; i++) {
        struct estimate made;
        estimate_make(estimates, &calls[i].facts, &made);
        if (calls[i].input <= made.input_bound)
            continue;
        broken++;
        fprintf(stderr, "%s %s: %lld tokens, bound %lld of %lld bytes\n", calls[i].id,
                calls[i].model, (long long)calls[i].input, (long long)made.input_bound,
                (long long)calls[i].facts.body_bytes);
    }
    estimates_free(estimates);
    assert_int_equal(broken, 0);
}

static void output_is_never_more_than_its_bound(void **state)
{
    (void)state;
    struct estimates *estimates = estimates_new();
    for (size_t i = 0; i < call_count; i++) {
        struct estimate made;
        estimate_make(estimates, &calls[i].facts, &made);
        if (calls[i].facts.max_tokens && calls[i].output > made.output_bound)
            fail_msg("%s: %lld tokens, bound %lld", calls[i].id, (long long)calls[i].output,
                     (long long)made.output_bound);
    }
    estimates_free(estimates);
}

/* ---------------------------------------------------------------------------------- estimates */

/* In the order in which they were recorded, each estimated with what was learnt before it. */
static int learn_all(void **state)
{
    (void)state;
    static struct {
        char name[160];
        unsigned calls;
    } models[MODELS_MAX];
    size_t model_count = 0;
    struct estimates *estimates = estimates_new();
    for (size_t i = 0; i < call_count; i++) {
        struct call_seen *call = &calls[i];
        char name[160];
        snprintf(name, sizeof(name), "%s/%s", call->provider, call->model);
        size_t model = 0;
        while (model < model_count && strcmp(models[model].name, name) != 0)
            model++;
        assert_true(model < MODELS_MAX);
        if (model == model_count)
            memcpy(models[model_count++].name, name, sizeof(name));
        call->facts.model = text_of(models[model].name);
        call->learnt = models[model].calls++;
        estimate_make(estimates, &call->facts, &call->before);
        estimate_learn(estimates, &call->facts, call->input, call->output);
        if (getenv("SHOW_ESTIMATES"))
            printf("E\t%s\t%s\t%u\t%lld\t%lld\t%lld\t%lld\t%lld\t%d%d%d\n", call->id, name,
                   call->learnt, (long long)call->input, (long long)call->before.input_mean,
                   (long long)call->before.input_likely, (long long)call->facts.about_tokens,
                   (long long)call->facts.body_bytes, call->facts.has_tools,
                   call->facts.media_count > 0, call->facts.rounds > 0 || call->facts.refers);
    }
    estimates_free(estimates);
    return 0;
}

struct figures {
    double errors[CALLS_MAX];
    size_t count, covered;
    double tightest; /* counted / bound, at most */
};

static int by_size(const void *a, const void *b)
{
    double left = *(const double *)a, right = *(const double *)b;
    return (left > right) - (left < right);
}

static double quantile(const struct figures *figures, double share)
{
    size_t at = (size_t)((double)figures->count * share);
    return figures->count ? figures->errors[at < figures->count ? at : figures->count - 1] : 0;
}

/* Which calls: all is in the body, of at least so many tokens; file NULL = all. */
static void gather(struct figures *figures, const char *file, int64_t least)
{
    *figures = (struct figures){.tightest = 0};
    for (size_t i = 0; i < call_count; i++) {
        const struct call_seen *call = &calls[i];
        const struct estimate_facts *facts = &call->facts;
        bool inside = !facts->rounds && !facts->refers && !facts->media_count;
        if (!inside || (file && strcmp(file, call->file) != 0) || call->input < least)
            continue;
        double ratio = (double)call->input / (double)call->before.input_bound;
        figures->tightest = ratio > figures->tightest ? ratio : figures->tightest;
        if (call->learnt < LEARNT_CALLS)
            continue;
        double error = (double)(call->before.input_mean - call->input) / (double)call->input;
        figures->errors[figures->count++] = fabs(error);
        figures->covered += call->before.input_likely >= call->input;
    }
    qsort(figures->errors, figures->count, sizeof(double), by_size);
}

static void estimates_are_as_good_as_is_published(void **state)
{
    (void)state;
    static struct figures figures;
    gather(&figures, NULL, 0);
    printf("n %zu median %.3f p90 %.3f p95 %.3f covered %.3f tightest %.3f\n", figures.count,
           quantile(&figures, .5), quantile(&figures, .9), quantile(&figures, .95),
           (double)figures.covered / (double)figures.count, figures.tightest);
    gather(&figures, NULL, 200);
    printf("n %zu median %.3f p90 %.3f p95 %.3f covered %.3f tightest %.3f\n", figures.count,
           quantile(&figures, .5), quantile(&figures, .9), quantile(&figures, .95),
           (double)figures.covered / (double)figures.count, figures.tightest);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(input_is_never_more_than_its_bound),
        cmocka_unit_test(output_is_never_more_than_its_bound),
        cmocka_unit_test_setup(estimates_are_as_good_as_is_published, learn_all),
    };
    return cmocka_run_group_tests(tests, read_all, NULL);
}
