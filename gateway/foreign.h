/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * foreign - what a conversation brings along that another provider has sealed: reasoning and
 * signatures of a target that was asked before, which its client got from us, marked ("sluice:"),
 * and brings back. A target of the client's own dialect gets the body as it came, and would refuse
 * what it has not sealed itself, and reasoning under an id that it has not given. Inside gateway.
 */

#include "gateway/exchange.h"

/* The body of a call that does not cross without such items: of the same length, spaces in their
 * place, so that all else stands where it stood. In the arena; the body itself when there are none.
 */
struct text foreign_without(struct exchange *x, struct text body);

/* The same in a body of Anthropic's words that was carried to another door of theirs
 * (translated_body), its messages as they came. */
void foreign_blank_carried(struct exchange *x);
