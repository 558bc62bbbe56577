/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * acceptor - lets clients in at a worker's listeners, as long as there are descriptors for them and
 * for what their calls need (base/descriptors.h). Inside gateway: for worker.c.
 *
 * When there are none, who has been idle longest gives way: pooled connections to providers first,
 * then clients that wait between two requests. Where nobody is idle the listeners rest: who comes
 * waits in the kernel for a moment, and is turned away when it lasts.
 */

#include <stdbool.h>
#include <stdint.h>

struct worker;
struct worker_listener;

/* Before anything is added: what upstreams ask for room. */
void acceptor_init(struct worker *worker);

/* Accept from <fd>; -1 = this listener is not used. Where calls come in, only from
 * acceptor_let_in() on, if the worker holds calls: who comes waits in the kernel. */
void acceptor_add(struct worker *worker, struct worker_listener *listener, int fd);
void acceptor_let_in(struct worker *worker);

/* The worker drains: let nobody in any more, but at the admin socket. */
void acceptor_stop(struct worker *worker);

/* Watch no listener at all, or the same as before again. */
void acceptor_close(struct worker *worker);
void acceptor_open(struct worker *worker);
/* Close the clients that have waited between two requests for <idle_us>. */
void acceptor_close_quiet(struct worker *worker, uint64_t idle_us);

/* Are as many clients there as may be? */
bool acceptor_is_full(const struct worker *worker);
