/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * redis, from inside: what its files share. Inside wire.
 *
 *   redis_url.c       the address in words
 *   redis_reply.c     bytes to replies
 *   redis_command.c   a command, from its words to its end
 *   redis_line.c      a connection to one server, redis_connect.c how it is made
 *   redis.c           the client; one server
 *   redis_sentinel.c  who is the master?
 *   redis_cluster.c   which node has the key? redis_slots.c the words of that
 *   redis_listen.c    what is published
 *
 * A line is never opened from within its own callbacks, only from timers; so what it reads from
 * lives until the callbacks have returned.
 */

#include "gateway/base/list.h"
#include "gateway/base/memory.h"
#include "gateway/wire/redis.h"

/* Put all of <from> at the end of <to>. */
static inline void redis_list_move(struct link *to, struct link *from)
{
    while (!list_is_empty(from)) {
        struct link *first = from->next;
        list_remove(first);
        list_push_back(to, first);
    }
}

/* ---------------------------------------------------------------------------- addresses */

enum {
    REDIS_HOST_BYTES = 256,
    REDIS_LOGIN_BYTES = 512,
    REDIS_PORT = 6379,
    REDIS_SENTINEL_PORT = 26379
};

struct redis_place {
    char host[REDIS_HOST_BYTES]; /* a name, an address without brackets, or the path of a socket */
    uint16_t port;
    bool is_unix;
};

struct redis_url {
    struct redis_place place;
    bool tls;
    char user[REDIS_LOGIN_BYTES], password[REDIS_LOGIN_BYTES]; /* empty = none */
    unsigned db;
};

bool redis_url_parse(const char *from, struct redis_url *url, struct fault *fault);
/* "host", "host:port", "[IPv6]:port". */
bool redis_place_read(struct text from, uint16_t port, struct redis_place *place);
/* A host and a port that a server told; false when it cannot be one. */
bool redis_place_told(struct text host, int64_t port, struct redis_place *place);
bool redis_place_same(const struct redis_place *a, const struct redis_place *b);

/* ------------------------------------------------------------------------------ replies */

enum {
    REDIS_REPLY_BYTES_MAX = 64 * 1024 * 1024, /* all texts of a reply, and what is not read yet */
    REDIS_REPLY_ITEMS_MAX = 1024 * 1024,      /* of all its lists; hiredis nests them 7 deep */
    REDIS_REPLY_LINE_MAX = 64 * 1024,         /* a status, an error, a number, a length */
};

struct redis_reply {
    enum redis_kind kind;
    int64_t number;
    struct text text;
    size_t count;
    struct redis_reply *items;
};

struct redisReader;

struct redis_parser {
    struct redisReader *reader;
    struct arena arena;  /* of the reply read last */
    size_t bytes, items; /* in it */
    bool is_whole;
};

enum redis_parsed { REDIS_PARSED, REDIS_PARSE_MORE, REDIS_PARSE_BAD };

void redis_parser_init(struct redis_parser *parser);
void redis_parser_done(struct redis_parser *parser);
/* Add bytes; false when what waits there is too long or broken. */
bool redis_parser_feed(struct redis_parser *parser, struct text bytes);
/* The next reply, valid until the next call. */
enum redis_parsed redis_parser_next(struct redis_parser *parser, const struct redis_reply **reply);
/* After BAD. */
const char *redis_parser_why(const struct redis_parser *parser);

bool redis_is_error(const struct redis_reply *reply, const char *word);

/* ----------------------------------------------------------------------------- commands */

enum { REDIS_NO_SLOT = 0xFFFF };

struct redis_command {
    struct link link; /* in the list of a line, or of those that wait to be sent again */
    struct link all;  /* in the client's, unless it is one of our own */
    redis_answer *answer;
    void *with;
    const struct redis_script *script; /* EVALSHA: what to send on NOSCRIPT */
    uint64_t due_us, sent_us;
    uint16_t slot;
    uint8_t redirects;
    bool was_unknown; /* its script, once */
    size_t rest_at;   /* EVALSHA: where the bytes behind the digest begin */
    size_t len;
    char bytes[];
};

