/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * oidc_page - signing in to the dashboard by an OpenID provider, as a browser meets it:
 *
 *   /ui/sign-in.json    {"oidc": null}, or whom the button shall name; for everybody
 *   /ui/oidc/begin      sends the browser to the issuer, and leaves it the ticket in a cookie
 *   /ui/oidc/callback   where the issuer sends it back to: a session, or a page that says why not
 *
 * What an issuer and a browser say stands in pages and in the log as text only, cut and escaped;
 * codes, tokens and secrets never do.
 */

#include <stdbool.h>

#include "gateway/base/text.h"

struct exchange;

/* Is <path>, one of the dashboard's, one of these? */
bool oidc_page_is_path(struct text path);

/* Answer <x>. False: exchange_run() will be called when there is more to say. */
bool oidc_page_answer(struct exchange *x);

/* Its exchange ends. */
void oidc_page_forget(struct exchange *x);
