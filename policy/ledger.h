/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * ledger - every call is written down before its first byte goes out and again when its answer
 * ends. A door of the folder policy; the other is policy.h.
 *
 * Each worker thread has one journal: append-only segment files, pre-allocated and mapped, so that
 * a line is a copy into the page cache: it survives any crash of ours (`sync: os`), cannot fail
 * for want of disk once its call was admitted, and costs no system call. A line is a record
 * with length and CRC; its length word is written last (release), so that a torn one is never
 * read. The format is versioned and described in docs/LEDGER.md.
 *
 * Two threads of its own: the keeper, for what calls wait for (segments in time, flushes, questions
 * about owners), and the drain, at the lowest priority, which moves the lines into SQLite exactly
 * once: rows, rollups and the mark of how far a journal is drained go in one transaction.
 *
 * Files, below ledger.path:  <instance>/<worker>-<segment>.journal , with <instance> a directory
 * made at start. A directory whose process is gone (its lock is free) is drained at the next start:
 * calls that were opened and never settled are booked `lost` at their reservation.
 */

#include <stdbool.h>
#include <stdint.h>

#include "gateway/base/fault.h"
#include "gateway/base/text.h"
#include "providers/call.h"

enum ledger_outcome {
    LEDGER_COMPLETE, /* the whole answer arrived */
    LEDGER_PARTIAL,  /* cut by the client, the upstream or a time-out */
    LEDGER_REFUSED,  /* no upstream answered it with success */
    LEDGER_LOST,     /* we died meanwhile: booked at the reservation */
};
enum ledger_counted { COUNTED_NONE, COUNTED_PROVIDER, COUNTED_ESTIMATE };
enum ledger_sync { SYNC_OS, SYNC_DISK, SYNC_STORE };

/* One call. Texts are borrowed for the time of the function call; each is cut at 255 bytes. */
struct ledger_row {
    struct text id;     /* request id, unique */
    int64_t started_us; /* wall clock */
    struct text tenant, key, user, tags;
    struct text model;    /* as the client asked */
    struct text target;   /* target id that answered, empty when none */
    struct text provider; /* its provider's name */
    struct text upstream_model;
    struct text dialect;          /* of the client */
    struct text upstream_dialect; /* of the target */
    struct text operation;
    struct text finish; /* finish reason as the provider said it */
    struct text fault;  /* fault_rule name, empty when none */
    int status;         /* HTTP status the client got; 499 when it left */
    bool stream;
    enum ledger_outcome outcome;
    enum ledger_counted counted;
    struct usage usage;
    uint32_t price_version;
    int64_t cost_nanos;
    int64_t saved_nanos;
    unsigned attempts;
    int64_t ttft_us; /* first byte of the answer, from the first byte of the request; 0 = none */
    int64_t duration_us;
    int64_t overhead_us; /* our own part of the duration */
};

/* ---------------------------------------------------------------------------- writing (workers) */

struct ledger;  /* one per process */
struct journal; /* one per worker; used by that thread only */

/* Where nodes tell each other what they have booked: docs/LEDGER.md. */
struct redis_options;
struct ledger_shared {
    const struct redis_options *redis; /* borrowed for the ledger's life */
    const char *prefix;                /* of all names in Redis */
};

struct ledger_options {
    const char *directory; /* ledger.path; made when missing */
    const char *database;  /* SQLite file, made when missing, or NULL: journals only */
    enum ledger_sync sync;
    size_t segment_bytes; /* 0 = 4 MiB */
    unsigned workers;
    int64_t keep_requests_us, keep_minutes_us, keep_hours_us, keep_days_us; /* retention */
    /* NULL: there are no other nodes. Needs a database; SYNC_STORE needs it. */
    const struct ledger_shared *shared;
};

/* Open the ledger of this process and start its keeper thread. NULL and *fault on failure (no
 * directory, no space, database newer than this program). Drains what dead processes left behind
 * in the background. */
struct ledger *ledger_open(const struct ledger_options *options, struct fault *fault);
/* Drain everything, stop the keeper, tell other nodes what is left (at most 5 s), close. All
 * journals must be quiet. */
void ledger_close(struct ledger *ledger);