/* A command in RESP, in no list yet. */
struct redis_command *redis_command_new(const struct text *words, size_t count);
/* The same as an EVAL with the source; frees the EVALSHA. */
struct redis_command *redis_command_with_source(struct redis_command *command);
void redis_command_free(struct redis_command *command);
/* Tell who asked, and free it. */
void redis_command_end(struct redis_command *command, enum redis_fault fault,
                       const struct redis_reply *reply);

/* -------------------------------------------------------------------------------- lines */

enum redis_line_state {
    REDIS_LINE_CLOSED,
    REDIS_LINE_RESOLVE,
    REDIS_LINE_CONNECT,
    REDIS_LINE_SHAKE,
    REDIS_LINE_LOGIN,
    REDIS_LINE_UP,
};

struct redis_line;

/* What its owner does. */
struct redis_line_owner {
    void (*on_up)(struct redis_line *line);
    /* It is closed, and all its commands have ended. */
    void (*on_down)(struct redis_line *line, const char *why);
    /* An answer to a command of a client, which is the owner's now. */
    void (*on_answer)(struct redis_line *line, struct redis_command *command,
                      const struct redis_reply *reply);
    /* NULL, or told of what is published. */
    void (*on_push)(struct redis_line *line, const struct redis_reply *reply);
};

struct redis_line {
    struct watch watch; /* first: an event's watch is the line */
    const struct redis_line_owner *owner;
    struct redis *redis;
    /* set before it is opened */
    struct redis_place place;
    const char *user, *password; /* borrowed; empty = none */
    unsigned db;
    bool must_be_master;
    /* the connection */
    enum redis_line_state state;
    struct stream stream;
    struct dns_query query;
    struct dns_address addresses[DNS_ADDRESSES_MAX];
    size_t address_count, address_next;
    uint64_t connect_by_us;
    struct timer step;     /* of connecting; then: is it alive? */
    struct timer deadline; /* the earliest of its commands, or earlier */
    struct redis_parser parser;
    struct link waiting; /* for the login */
    struct link queued;  /* not written yet; <offset> bytes of the first are */
    struct link asked;   /* written */
    size_t offset;
    const struct redis_command *loading; /* an EVAL under way, and what it loads */
    const struct redis_script *loading_script;
    bool flushing, hangup;
    uint64_t heard_us, up_us;
    unsigned failures;
    char name[REDIS_HOST_BYTES + 8]; /* host:port, for people */
    char why[256], logged[256];
    /* what its server says of itself */
    uint64_t life;
    enum redis_mode mode;
    char version[64];
};

void redis_line_init(struct redis_line *line, struct redis *redis,
                     const struct redis_line_owner *owner);
