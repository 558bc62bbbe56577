/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * exchange - the life of one request, from its head to its line in the ledger.
 *
 * Owns      its arena and everything in it, its body, its upstream call, a reference to its
 * snapshot. Borrows   its client (NULL once that has gone) and its worker. Ends      by burying
 * itself when it reaches DONE; nobody else frees an exchange.
 *
 * Whoever learns something writes it into the facts and calls exchange_run(); steps decide from
 * facts, not from who woke them.
 */

#include <stdbool.h>
#include <stdint.h>

#include "gateway/base/buffer.h"
#include "gateway/base/fault.h"
#include "gateway/base/loop.h"
#include "gateway/base/memory.h"
#include "gateway/endpoint.h"
#include "gateway/ruling.h"
#include "gateway/sign_in.h"
#include "gateway/waking.h"
#include "gateway/wire/upstream.h"
#include "policy/estimate.h"
#include "policy/ledger.h"
#include "policy/limits.h"
#include "policy/policy.h"
#include "providers/provider.h"
#include "providers/translate.h"
#include "routing/route.h"

struct client;
struct guard_question;
struct guard_stream;
struct snapshot;
struct upload;
struct replay;
struct semantics;
struct websocket;
struct signature;
struct worker;
struct objects;
struct telling;
struct batch;
struct slow_page;
struct oidc_page;
struct admin_caller;
struct aside;
struct follow;
struct job_run;
struct job_page;
struct job_upload;

/* In the order a lucky request visits them. What each may lead to is in exchange.c. */
enum exchange_state {
    EXCHANGE_READ,    /* the body comes in */
    EXCHANGE_ADMIT,   /* what does it ask for, and may it? */
    EXCHANGE_RECALL,  /* was it answered before, or is it just now? */
    EXCHANGE_RESERVE, /* hold what it may use */
    EXCHANGE_LIKEN,   /* was one answered that means nearly the same? */
    EXCHANGE_ROUTE,   /* choose the next target to try */
    EXCHANGE_WAKE,    /* wait for a place on a replica of the deployment */
    EXCHANGE_SEND,    /* write it down, connect, send */
    EXCHANGE_RELAY,   /* pass the answer on as it arrives */
    EXCHANGE_REPLAY,  /* the same for an answer that was, or is, another's */
    EXCHANGE_REFUSE,  /* tell the client why not */
    EXCHANGE_SETTLE,  /* book it; then the end of the answer may leave */
    EXCHANGE_DONE,
    EXCHANGE_STATES
};

enum upstream_fact {
    UPSTREAM_IDLE,      /* nothing has been asked of the present target */
    UPSTREAM_ASKED,     /* waiting for a connection or an answer */
    UPSTREAM_ANSWERING, /* its head has come, and its answer goes to the client */
    UPSTREAM_ANSWERED,  /* its answer is whole */
    UPSTREAM_FAILED,    /* why is in the exchange's fault */
};

/* What the outside world has told this exchange so far. */
struct exchange_facts {
    bool request_whole; /* all of the body is here, or enough to begin (an upload) */
    bool request_bad;   /* the fault says why */
    bool client_gone;
    bool owner_asked, owner_known; /* who owns the object that is asked for */
    bool guard_looked;             /* the guardrails have seen the request */
    bool guard_waits;              /* for a webhook */
    bool recall_known;             /* whether the answer is there already */
    bool reserve_asked, reserve_known;
    bool page_ready; /* an answer of ours is written */
    bool last_held;  /* the event that ends the answer has come, and is held */
    enum upstream_fact upstream;
};

/* What comes after a try that failed (tries.h). */
enum again {
    AGAIN_NO,    /* not decided: its fault stands */
    AGAIN_OTHER, /* another target */
    AGAIN_SAME,  /* the same one, after a while: there is no other */
};

/* How the answer goes to the client. */
enum relay_mode {
    RELAY_WHOLE,  /* gathered, checked, sent as one (a JSON answer that fits) */
    RELAY_PIECES, /* sent as it comes, framed anew */
    RELAY_EVENTS, /* the same, cut at the ends of events, which are watched */
    RELAY_TUNNEL, /* a WebSocket */
};