/* Where a database was moved that was found damaged at the opening (another began in its place), or
 * NULL. */
const char *ledger_set_aside(const struct ledger *ledger);

struct journal *ledger_journal(struct ledger *ledger, unsigned worker);

/* A place in a journal: what ledger_settle_call() must be given, and journal_is_safe() asks.
 * Belongs to one call, and to the journal it was opened in. */
struct ledger_mark {
    uint64_t sequence; /* 0 = not opened; else only for the ledger to read */
};

/* Write down that a call begins. <row> holds what is known now; usage and cost_nanos are the
 * reservation. False when there is no room on disk for this line AND its settling line AND those of
 * all open calls: then the call must be refused with FAULT_LEDGER_FULL. */
bool ledger_open_call(struct journal *journal, const struct ledger_row *row,
                      struct ledger_mark *mark);
/* Write down how it ended; <row> is complete in itself. Cannot fail. <mark> may be unopened
 * (sequence 0): a refused call that never opened; then it may be dropped for want of room, and
 * false is returned. <mark> stands for the settling line then; settling it again is a mistake. */
bool ledger_settle_call(struct journal *journal, const struct ledger_row *row,
                        struct ledger_mark *mark);

/*
 * A batch was submitted by the call of <mark>, which is open: settle that with <row>, and hold
 * <parts> until each is released - one for each model, at most BATCH_PARTS_MAX; a part's id is the
 * batch's, its usage and cost are the most that it may come to (cached and reasoning tokens: what
 * of input and output is likely), its attempts are its calls. Whoever reads the journal sees all of
 * it or nothing. False when there is no room: then nothing was written.
 */
enum { BATCH_PARTS_MAX = 4 };
bool ledger_settle_batch(struct journal *journal, const struct ledger_row *row,
                         struct ledger_mark *mark, const struct ledger_row *parts, size_t count);
/* A part of a batch has ended and used what <part> says: it is booked, unless that was done before:
 * id and upstream_model tell. To be written only when the line that holds it is in the database
 * (ledger_ask_owners() brings it there). False when there is no room. */
bool ledger_release(struct journal *journal, const struct ledger_row *part);

/* Has everything up to <mark> reached what `sync` promises? Always true with SYNC_OS. */
bool journal_is_safe(const struct journal *journal, struct ledger_mark mark);
/* SYNC_DISK: <on_safe> is called ON A THREAD OF THE LEDGER after each flush, and with SYNC_STORE
 * when lines have reached Redis, or are not waited for any longer; post to your loop. Lines are
 * flushed in groups, each about as long as the disk takes, at most 5 ms after the one before.
 */
void journal_on_safe(struct journal *journal, void (*on_safe)(void *with), void *with);

/* Figures for status and metrics; any thread. */
struct ledger_figures {
    uint64_t lines, bytes_undrained, lines_undrained, drains, drain_errors;
    bool full;
    bool damaged; /* the database is; nothing is booked until the next start moves it aside */
    /* with other nodes */
    bool is_shared, others_up; /* Redis takes what is told */
    int64_t calls_untold;      /* booked, and not told yet */
    uint64_t tellings, telling_errors;
    uint64_t lines_unstored; /* SYNC_STORE: that went on without */
};
struct ledger_figures ledger_figures(struct ledger *ledger);

/* ------------------------------------------------------------- objects made through us (keeper) */

/* Something that a tenant made through us. */
enum { OBJECT_FACTS_BYTES = 1600 };
struct object {
    struct text id, kind, tenant, target, model;
    int64_t made_us;
    struct text facts; /* at most OBJECT_FACTS_BYTES */
};

/* Note that object <id> ("file-…", "batch_…", "resp_…") belongs to <tenant> and lives on <target>:
 * goes through the journal like a call. False when there is no room. */
bool ledger_own(struct journal *journal, struct text id, struct text kind, struct text tenant,
                struct text target, struct text model);
/* The same of a file, with <facts> about it that ledger_ask_owners() gives back. */
bool ledger_own_file(struct journal *journal, struct text id, struct text tenant,
                     struct text target, struct text facts);
bool ledger_disown(struct journal *journal, struct text id);

