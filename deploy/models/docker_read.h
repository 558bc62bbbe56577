/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * docker_read - what a Docker Engine says (Engine API 1.40 and up,
 * https://docs.docker.com/reference/api/engine/, and what podman's service makes of it). Pure; what
 * comes from the engine is data, however bad.
 */

#include "deploy/models/launcher.h"

enum { DOCKER_ID_MAX = 64, DOCKER_OWNER_MAX = 127 };

struct docker_container {
    char id[DOCKER_ID_MAX + 1];
    char owner[DOCKER_OWNER_MAX + 1];
    struct launch_name name; /* of its labels */
    unsigned port;           /* of its labels; 0 = none */
    bool runs, ended, oom;
    int exit_code;
    char error[LAUNCH_WORDS_MAX];
    struct launch_address address; /* of inspect; port 0 = it cannot be reached */
};
/* What inspect says. <host>: of the engine, where ports are published. <is_here>: a container's own
 * address can be reached too. False: it is no such document. */
bool docker_read_container(struct text body, const char *host, bool is_here,
                           struct docker_container *into);
/* Each container of a list; false: it is no list. */
bool docker_read_list(struct text body,
                      void (*on_each)(void *with, const struct docker_container *each), void *with);
/* The Id of what was created; false when there is none. */
bool docker_read_id(struct text body, char id[DOCKER_ID_MAX + 1]);
/* The message of an error, without control bytes. */
void docker_read_error(struct text body, unsigned status, char words[LAUNCH_WORDS_MAX]);
/* The id of who has a name, as the error of creating another of that name says; false, and "": it
 * does not say. */
bool docker_read_holder(struct text body, char id[DOCKER_ID_MAX + 1]);
/* Bytes used, without what is cached of files; 0 = it does not say. */
int64_t docker_read_memory(struct text body);

struct docker_event {
    char id[DOCKER_ID_MAX + 1];
    char action[32];
    int64_t time_ns;
};
/* False: it is no event of a container. */
bool docker_read_event(struct text line, struct docker_event *into);

/* How a pull goes, from its lines. */
enum { DOCKER_LAYERS_MAX = 128, DOCKER_LAYER_ID = 16 };
struct docker_pull {
    size_t count;
    int permille; /* never goes back; -1 = not known yet (also at the beginning: set it) */
    bool failed;
    char error[LAUNCH_WORDS_MAX];
    struct docker_layer {
        char id[DOCKER_LAYER_ID];
        int64_t current, total;
    } layers[DOCKER_LAYERS_MAX];
};
void docker_pull_line(struct docker_pull *pull, struct text line);
/* When these words of a failed pull say that there is no such image, or that it is not for us, so
 * that trying again cannot help: the reason's word. Else NULL. */
const char *docker_pull_verdict(const char *words);
