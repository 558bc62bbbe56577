/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * launch_docker, from inside: the engine (launch_docker.c), the way of a launch from an image to a
 * container that runs (docker_place.c), its steps and its end (docker_launch.c), and what is heard
 * of one that runs (docker_watch.c).
 *
 * What is true of a container is asked of the engine (inspect) whenever something hints that it may
 * have changed: an event, the engine's return, a timer. Events decide nothing, so a lost or
 * repeated one does no harm.
 */

#include "deploy/models/docker_log.h"
#include "deploy/models/docker_read.h"
#include "deploy/models/docker_write.h"
#include "deploy/models/launcher.h"
#include "deploy/models/line_cut.h"
#include "deploy/models/remote_call.h"
#include "gateway/base/list.h"

enum {
    DOCKER_ASK_US = 20000000,  /* for an answer that takes no work */
    DOCKER_WORK_US = 60000000, /* for creating, starting, removing */
    DOCKER_EVENT_MAX = 256 * 1024,
};

enum engine_state {
    ENGINE_AWAY,
    ENGINE_GREETED, /* asked whether it is there, and what it speaks */
    ENGINE_LOOKED,  /* asked what runs */
    ENGINE_UP,
};

struct launcher {
    struct launcher_site site;
    char *owner;
    struct grave grave;
    struct remote *remote;
    struct text network; /* of its endpoint; empty = as the engine likes */
    char *network_memory;
    enum engine_state state;
    unsigned minor;            /* of the API that is spoken */
    bool without_init;         /* it has no init for containers */
    bool told, told_reachable; /* on_looked() */
    unsigned failures;         /* in a row, of reaching it */
    struct timer timer;        /* when away: the next try; else the next look */
    unsigned beats;
    struct remote_call *call, *events;
    struct line_cut event_lines;
    int64_t events_since_ns;
    struct link launches, removals;
};

enum docker_step {
    STEP_WAIT,  /* for the engine */
    STEP_IMAGE, /* is the image there? */
    STEP_PULL,
    STEP_CREATE,
    STEP_TAKE,  /* the name is taken: by an earlier try of ours? */
    STEP_CLEAR, /* remove what has that name and is left from an earlier life */
    STEP_START,
    STEP_RUN,
    STEP_FOUND, /* runs, and nobody has said yet what for */
    STEP_STOP,
    STEP_UNDO, /* remove what may have been created */
    STEP_TAIL, /* it has ended; its last lines are read */
    STEP_ENDED,
    STEPS
};

struct launch {
    struct launcher *launcher;
    struct grave grave;
    struct link link;
    struct launch_name name;
    char container[DOCKER_NAME_MAX];
    char id[DOCKER_ID_MAX + 1]; /* "" = not created, as far as we know */
    /* Of the name, when that was taken; "" = the engine did not say. */
    char holder[DOCKER_ID_MAX + 1];
    struct deployment_spec *spec; /* NULL = of a found one */
    void *owner;
    enum docker_step step;
    unsigned port;    /* that it listens at */
    unsigned retries; /* of this step */
    bool pulled, vanished, cleared, may_exist, lost, oom_seen, is_buried;
    bool wants_stop, stop_asked;
    uint64_t stop_us; /* when it is killed; of STEP_TAIL: when it is over */
    const char *doom; /* why we stop it, where that is the reason; or NULL */
    char doom_words[LAUNCH_WORDS_MAX];
    char no_program[LAUNCH_WORDS_MAX]; /* what the container's init has to say of that */
    struct timer timer;                /* go on with the step */
    struct remote_call *call;          /* of the step */
    struct remote_call *kill, *look, *stats;
    bool look_again;
    struct launch_report last; /* as told, or about to be */
    struct docker_pull *pull;  /* while it pulls */
    struct line_cut pull_lines;
    uint64_t pull_told_us;
    /* its log */
    struct remote_call *log;
    struct timer log_timer; /* again */
    struct docker_frames frames;
    struct line_cut out, err;
    int64_t log_ns; /* the time of the last line told */
    bool log_again; /* what comes may have been told already */
    bool log_over;  /* there is none to be had */
};

