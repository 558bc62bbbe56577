/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * desk_share, from inside: who the others are (desk_share.c), and what is told to them and heard of
 * them (desk_tell.c, desk_hear.c).
 */

#include "deploy/models/desk_inside.h"

/* NULL: there are too many, or it is no name. */
struct desk_peer *peer_of(struct deployments *desk, struct text node);
/* What it said last; not what its figures came to. */
void peer_forget(struct desk_peer *peer);
void peer_add_share(struct desk_peer *peer, const struct peer_share *share);
