/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * answer_tap - watches an answer that is not kept go by, cut anywhere: the members that its
 * dialect wants, and, where they stand within what may be of any length, the searches that its
 * provider has made.
 */

#include "providers/provider.h"

/* Where searches are told of: in the items of a member <list>, by the first of <item>, and by
 * <inner> of the object that is the second. */
struct search_place {
    struct text list, item[2], inner;
    /* How many searches an item is that has these. */
    int64_t (*count)(const struct scan_value *of_item, const struct scan_value *of_inner);
    bool adds; /* to those of the items before; else the most of one item are those of all */
};

struct answer_tap {
    const struct dialect *dialect;
    struct tap body;
    const struct search_place *place; /* NULL = the members tell of searches, or nobody */
    struct tap list, item, inner;
    int64_t searches;
};

/* Ready for an answer to <operation> in the words of <dialect>, which is borrowed. The tap may not
 * move until answer_tap_done(). */
void answer_tap_init(struct answer_tap *tap, const struct dialect *dialect,
                     enum operation operation);
void answer_tap_feed(struct answer_tap *tap, struct text piece);
/* Tell <answer> what has been seen. */
void answer_tap_watch(const struct answer_tap *tap, struct answer *answer);
void answer_tap_done(struct answer_tap *tap);
