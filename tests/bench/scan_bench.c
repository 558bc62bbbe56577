/* SPDX-License-Identifier: Apache-2.0 */

/*
 * How long scan_json() and the tap take, in ns per document. Not part of the tests: it measures.
 *
 *   make build/gateway/base/scan.o … && cc -O2 -I. tests/bench/scan_bench.c <objects> -o scan_bench
 */

#include <stdio.h>
#include <stdlib.h>

#include "gateway/base/clock.h"
#include "gateway/base/scan.h"
#include "gateway/base/scan_kernel.h"

static const struct text wants[] = {
    {"model", 5},
    {"stream", 6},
    {"max_tokens", 10},
    {"max_completion_tokens", 21},
    {"n", 1},
    {"user", 4},
    {"messages", 8},
    {"tools", 5},
    {"temperature", 11},
    {"stream_options.include_usage", 28},
};
enum { WANTS = sizeof(wants) / sizeof(*wants) };

enum { ROOM = 4 << 20, ROUNDS = 7 };

static char document[ROOM];
static size_t length;

static void add(const char *text)
{
    size_t len = strlen(text);
    memcpy(document + length, text, len);
    length += len;
}

static void begin(void)
{
    length = 0;
    add("{\"model\":\"gpt-4o-mini\",\"stream\":true,\"temperature\":0.7,\"max_tokens\":512,"
        "\"stream_options\":{\"include_usage\":true},\"messages\":[{\"role\":\"system\","
        "\"content\":"
        "\"You are a helpful assistant.\"},{\"role\":\"user\",\"content\":\"");
}

/* One message made of <piece> again and again. */
static void fill(const char *piece, size_t to)
{
    begin();
    while (length + strlen(piece) + 4 < to)
        add(piece);
    add("\"}]}");
}

static void fill_turns(size_t to)
{
    begin();
    while (length + 150 < to)
        add("What is next?\\n\"},{\"role\": \"assistant\", \"content\": \"Then you go on.\"},"
            "{\"role\":\"user\",\"content\":\"");
    add("\"}]}");
}

static void fill_numbers(size_t to)
{
    length = 0;
    add("{\"model\":\"e\",\"data\":[{\"embedding\":[0.5");
    while (length + 150 < to)
        add(",-0.012345678,0.23456789e-3,0.00123");
    add("]}],\"usage\":{\"prompt_tokens\":8,\"total_tokens\":8}}");
}

static double best_of(void (*run)(void))
{
    double best = 1e12;
    for (int round = 0; round < ROUNDS; round++) {
        size_t times = 20000000 / (length + 1000) + 1;
        uint64_t start = clock_now_us();
        for (size_t i = 0; i < times; i++)
            run();
        double took = (double)(clock_now_us() - start) * 1000 / (double)times;
        best = took < best ? took : best;
    }
    return best;
}

static void run_scan(void)
{
    struct scan_value values[WANTS];
    struct scan_problem problem;
    if (!scan_json((struct text){document, length}, wants, WANTS, values, &problem)) {
        printf("not valid at %zu: %s\n", problem.at, problem.what);
        exit(1);
    }
}

static void run_tap(void)
{
    static const struct text names[] = {{"id", 2}, {"model", 5}, {"usage", 5}, {"error", 5}};
    struct tap tap;
    tap_init(&tap, names, 4);
    for (size_t at = 0; at < length; at += 65536)
        tap_feed(&tap, text_head((struct text){document + at, length - at}, 65536));
    tap_done(&tap);
}

static void report(const char *what)
{
    double scan = best_of(run_scan), tap = best_of(run_tap);
    printf("%-30s %8zu bytes  scan %9.0f ns (%.3f/byte)  tap %9.0f ns (%.3f/byte)\n", what, length,
           scan, scan / (double)length, tap, tap / (double)length);
}

int main(void)
{
    static const size_t sizes[] = {300, 1024, 10240, 102400, 1048576};
    printf("%s\n", scan_kernel_best()->name);
    for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
        fill("The quick brown fox jumps over the lazy dog. ", sizes[i]);
        report("prose");
        fill("    for (int i = 0; i < n; i++) {\\n        puts(\\\"hi\\\");\\n    }\\n", sizes[i]);
        report("code");
        fill("\xE4\xBD\xA0\xE5\xA5\xBD\xEF\xBC\x8C\xE4\xB8\x96\xE7\x95\x8C", sizes[i]);
        report("Chinese");
        fill("\\u4f60\\u597d\\uff0c", sizes[i]);
        report("escaped Chinese");
        fill_turns(sizes[i]);
        report("short turns");
        fill_numbers(sizes[i]);
        report("numbers");
    }
    return 0;
}