/* Are the events of a stream of the form that the dialect describes? */
enum event_form { FORM_UNKNOWN, FORM_OURS, FORM_FOREIGN };

/* An answer that may be continued elsewhere (resume.h). */
enum resume_state { RESUME_UNKNOWN, RESUME_NOT, RESUME_WATCHES };
struct resume {
    enum resume_state state;
    bool goes_on;           /* the present try continues what another one has begun */
    struct resumable *more; /* in the arena; NULL = it was never watched */
};

/* max_tokens, max_completion_tokens, max_output_tokens: the same, by age and API. */
enum { MAX_TOKENS_NAMES = 3, CROSSINGS_MAX = 8 };

/* What is needed while a target may still be asked only. It is given up when the answer is on its
 * way to the client and no other target can take its place: an open stream does not hold it. */
struct seeking {
    struct exchange *exchange;
    struct arena arena;                 /* of what goes with it */
    const struct scan_outline *outline; /* of the body as it was last scanned, or NULL */
    bool names_files;                   /* it may (references.h) */
    bool names_models;                  /* other models, in OpenRouter's words */
    bool may_search;                    /* it has tools, or other words for a search */
    /* where they stand in the body */
    struct scan_value model, stream_options, include_usage, max_tokens[MAX_TOKENS_NAMES];
    struct text tools, texts;        /* arrays: of a conversation; what is embedded or ranked */
    struct scan_value length_holder; /* the object with max_tokens in it, of dialects with one */
    struct text content_type;        /* of the body */
    struct text service_given;       /* in a header: the tier of service that is wanted */
    struct text user_given;          /* in a header: the end user where the body names none */
    struct text forward;             /* header lines that go up as they are */
    struct text websocket_key, websocket_protocol;
    struct text own_origin;  /* "https://HOST", as the client has us; of deploy and admin calls,
                                and of sign-ins */
    struct text page_header; /* If-Match of the admin API, Accept-Encoding of the dashboard,
                                the cookie of a sign-in there */
    /* for the ruling (ruling.h) */
    const struct text *rule_headers; /* in the order of the rules' list; NULL = they look at none */
    struct text policy_name;         /* x-sluice-policy, where it may be set */
    struct text wished_cost;         /* x-sluice-max-cost, the same */
    /* where it crosses (crossing.h) */
    const struct chat *chat;        /* the call as it was read, once one has crossed */
    const struct fault *unreadable; /* or why it cannot be read, for all targets */
    const struct fault
        *uncrossed; /* why the first one could not be asked that it was written for */
    const struct target *crossed[CROSSINGS_MAX]; /* those it was written for */
    size_t crossed_count;
    struct translated_call translated; /* for the present target */
    struct buffer translated_body;     /* its body; kept as long as the client's */
    struct text named_body; /* of a call that does not cross, where it has the target's name for the
                               model in it though that stands in the path; at == NULL: as it came */
    uint64_t prefix[PREFIX_LEVELS]; /* hashes of the beginnings of the prompt: route.h */
    bool prefix_known;
    bool early_told;                  /* others that listen have got what is early */
    struct buffer early;              /* a stream's beginning that says nothing yet */
    struct sign_in_wait sign_in_wait; /* for the credential of the target's provider */
    uint64_t sign_in_by_us;           /* at the longest; 0 = not yet */
    /* while it holds (hold.h) */
    struct link hold_link;
    struct text hold_counter; /* the full one it waits for */
    uint64_t held_until_us;   /* the wait may last until then; 0 = none yet */
};

/* What was booked before a call's end: tries that were given up, responses of a session. */
struct booked {
    struct used used;
    struct used last;                    /* of a session: its last response's part */
    unsigned session_tries[LIMIT_KINDS]; /* to hold more for it, in vain */
    uint64_t session_short_us;           /* since when; 0 = it is not */
    /* Of responses under way: how often in a row less was to be had ahead. */
    unsigned running_tries[LIMIT_KINDS];
    /* What they have used is not held: how often the store was asked for it, since when. [1]: with
     * what the next one reads. */
    unsigned short_tries[2][LIMIT_KINDS];
    uint64_t short_us[2];
};

