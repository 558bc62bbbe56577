/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * channel - what the supervisor and a service say to each other: a byte (enum channel_word of
 * service.h), perhaps words for people behind it, perhaps a descriptor. One message each, over a
 * SOCK_SEQPACKET. Nothing blocks.
 */

#include <stdbool.h>
#include <sys/types.h>

#include "gateway/service.h"

enum { CHANNEL_BYTES = 512 }; /* of a message at most; longer words are cut */

/* <words> NULL: none; <passed> -1: no descriptor. False: it was not taken. */
bool channel_say(int channel, enum channel_word word, const char *words, int passed);

/* The next message, with a NUL behind it: its length; 0: the other side is gone; -1: there is none.
 * *passed: a descriptor that came with it, close-on-exec and the caller's, or -1. */
ssize_t channel_hear(int channel, char bytes[CHANNEL_BYTES], int *passed);
