/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * upload - a multipart body on its way up: streamed, never held whole in memory. Inside gateway.
 *
 * The form is watched for its model. Until that is known (it may come behind the file) the bytes
 * wait: a little in memory, more in an unlinked file below the state directory, at most
 * max_upload_bytes. Then they flow, with the model's name replaced.
 */

#include "gateway/exchange.h"

/* Begin for the request of <x>. False: the fault says why. */
bool upload_new(struct exchange *x, const struct head *head);
/* The next bytes; false to stop reading for now. */
bool upload_take(struct exchange *x, struct text piece);
/* The body is complete. */
void upload_end(struct exchange *x);
/* Write the header line that frames it. */
/* What the form will have in all, where the client said so; else 0. */
int64_t upload_length(const struct upload *u);
/* Has all of the form come? Then it says no more than is known. */
bool upload_is_whole(const struct upload *upload);
void upload_put_length(const struct upload *upload, struct buffer *out);
/* The request's head has been sent: the body may follow. */
void upload_begin(struct exchange *x);
/* There is room again: send on. */
void upload_pump(struct exchange *x);
void upload_forget(struct exchange *x);
/* What is known of the calls in a file that was uploaded for batches (batch_file.h), in the
 * exchange's arena; empty for all else. At the end of the exchange. */
struct text upload_facts(struct exchange *x);
/* The target is chosen: its name of the model takes the place of the client's. */
void upload_target(struct exchange *x);