/*
 * Ask who owns <ids>. The keeper drains first, so that what was noted before is seen, also by a
 * process that died, then calls <answer> ON ITS OWN THREAD. The question is the ledger's until
 * then; it must not be freed before. owners[i] is filled in: found or not. When <failed> is set
 * (no database, it cannot be read, too many questions wait, or what a dead process left could not
 * be drained within 2 s) "not found" is not known: answer 503, not 404.
 */
enum { OWNER_TEXT_BYTES = 256, OWNERS_MAX = 128 };
struct owner {
    char id[OWNER_TEXT_BYTES]; /* in */
    bool found;                /* out, and so are these: */
    char tenant[OWNER_TEXT_BYTES], target[OWNER_TEXT_BYTES], model[OWNER_TEXT_BYTES];
};
struct owner_question {
    struct owner_question *next;
    struct owner *owners;
    size_t count; /* at most OWNERS_MAX */
    bool failed;  /* out */
    char *facts;  /* NULL, or OBJECT_FACTS_BYTES + 1: out, what was noted with the first of them */
    void (*answer)(struct owner_question *question);
};
void ledger_ask_owners(struct ledger *ledger, struct owner_question *question);

/*
 * Objects of all nodes, by way of Redis: a worker's way to them, on its loop.
 *
 * Whoever notes in its ledger that something was made tells Redis at once; what Redis missed, or
 * has forgotten, the ledger tells it again. Whoever does not find an object in its own ledger asks
 * here. "Not found" is believed only when Redis has known all for some seconds: a server that was
 * emptied, or that nodes have just come back to, is being told again, and until then nobody knows.
 */
enum { OWNERS_YOUNG_US = 5 * 1000000 };
struct owners_remote;
struct redis;
/* <redis> is the worker's connection: borrowed, to be freed before this. Nobody else is told of its
 * changes. */
struct owners_remote *owners_remote_new(struct redis *redis, const char *prefix);
void owners_remote_free(struct owners_remote *remote);
/* Say whose <object> is; or, with <is_gone>, that it is there no more since made_us. <told> is
 * called once, within the store's time-out, whether it was heard or not. False: nobody can be told
 * now, and <told> will not be called. */
bool owners_remote_tell(struct owners_remote *remote, const struct object *object, bool is_gone,
                        void (*told)(void *with), void *with);
/* The ledger has answered <question>: ask for those that it does not know. True: <answered> is
 * called once, within the store's time-out. False: there is nothing to ask, or it cannot be asked;
 * then <failed> is set. It is set, too, when one is still not found and that is not to be believed.
 */
bool owners_remote_ask(struct owners_remote *remote, struct owner_question *question,
                       void (*answered)(struct owner_question *question));

/* -------------------------------------------------------------------------------- reading (CLI) */

enum usage_by {
    BY_TENANT,
    BY_KEY,
    BY_USER,
    BY_MODEL,
    BY_TARGET,
    BY_PROVIDER,
    BY_OPERATION,
    BY_STATUS,
    BY_OUTCOME,
    BY_MINUTE,
    BY_HOUR,
    BY_DAY,
    USAGE_BYS
};

/* The enum for a name such as "tenant", or false. */
bool usage_by_find(struct text name, enum usage_by *by);
const char *usage_by_name(enum usage_by by);

struct usage_row {
    char *by[USAGE_BYS]; /* in the order asked; owned by the report */
    int64_t requests, complete, partial, refused, lost;
    int64_t errors; /* calls whose client got a status of 400 or more, but 499: it left */
    struct usage usage;
    int64_t cost_nanos, saved_nanos, estimated; /* rows counted by estimate */
    int64_t attempts, duration_us, overhead_us, ttft_us;
    int64_t ttfts; /* calls that had a first byte: <ttft_us> is the sum over these */
};
struct usage_report {
    struct usage_row *rows; /* sorted by cost, dearest first; by time first when time is a <by> */
    size_t count;
};