/* What a target said of why it refused a call that crosses. */
struct their_error {
    struct text words; /* plain, all of them */
    const char *code;  /* of OpenAI's, by what is meant, or NULL: that of the fault */
};

struct exchange {
    struct grave grave;
    struct link link; /* in the worker's list */
    struct worker *worker;
    struct client *client;
    struct snapshot *snapshot;
    struct arena arena;
    struct seeking *seeking; /* NULL = no target will be asked any more */
    enum exchange_state state;
    bool running, run_again;
    struct exchange_facts facts;
    struct fault
        *fault; /* in the arena; NULL = there was none (exchange_why(), exchange_fault()) */

    /* the request; texts in the arena */
    struct match match;
    enum method method;
    bool http10, head_only, expects_continue;
    bool model_in_path;            /* and whether the answer is a stream */
    bool array_out;                /* a Gemini stream without alt=sse is one JSON array */
    bool invokes;                  /* of Bedrock: the body is the model's maker's */
    bool is_makers;                /* and none of Anthropic's */
    bool odd_body;                 /* of a chat: a response's, as Cursor sends it */
    const struct dialect *dialect; /* the client's */
    struct text path, query, tags, traceparent;
    struct trace *trace;     /* NULL = it is not traced (tracing.h) */
    struct capture *capture; /* of what is said in it, or NULL (capture.h) */
    uint64_t affinity;       /* of the conversation: it keeps to one account; 0 = unknown */
    int64_t timeout_us, stream_timeout_us; /* the client's wish; 0 = none */
    struct text origin;                    /* of CORS, when it is allowed */
    const struct key *key;
    struct signature *signature; /* by which it names <key>, until it is checked; in the arena */
    const char *aws_error;       /* what is wrong with it, as AWS calls that; or NULL */
    const struct admin_caller *admin; /* who asks the admin API; in the arena */
    struct call call;
    struct buffer body; /* of JSON; kept until no other target can be tried */
    int64_t body_bytes;
    struct upload *upload;         /* of a multipart body, else NULL */
    struct objects *objects;       /* question about owners, else NULL */
    struct telling *tellings;      /* what other replicas are being told; objects.c */
    struct batch *batch;           /* what it submits, else NULL; in the arena */
    struct follow *follow;         /* an endless answer of ours, else NULL */
    struct job_run *job;           /* whose call it is, else NULL (job_desk.h) */
    struct job_page *job_page;     /* an answer about jobs that takes its time, else NULL */
    struct job_upload *job_upload; /* a file on its way in, else NULL */
    struct slow_page *page;        /* an answer of ours that takes its time, else NULL */
    struct oidc_page *oidc_page;   /* a sign-in to the dashboard on its way, else NULL */
    char id[32];                   /* request id */

    /* what it may use */
    struct estimate_facts estimate_facts;
    struct estimate estimate; /* valid when estimated */
    bool estimated, free_of_charge;
    bool holds; /* waits in the worker's list of such (hold.h) */
    enum reserve_result reserved;
    struct reservation reservation;
    bool wants_speed;     /* its tier of service is wanted in Anthropic's own word for it */
    bool service_written; /* the present target was told by a translator, as service_told */
    enum service_tier service_told;
    int64_t lowered_tokens;  /* of output, for each choice: what can be paid; 0 = as asked */
    struct booked *booked;   /* before the end of the call; in the arena, NULL = nothing */
    int64_t extended_tokens; /* of output: held beyond the bound */

    /* what the guardrails say of it */
    uint64_t guard_rules,
        guard_matched; /* bits: those that concern the answer; those that matched */
    struct guard_question *guard_question; /* to webhooks, or NULL */
    struct guard_stream *guard_stream;
    struct buffer *guarded; /* what they have let pass and changed; in the arena, or NULL */
    bool guard_known, guard_blocked, guard_asked;
    bool guard_begun; /* the client has the first text that they let pass */

