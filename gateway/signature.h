/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * signature - clients of AWS that sign their calls (Signature Version 4) instead of bearing a key.
 * Inside gateway.
 *
 * The access key id names a key, as TENANT:KEY; what they sign with is the SHA-256 of its secret,
 * in hexadecimal digits, which is all that is kept of it. So where signatures are taken what a file
 * or the store keeps of a key opens as much as the key itself: they are taken where
 * `aws_signatures` says so. A signature is over the body, too, and is checked when that has come;
 * the key that it names is known before.
 */

#include "gateway/exchange.h"

struct signature;

/* Does this client sign? Only Bedrock's may. */
bool signature_is_there(const struct exchange *x, const struct head *head);
/* Find the key that it names, and keep what there is to check. False, with a fault: it is not
 * complete, not of now, or names no key. */
bool signature_find_key(struct exchange *x, const struct head *head);
/* The body has come: is the signature right? Else a fault, and nobody has asked. */
bool signature_check(struct exchange *x);
/* Nobody has proved to be the key that was named: the exchange ends as that of a stranger. Nothing
 * to do where no signature is open. */
void signature_forget(struct exchange *x);
