/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * notify - what systemd is told, and the sockets it gives.
 *
 * The protocols of sd_notify(3) and sd_listen_fds(3), which are promised to stay as they are.
 * Without systemd nothing happens.
 */

#include <stdint.h>

#include "gateway/base/text.h"

/* Send lines such as "READY=1\nSTATUS=serving"; lost when they are not taken within half a second.
 */
void notify_send(const char *lines);

/* How often "WATCHDOG=1" is expected, in microseconds; 0 = never. */
uint64_t notify_watchdog_us(void);

/* The socket that systemd opened under <name> (FileDescriptorName=), now close-on-exec and
 * non-blocking; -1 when there is none. */
int notify_socket(struct text name);
