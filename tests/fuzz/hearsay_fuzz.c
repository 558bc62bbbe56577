/* SPDX-License-Identifier: Apache-2.0 */

/* What another node tells of targets. A line that is read is written as one that is read as the
 * same; a record changes figures within their bounds, or nothing at all. */

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "routing/hearsay.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

enum { NOW = 2000000000 };

static void check_line(struct text text)
{
    struct hearsay_line line, again;
    char written[4096], twice[4096];
    if (!hearsay_line_read(text, &line))
        return;
    size_t length = hearsay_line_write(&line, written, 0, sizeof(written));
    assert(length > 0 && written[length - 1] == '\n');
    assert(hearsay_line_read((struct text){written, length - 1}, &again));
    size_t other = hearsay_line_write(&again, twice, 0, sizeof(twice));
    assert(other == length && memcmp(written, twice, length) == 0);
}

static void check_figures(struct target_figures *figures)
{
    struct predict_ask ask = {.now_us = NOW, .half_life_us = 120000000, .output_tokens = 100};
    struct predict_prior prior = {.count = 0};
    struct prediction made;
    predict_prior_add(&prior, &figures->predict, ask.traffic);
    predict_prior_fill(&prior, ask.traffic);
    predict_make(&figures->predict, &ask, &prior, &made);
    assert(made.first_us >= 0 && made.total_us >= made.first_us && made.calls >= 0);
    health_look(&figures->health, NOW);
    assert(health_again_us(&figures->health, NOW) <= NOW + UINT64_C(3601) * 1000000);
    quota_dry_until(&figures->left, 100, NOW);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    static const struct breaker_settings breaker = {
        .window_us = 30000000, .min_requests = 20, .error_ppm = 500000, .open_us = 15000000};
    if (len > HEARSAY_BYTES_MAX + 16)
        return 0;
    char *own = malloc(len ? len : 1); /* what is read behind it is seen */
    memcpy(own, bytes, len);
    struct text record = {own, len}, rest = record, line;
    while (text_next(&rest, '\n', &line))
        check_line(line);
    struct target_figures figures[2] = {{.identity = 1}, {.identity = 2}};
    struct target targets[2] = {{.figures = &figures[0], .breaker = &breaker},
                                {.figures = &figures[1]}};
    struct hearsay *hearsay = hearsay_new();
    hearsay_set_targets(hearsay, targets, 2);
    if (hearsay_read(hearsay, TEXT("b"), record, 1000, NOW)) {
        hearsay_fold(hearsay, NOW);
        check_figures(&figures[0]);
        check_figures(&figures[1]);
    }
    hearsay_free(hearsay);
    free(own);
    return 0;
}