struct removal { /* of a container that nobody wants any more */
    struct link link;
    struct launcher *launcher;
    struct remote_call *call;
    struct timer timer;
    char id[DOCKER_ID_MAX + 1];
    unsigned retries;
};

/* ------------------------------------------------------------------------ launch_docker.c */

/* Ask /v1.N<path>; the texts of <question> but its path are the caller's. */
struct remote_call *engine_ask(struct launcher *launcher, const struct remote_question *question,
                               const char *path, ...) __attribute__((format(printf, 3, 4)));
/* A question found nobody: is the engine away? */
void engine_doubt(struct launcher *launcher, const char *why);
/* Remove a container, now or when the engine is back. */
void engine_remove(struct launcher *launcher, const char *id);
bool engine_removes(const struct launcher *launcher, const char *id);

/* ------------------------------------------------------------------------ docker_launch.c */

struct launch *docker_launch_new(struct launcher *launcher, const struct launch_name *name);
struct launch *docker_launch_start(struct launcher *launcher, const struct launch_name *name,
                                   struct deployment_spec *spec, void *owner);
void docker_launch_adopt(struct launch *launch, struct deployment_spec *spec, void *owner);
void docker_launch_stop(struct launch *launch, int64_t grace_us);
void docker_launch_forget(struct launch *launch);
void *docker_launch_owner(const struct launch *launch);
/* The launcher goes: so does this, and what runs goes on. */
void docker_launch_bury(struct launch *launch);
/* The engine is away: give up what is being asked. */
void docker_launch_lose(struct launch *launch);
/* Go on: the engine is there, or time has passed, or something else is wanted of it. */
void docker_launch_go(struct launch *launch);
/* Its container is not there any more. */
void docker_launch_gone(struct launch *launch);
/* What inspect said. */
void docker_launch_seen(struct launch *launch, const struct docker_container *now);
/* How much it uses now. */
void docker_launch_measured(struct launch *launch, int64_t memory_bytes);

/* What each step of it is made of. */
uint64_t docker_launch_now(const struct launch *launch);
void docker_launch_tell(struct launch *launch, enum launch_stage stage, const char *reason,
                        const char *words);
/* Go on with another step, now. */
void docker_launch_step(struct launch *launch, enum docker_step step);
/* Go on with this one, then. */
void docker_launch_later(struct launch *launch, uint64_t due_us);
/* The step's question had no answer that helps: ask again soon, not for ever. */
void docker_launch_retry(struct launch *launch, const struct remote_answer *answer);
/* It never ran, or nobody knows how it ended. */
void docker_launch_end(struct launch *launch, const char *reason, bool is_final, const char *words);

/* ------------------------------------------------------------------------ docker_place.c */

/* The steps of these names. */
void docker_place_image(struct launch *launch);
void docker_place_pull(struct launch *launch);
void docker_place_create(struct launch *launch);
void docker_place_take(struct launch *launch);
void docker_place_clear(struct launch *launch);
void docker_place_start(struct launch *launch);
/* Forget the pull that was under way. */
void docker_place_drop(struct launch *launch);
/* Inspect what has its name. */
struct remote_call *docker_place_ask(struct launch *launch,
                                     void (*on_done)(void *, const struct remote_answer *));
/* Remove its container: by its id only, a name may be another's. */
struct remote_call *docker_place_remove(struct launch *launch,
                                        void (*on_done)(void *, const struct remote_answer *));
/* Was it made for this launch, as its labels say? */
bool docker_place_is_same(const struct launch *launch, const struct docker_container *other);
/* Does another launch have it? */
bool docker_place_is_held(const struct launch *launch, const char *id);

/* ------------------------------------------------------------------------ docker_watch.c */

void docker_watch_init(struct launch *launch);
/* Inspect it, now and, when that is under way, once more. */
void docker_watch_look(struct launch *launch);
/* Read its log from where it was left, and go on for as long as it runs. */
void docker_watch_log(struct launch *launch);
/* Ask how it is, and how much memory it uses; now and then. */
void docker_watch_measure(struct launch *launch);
/* Ask nothing any more. */
void docker_watch_drop(struct launch *launch);
void docker_watch_done(struct launch *launch);
