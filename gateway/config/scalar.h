/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* config_scalar - one value of the file, as its option wants it. */

#include "gateway/config/document.h"
#include "gateway/config/options.h"

enum { SCALAR_NAME_MAX = 128 };

struct value {
    int64_t number; /* in the unit kept; billionths for OPTION_SHARE; the place of a word */
    struct text text;
    struct digest digest;
};

/* Read <node> as <option> wants it. False and a problem of <document> when it is something else;
 * silent when <document> is NULL. */
bool scalar_read(struct document *document, struct node *node, const struct option *option,
                 struct value *value);
/* Put the value where the option is kept, below <base>. */
void scalar_keep(struct document *document, const struct option *option, const struct value *value,
                 char *base);
/* Say which words there are. */
void scalar_complain_word(struct document *document, struct node *node,
                          const struct option *option);
/* No control characters? */
bool scalar_is_printable(struct text text);