/*
 * Sum up calls that started in [since_us, until_us), from the rollups and the part of the journals
 * that is not drained yet: each call exactly once, also while the keeper drains. Both ends are
 * rounded outward to whole minutes; where minutes are not kept any more to hours, then to days
 * (UTC). Without a <by> there is exactly one row. Reads files only: works beside a running server,
 * without one, and for any user who may read the files. Never writes. NULL and *fault when there is
 * nothing to read or a part of it may not be read.
 */
struct usage_report *usage_read(const char *directory, const char *database, int64_t since_us,
                                int64_t until_us, const enum usage_by *by, size_t by_count,
                                struct fault *fault);
void usage_report_free(struct usage_report *report);

/* Which calls are meant. Zeroed: all of them. Everything in it is borrowed. */
enum { FILTER_NAMES = BY_OPERATION + 1 };
struct call_filter {
    struct text only[FILTER_NAMES]; /* by enum usage_by; len 0 = any */
    int status_min, status_max;     /* what the client got; max 0 = any */
    /* Calls of this tenant? NULL = of all. */
    bool (*sees)(void *with, struct text tenant);
    void *with;
};

/*
 * A connection to the database at <database> (borrowed) for several questions in a row, each of
 * which sees a moment of its own: one that is opened reads the whole schema first. Opened when it
 * is first needed; used by one thread at a time.
 */
struct ledger_reader;
struct ledger_reader *ledger_reader_new(const char *database);
void ledger_reader_free(struct ledger_reader *reader);

/*
 * The parts of batches that run, at the start of a service, before its first call: those that the
 * database holds and those in journals that are not drained yet. <see> gets each once; its texts
 * are borrowed. False and *fault when it cannot be read. A ledger that is not there has none.
 */
bool ledger_each_held(const char *directory, struct ledger_reader *reader,
                      void (*see)(void *with, const struct ledger_row *part), void *with,
                      struct fault *fault);

/*
 * Which tenant belongs to which, since when (when it was made; 0 = it is declared in the file):
 * kept when the tenant is gone, so that what it used still counts with those it belonged to, as
 * long as sums of days are kept. A pair that is noted again replaces the one before. Writes to the
 * database before it returns; any thread but the ledger's own. Failures are logged.
 */
struct kinship {
    struct text tenant, parent;
    int64_t since_us;
};
void ledger_note_lineage(struct ledger *ledger, const struct kinship *list, size_t count,
                         int64_t now_us);
/* All pairs, a tenant's from the oldest on; their texts are borrowed. Reads files only; a database
 * that is not there has none. False and *fault when it cannot be read. */
bool ledger_each_kin(struct ledger_reader *reader,
                     void (*see)(void *with, const struct kinship *kin), void *with,
                     struct fault *fault);

/* What a usage report is about; the same as usage_read() has, and a filter. */
struct usage_question {
    const char *directory, *database;
    int64_t since_us, until_us;
    const enum usage_by *by;
    size_t by_count;
    const struct call_filter *filter; /* NULL = all */
    size_t rows_max;                  /* more rows than these are FAULT_TOO_LARGE; 0 = any number */
    /* Nobody writes to these journals (a service reads its own before its first call): what is open
     * in them is lost, also where the drain has taken them already. A journal that cannot be read
     * is logged and left out; else it is a failure. */
    bool at_start;
    /* Add what other nodes have told by way of Redis: not NULL, and it is a ledger that shares.
     * Blocks a few seconds at most; FAULT_STORE_AWAY when they cannot be asked. */
    struct ledger *with_others;
    struct ledger_reader *reader; /* instead of <database>, or NULL */
};
struct usage_report *usage_ask(const struct usage_question *question, struct fault *fault);

/* ---------------------------------------------------------------------------- single calls */

/*
 * Wait until what was written before this is in the database: at most <wait_us>. False: it is not.
 * Blocks; any thread but the ledger's own.
 */
bool ledger_catch_up(struct ledger *ledger, int64_t wait_us);

/* A place between two rows: behind the <row>th that was booked of calls begun on <day> (since
 * 1970, UTC), and behind <other> of those that other nodes have handed on, in the order of that.
 * Stays right while rows are added and old days dropped. Zeros: in front of all. */
struct rows_place {
    int64_t day, row;
    int64_t other_ms, other; /* of the stream in Redis */
};

