/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * docker_write - what is said to a Docker Engine (Engine API 1.40 and up,
 * https://docs.docker.com/reference/api/engine/; podman's service understands it too). Pure.
 */

#include "deploy/models/launcher.h"
#include "gateway/base/buffer.h"

enum {
    DOCKER_IMAGE_MAX = 512,
    DOCKER_NAME_MAX = 256,
    DOCKER_BODY_MAX = 1024 * 1024,
};

/* May <image> be a reference ("host:port/path/name:tag", "name@sha256:…")? */
bool docker_image_is_name(struct text image);
/* The query of a pull: fromImage=…&tag=…; <image> must be a name. */
void docker_write_pull(struct text image, struct buffer *out);
/* The value of X-Registry-Auth: base64url of who pulls <image>, as JSON. */
void docker_write_auth(struct text image, struct text user, struct text password,
                       struct buffer *out);

struct docker_wish {
    const struct launch_name *name;
    const struct deployment_spec *spec;
    const char *owner;
    struct text network; /* NetworkMode; empty = as the engine likes */
    const char *publish; /* the address at which the port is published; NULL = it is not */
    const char *host;    /* that it listens at; NULL = at all addresses it has */
    unsigned port;
    bool with_init;
};
/* The body of containers/create. */
void docker_write_container(const struct docker_wish *wish, struct buffer *out);
/* A container's name: sluice-OWNER-DEPLOYMENT-REPLICA. */
void docker_write_name(const char *owner, const struct launch_name *name,
                       char out[DOCKER_NAME_MAX]);
/* filters={"label":["sluice.owner=…"]}, escaped; for events of containers only. */
void docker_write_filter(const char *owner, bool for_events, struct buffer *out);