/* Connect to its place, log in. Only from timers. */
void redis_line_open(struct redis_line *line);
/* Close it, without on_down; its commands end. */
void redis_line_close(struct redis_line *line);
/* The same with on_down. */
void redis_line_fail(struct redis_line *line, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* Free what a closed line holds; only from the graveyard. */
void redis_line_done(struct redis_line *line);
/* Send it at the end of this round, or after the login. */
void redis_line_push(struct redis_line *line, struct redis_command *command);
/* Send words of our own; the time-out is the connection's. */
void redis_line_ask(struct redis_line *line, const struct text *words, size_t count,
                    redis_answer *answer, void *with);
/* How long to wait before it is opened again. */
uint64_t redis_line_retry_us(const struct redis_line *line);

/* redis_connect.c; the rest of a line's life is redis_line.c. */
void redis_connect_begin(struct redis_line *line);
void redis_connect_event(struct redis_line *line, unsigned events);
void redis_connect_late(struct redis_line *line);
/* It is connected, with TLS where asked for: log in. */
void redis_login(struct redis_line *line);
/* The login is over. */
void redis_line_up(struct redis_line *line);

/* --------------------------------------------------------------------------- the client */

enum { REDIS_COMMANDS_MAX = 65536, REDIS_QUEUE_BYTES_MAX = 16 * 1024 * 1024 };

struct redis {
    struct grave grave;
    struct loop *loop;
    struct dns *dns;
    struct redis_url url;
    struct tls *tls;   /* NULL = none */
    char *server_name; /* NULL = the host */
    int64_t timeout_us;
    enum redis_mode mode;
    bool freed;
    struct redis_line line; /* to the server or master; of a Cluster: to who tells its nodes */
    struct timer retry;
    struct redis_sentinel *sentinel;
    struct redis_cluster *cluster;
    /* under way */
    struct link commands;
    size_t command_count, command_bytes;
    /* told to others */
    bool was_up;
    uint64_t life, was_life;
    void (*on_change)(void *with);
    void *change_with;
    struct redis_figures figures;
    /* listening */
    struct redis_line listener;
    struct timer listen_again;
    char *channel;
    void (*message)(void *with, struct text text);
    void *message_with;
};

/* Compare with what was told last, and tell. */
void redis_tell(struct redis *redis);
/* Log why a line broke, once until it is up again. */
void redis_blame(struct redis_line *line, const char *why);
/* Open the client's line anew, after a while. */
void redis_retry(struct redis *redis, uint64_t wait_us);
/* End a command that is the client's. */
void redis_end(struct redis *redis, struct redis_command *command, enum redis_fault fault,
               const struct redis_reply *reply);
/* What every mode does with an answer: NOSCRIPT; else false. */
bool redis_sent_again(struct redis_line *line, struct redis_command *command,
                      const struct redis_reply *reply);
/* Has it lost its right to answer: READONLY, MASTERDOWN, LOADING? */
bool redis_is_demoted(const struct redis_reply *reply);

/* redis_listen.c: there may be another place to listen at, or one at last. */
void redis_listen_init(struct redis *redis);
void redis_listen_move(struct redis *redis);

/* ---------------------------------------------------------------------------- Sentinels */

/* NULL and *fault when the options are no good. */
struct redis_sentinel *redis_sentinel_new(struct redis *redis, const struct redis_options *options,
                                          struct fault *fault);
void redis_sentinel_close(struct redis_sentinel *sentinel);
void redis_sentinel_free(struct redis_sentinel *sentinel); /* from the graveyard */
/* The client's line is closed: find the master and open it. */
void redis_sentinel_seek(struct redis_sentinel *sentinel);

/* ------------------------------------------------------------------------------ Cluster */

enum { REDIS_SLOTS = 16384, REDIS_NODES_MAX = 256 };

/* CRC16 of the key, or of its {tag}. */
uint16_t redis_slot(struct text key);

/* What MOVED or ASK says. */
struct redis_redirect {
    bool is_ask;
    uint16_t slot;
    struct redis_place place; /* an empty host is the host that said it */
};
bool redis_redirect_read(const struct redis_reply *reply, struct redis_redirect *redirect);

/* One row of CLUSTER SLOTS; false when it is none, or its master is not known. */
struct redis_range {
    uint16_t from, to; /* both included */
    struct redis_place place;
};
bool redis_range_read(const struct redis_reply *row, struct redis_range *range);

struct redis_cluster *redis_cluster_new(struct redis *redis);
void redis_cluster_close(struct redis_cluster *cluster);
void redis_cluster_free(struct redis_cluster *cluster); /* from the graveyard */
/* The client's line is up: ask it for the nodes. */
void redis_cluster_seed(struct redis_cluster *cluster);
/* The client's line is to be opened: to whom? False: to nobody, there are nodes. */
bool redis_cluster_place(struct redis_cluster *cluster, struct redis_place *place);
bool redis_cluster_is_up(const struct redis_cluster *cluster);
/* Where a command goes; NULL: nowhere now. */
struct redis_line *redis_cluster_line(const struct redis_cluster *cluster, uint16_t slot);
uint64_t redis_cluster_life_of(const struct redis_cluster *cluster, uint16_t slot);
/* A node to listen at; <now> is where it listens, NULL = nowhere. */
bool redis_cluster_listen_place(const struct redis_cluster *cluster, const struct redis_place *now,
                                struct redis_place *place);