    /* answers of others, and others of this one */
    struct replay *replay;
    struct text idempotency_key; /* empty = none */
    struct text cache_namespace;
    int64_t cache_max_age_us;
    int64_t temperature_milli; /* -1 = not stated */
    unsigned recalls;
    unsigned cache_word; /* enum cache_word, for the client */
    int likeness;        /* of the call whose answer this is, in millionths; 0 = none */
    bool cache_no_cache, cache_no_store;
    bool background;             /* a response that is made after its call has ended */
    bool compacts;               /* /responses/compact: only who has that can be asked */
    int64_t saved_nanos;         /* what this answer cost when it was made */
    struct semantics *semantics; /* the question to the embedding model, or NULL */
    int64_t aside_nanos; /* what that question may cost at most; once it is booked, what it did */

    /* the choice */
    struct ruling ruling;
    const struct route *route;
    const struct target *target;
    struct text
        upstream_model; /* the target's own name for it; a target "*" takes what was asked */
    const struct target *pinned; /* an object lives there: no other will do */
    /* Where the client speaks another dialect than the target (crossing.h); else NULL. */
    const struct translator *client_words, *target_words;
    struct translation *translation; /* of its answer */
    struct buffer *translated_out;   /* in the arena, or NULL */
    /* Of a form that guardrails do not know: it is translated into one that they do, and what they
     * let pass into the client's (crossing_begin()). NULL, NULL where there is no need to. */
    struct translation *restating;
    struct buffer *restated_out;
    uint64_t tried;
    const struct route *detour; /* of the policy's fallback: targets come from there (detour.h) */
    uint64_t fallbacks_taken;   /* bits of its list */
    uint64_t tried_at_home;     /* of the model's own targets */
    uint64_t rested_at_home;    /* those of them that rested when the call left for a fallback */
    unsigned rests;             /* waits for a target that had asked for it */
    unsigned attempts, tries_left;
    const struct target *asked; /* in the last of the attempts; NULL = there was none */
    enum again again;           /* what was decided of the try that has failed (tries.h) */
    uint64_t again_at_us;       /* not before; 0 = at once */
    uint64_t waited_us;         /* between tries, so far */
    int64_t retry_after_us;     /* as the target said; 0 = it did not */
    unsigned attempts_before;   /* the present target was chosen */
    unsigned same_again;        /* tries on a target that had failed already */
    unsigned keys_tried;        /* others of this target's provider */
    bool hedged;    /* a second one was asked beside one that was late, or might have been */
    bool was_sent;  /* a target has all of the call, or answers it: it may count it */
    bool was_begun; /* a target's good answer has begun: what was made of it is paid for */
    struct resume resume;
    struct aside *aside;      /* a try that is late, beside the present one (aside.h) */
    int64_t hedge_held_nanos; /* held for it, until it is booked */
    struct text provider_key; /* that the present try goes up with; or empty */
    struct upstream_call upstream;
    struct waking *waking; /* a place on a replica, where a target is a deployment; in the arena */
    struct route_try route_try; /* the present one, until its end was reported */

    /* the answer */
    enum relay_mode relay;
    unsigned status;                       /* what the client got; 0 = nothing yet */
    const struct their_error *their_error; /* of a call that crosses: in the arena, or NULL */
    bool head_sent, chunked_out, close_after, ended_out, cut_out;
    bool store;          /* a response that the provider is asked to keep */
    bool unwatched;      /* the answer is no longer looked at (compressed, or an event too long) */
    unsigned bad_events; /* that were left out */
    enum event_form form;
    unsigned stale_retries;
    int64_t length_out;      /* Content-Length of the answer, or -1 */
    struct text answer_head; /* kept header lines of the upstream, in the arena */
    struct text answer_type;
    struct buffer held;    /* an event or a small answer that is not whole yet */
    struct text whole;     /* RELAY_WHOLE at its end: the body; in a scratch, or in held */
    struct buffer ready;   /* the end of an answer, kept until it is booked */
    uint64_t bytes_out;    /* of the answer's body */
    struct text object_id; /* the object this is about, or that it builds on; or empty */
    struct text *files;    /* others that its body names: references.h */
    size_t file_count;
    size_t held_limit;
    struct answer answer;
    struct answer_tap *tap; /* of RELAY_PIECES, once there is a piece; in the arena */
    struct websocket *websocket;

