/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* supervisor, from inside: what supervisor.c and supervisor_upgrade.c share. For nobody else. */

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "gateway/base/log.h"
#include "gateway/channel.h"
#include "gateway/config/config.h"
#include "gateway/sockets.h"
#include "gateway/starved.h"
#include "gateway/supervisor.h"

/* How far an upgrade has come (service_upgrade.c). */
enum upgrade_step {
    UPGRADE_NONE,
    UPGRADE_PREPARING, /* the old service comes to where it can be replaced */
    UPGRADE_WARMING,   /* the new one begins */
    UPGRADE_HANDING,   /* the old one hands over */
    UPGRADE_TAKING,    /* the new one takes over */
};

struct upgrade {
    enum upgrade_step step;
    int64_t id;         /* they are counted, over restarts */
    pid_t heir;         /* 0 = none */
    int program;        /* the new one's, as it runs, whatever stands at our path by then; or -1 */
    int channel;        /* to it */
    int link;           /* the old service's end of what the two say to each other */
    uint64_t until_us;  /* then it has taken too long */
    uint64_t began_us;  /* all of it, */
    uint64_t closed_us; /* and the time in which nobody was let in */
    int64_t began_wall_us;
    char version[64];           /* of the new one */
    char reason[CHANNEL_BYTES]; /* why the new one cannot, as it has said itself */
    bool is_closing;   /* the new one is to let clients in, and has not said that it does */
    bool wants_reload; /* HUP came meanwhile */
};

struct supervisor {
    const struct supervisor_options *options;
    struct config *config; /* the last one that a service has put in force; NULL: it could not be
                              read when this program took over from another version */
    struct config *start;  /* the first one, the same way */
    struct sockets sockets;
    char **addresses; /* of its listeners; NULL behind the last */
    struct {
        char *state, *database, *ledger_path, *admin_socket; /* the last may be NULL */
    } places;                                                /* of the first configuration */
    int lock, signals;
    int underway_fd;           /* what services say to each other of Idempotency-Keys */
    struct underway *underway; /* NULL = they do not */
    bool json;                 /* our own lines */

    pid_t child; /* 0 = none runs */
    int channel;
    uint64_t child_started_us, backoff_us, start_at_us, kill_at_us;
    struct starved signs; /* of life, of the child */
    uint64_t stopped_us;  /* since when the service is stopped by a signal; 0 = it is not */
    uint64_t extend_us;   /* when systemd may be asked again for more time to start */
    bool has_died;        /* a service before this one */
    bool was_ready, is_ready, is_draining;
    unsigned stops; /* how often we were told to end */

    struct upgrade upgrade;
    pid_t elder; /* that was replaced, and has calls that run; 0 = none */
    int elder_channel;
    uint64_t elder_until_us;

    char *program; /* to start anew, and its arguments */
    char **arguments;

    bool watches; /* kills a service that gives no sign */
    uint64_t watchdog_us, watchdog_next_us, next_us;
    bool is_over;
    int code;
};

/* supervisor.c */
void supervisor_say(const struct supervisor *s, enum log_level level, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void supervisor_earliest(uint64_t *next, uint64_t due);
const char *supervisor_death_of(int status, char words[64]);

/* supervisor_upgrade.c */
/* What this program was started as. */
void upgrade_note_program(struct supervisor *s);
void upgrade_forget_program(struct supervisor *s);
/* At a start: one that is said to be under way has ended with who made it. */
void upgrade_forget_last(const struct supervisor *s);
/* Can a service with <config> run on our sockets, in our state directory? */
bool upgrade_suits(struct supervisor *s, const struct config *config);
/* USR2 */
void upgrade_begin(struct supervisor *s);
/* The old service has said something of it, with <words> behind; false: it is about something else.
 */
bool upgrade_hear(struct supervisor *s, char word, const char *words);
/* The service is ready; it may be the new one. */
void upgrade_on_ready(struct supervisor *s);
/* Read what the new one, and one that ends, have said. */
void upgrade_read(struct supervisor *s);
/* <pid> has died; false: it is neither of these. */
bool upgrade_on_death(struct supervisor *s, pid_t pid, int status);
/* The service has died. True: the new one is about to take its place. */
bool upgrade_on_child_death(struct supervisor *s);
/* It is not to be any more, if there is one. */
void upgrade_cancel(struct supervisor *s, const char *why);
void upgrade_keep_time(struct supervisor *s, uint64_t now, uint64_t *next);
