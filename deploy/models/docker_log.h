/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * docker_log - the log of a container as a Docker Engine sends it: frames of 1 or 2 (stdout,
 * stderr), three zeros, a length of four bytes, and so many bytes
 * (https://docs.docker.com/reference/api/engine/, "Attach to a container: stream format"). Pure.
 */

#include <stdbool.h>
#include <stdint.h>

#include "gateway/base/text.h"

/* Begin with zeros. */
struct docker_frames {
    unsigned char head[8];
    unsigned have;
    uint32_t left;
};
enum docker_frame {
    DOCKER_FRAME_WAIT, /* all of <bytes> is used up */
    DOCKER_FRAME_DATA, /* <piece> of <stream>; call again with the rest */
    DOCKER_FRAME_BAD,  /* these are no frames */
};
/* Take the next piece off the front of <bytes>, cut anywhere. */
enum docker_frame docker_frame_next(struct docker_frames *frames, struct text *bytes,
                                    unsigned *stream, struct text *piece);

/* Take the time (RFC 3339, any zone) and a space off the front of <line>; nanoseconds since 1970.
 * False, and nothing is changed, when there is none. */
bool docker_take_time(struct text *line, int64_t *time_ns);