    /* the ledger */
    struct ledger_mark mark;
    uint64_t begun_us;    /* monotonic: first byte of the head */
    uint64_t whole_us;    /* the request was complete */
    uint64_t sent_us;     /* handed to the upstream */
    uint64_t answered_us; /* first byte of the upstream's answer */
    uint64_t first_us; /* first byte of the answer to the client; of a stream that guardrails hold
                          back: first text */
    uint64_t ours_us;  /* our own part, up to ours_until_us */
    uint64_t ours_until_us;
    int64_t started_wall_us;
    struct timer timer;
    uint64_t first_byte_by_us, idle_since_us, pinged_us;
    uint64_t total_by_us, try_by_us; /* all tries together; the present one, never later */
    uint64_t
        rest_from_us; /* the target is silent since, or since it was asked whether that is all */
    uint64_t
        wished_by_us; /* the client waits no longer for a whole answer, or for a stream to begin */
    bool opened, settled;
    bool refused;              /* the answer is an error of ours */
    bool counted;              /* among the calls in flight */
    bool streams;              /* among the open streams */
    struct text peer;          /* its address, once the client has gone or a proxy has told it */
    struct text listener_name; /* the listener's; lives as long as the worker */
};

/* Why it failed, or fails as things stand: FAULT_NONE when nothing has. */
static inline const struct fault *exchange_why(const struct exchange *x)
{
    return x->fault ? x->fault : &fault_none;
}

/* To write down why; the same as before, or nothing, until that is done. */
static inline struct fault *exchange_fault(struct exchange *x)
{
    if (!x->fault)
        x->fault = arena_new(&x->arena, sizeof(*x->fault));
    return x->fault;
}

static inline void exchange_clear_fault(struct exchange *x)
{
    if (x->fault)
        *x->fault = fault_none;
}

/* A buffer that few calls need: <*at> in the arena, empty. One that was there holds nothing. */
static inline struct buffer *exchange_buffer(struct exchange *x, struct buffer **at, size_t limit)
{
    if (!*at)
        *at = arena_new(&x->arena, sizeof(**at));
    buffer_init(*at, limit);
    return *at;
}

/* For what is not looked at any more once the answer is on its way. */
static inline struct arena *exchange_arena_for_now(struct exchange *x)
{
    return x->seeking ? &x->seeking->arena : &x->arena;
}

/* Begin an exchange for <client>, whose request's head is <head>. It may end within the call. */
struct exchange *exchange_new(struct client *client, const struct head *head);
/* Begin one only to refuse it: there is no head that could be read. <head_only>: it was a HEAD
 * request, whose answer has no body. */
void exchange_refuse_head(struct client *client, const struct fault *fault, bool head_only);

/* One that is only thought of, for explain: what its head says is kept, and nothing is done. It has
 * no client and its body is empty; its fault says what is wrong with the path. */
struct exchange *exchange_imagine(struct worker *worker, const struct head *head,
                                  const struct key *key);
void exchange_forget_imagined(struct exchange *x);

/* The next bytes of the request's body; false to stop reading until client_resume(). */
bool exchange_body(struct exchange *x, struct text piece);
/* A number for the name of a conversation: the same on each node and at all times, never 0. */
uint64_t exchange_affinity(struct text name);
/* At least <more> bytes of the body are still to come: is that too much? Refuses it then. */
void exchange_body_announced(struct exchange *x, uint64_t more);
/* May the body be read straight into x->body, which has room for all of it? */
bool exchange_takes_straight(const struct exchange *x);
/* The body is complete. */
void exchange_body_end(struct exchange *x);
/* The request broke off or took too long; the client is still there. */
void exchange_body_bad(struct exchange *x, const struct fault *fault);
/* The client has gone: stop the work, but settle what was used. */
void exchange_abandon(struct exchange *x);
/* What was queued for the client has gone out. */
void exchange_room(struct exchange *x);

/* The words that its client speaks: those of its path. Of Bedrock there are two sorts. */
static inline struct text exchange_dialect(const struct exchange *x)
{
    return x->invokes ? TEXT("bedrock-invoke") : x->match.dialect;
}

/* Take every step that can be taken now. Call it whenever a fact has changed. */
void exchange_run(struct exchange *x);
const char *exchange_state_name(enum exchange_state state);