enum { ROWS_LOOK_MAX = 200000 }; /* rows that are looked at for one page */

struct rows_question {
    const char *database;
    int64_t since_us, until_us; /* begun in [since, until) */
    struct call_filter filter;
    bool oldest_first;              /* else the newest; within a day in the order of booking */
    const struct rows_place *after; /* where the page before ended; NULL = from the beginning */
    size_t max;                     /* rows on this page */
    /* Also those of other nodes, by time among ours: not NULL, and it is a ledger that shares. The
     * last 100,000 or so are there. Blocks a few seconds at most. */
    struct ledger *with_others;
    bool *others_away; /* out, with_others: they could not be asked; NULL = that is a failure */
    /* each row; its texts are borrowed for the time of the call */
    void (*see)(void *with, const struct ledger_row *row);
    void *with;
};

enum rows_result {
    ROWS_MORE, /* *next is where to go on; the page may be short, or empty */
    ROWS_END,
    ROWS_FAILED, /* *fault */
};

/* Read a page of the calls that are booked (see ledger_catch_up()). Reads files only; works beside
 * a running server and without one. A database that is not there has no rows. */
enum rows_result rows_read(const struct rows_question *question, struct rows_place *next,
                           struct fault *fault);

/* The call <id>, begun in [since, until): <see> is called at most once. ROWS_END when it was found,
 * ROWS_MORE when there is no such. */
enum rows_result rows_find(const struct rows_question *question, struct text id,
                           struct fault *fault);

/* ------------------------------------------------------------------------------ rating again */

/* Calls of one model, as it was asked for. */
struct rerated_model {
    char *model;
    int64_t calls, changed; /* rated; of these with another cost or price */
    int64_t old_nanos, new_nanos;
};
struct rerate_report {
    struct rerated_model *models; /* sorted by name */
    size_t count;
    int64_t unpriced; /* calls that no price was given for */
    int64_t kept_us;  /* the first of the calls that are kept began then, or later; 0 = none is */
};

struct rerate_question {
    const char *database;
    int64_t since_us, until_us;
    /* The price to rate a call with; NULL = leave it as it is. */
    const struct price *(*price_of)(void *with, const struct ledger_row *row);
    void *with;
    bool apply;      /* else only the report is made */
    const char *why; /* written down with each call */
};

/*
 * Rate the calls again that are booked and still kept as single calls, and that tokens were counted
 * of; calls that were lost, by the bound of what they had reserved. With <apply>, calls and sums
 * get the new cost, and table rerated keeps the old one: a thousand calls in each transaction, so
 * that each is changed once wherever it is cut off; doing it again changes nothing. May be done
 * beside a running server. Counters of limits and budgets are not touched. NULL and *fault when
 * the database failed.
 */
struct rerate_report *ledger_rerate(const struct rerate_question *question, struct fault *fault);
void rerate_report_free(struct rerate_report *report);

/* ------------------------------------------------------------------------- backup and restore */

/*
 * The files of one moment. While the database is locked against writing - some milliseconds; the
 * drain waits, calls do not - <see> is called with each journal: its name below the directory
 * ("INSTANCE/0-17.journal"), and its bytes without the zeros at the end. Then the database is
 * copied, as it was at that moment, to a new file <copy>. Put back together, each call is in them
 * once; those that ran are booked as lost when they are drained. Beside a running server or without
 * one. False and *fault on failure, or when <see> says false.
 */
struct snapshot_question {
    const char *directory, *database, *copy;
    bool (*see)(void *with, const char *name, struct text bytes);
    void *with;
};
bool ledger_snapshot(const struct snapshot_question *question, struct fault *fault);

/* Is this the name of a journal below a ledger's directory? */
bool ledger_names_journal(struct text name);
/* The bytes that its file has; 0 when <bytes> do not begin like a journal. */
uint64_t ledger_journal_bytes(struct text bytes);

/* Is <database> sound and not newer than this program? False and *fault. */
bool ledger_can_restore(const char *database, struct fault *fault);
/* It was put in place: other nodes are told all of it anew. False and *fault when it cannot be
 * written. */
bool ledger_restored(const char *database, struct fault *fault);
