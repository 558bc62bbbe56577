/* SPDX-License-Identifier: Apache-2.0 */
#include "policy/succession.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "gateway/base/buffer.h"
#include "gateway/base/clock.h"
#include "gateway/base/log.h"
#include "gateway/base/memory.h"
#include "policy/meter_inside.h"
#include "policy/zone.h"

/*
 * What goes over: whole numbers of 64 bits and texts with their length in front. Both processes run
 * on one machine, but may be of different versions: whoever changes any of it counts WIRE_VERSION
 * up, and a successor refuses what it does not know.
 */
enum { WIRE_VERSION = 1, STATE_MAX_BYTES = 1 << 30, MESSAGE_MAX_BYTES = 192 << 10, WAIT_MS = 10 };
#define WIRE_MAGIC INT64_C(0x656369756c73) /* "sluice" */

enum word { WORD_RESERVE = 1, WORD_EXTEND, WORD_SETTLE };

/* ---------------------------------------------------------------------------------- writing */

static void put_number(struct buffer *out, int64_t number)
{
    buffer_append(out, &number, sizeof(number));
}

static void put_text(struct buffer *out, struct text t)
{
    put_number(out, (int64_t)t.len);
    buffer_append_text(out, t);
}

static void put_limit(struct buffer *out, const struct limit *limit)
{
    const int64_t numbers[] = {limit->kind,     limit->period, limit->algorithm, limit->away,
                               limit->exceeded, limit->strict, limit->amount,    limit->window_us};
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
        put_number(out, numbers[i]);
    for (size_t i = 0; i < LIMIT_WARNINGS; i++)
        put_number(out, limit->warn_at[i]);
    put_text(out, limit->zone ? zone_name(limit->zone) : TEXT(""));
    put_text(out, limit->model);
}

/* ---------------------------------------------------------------------------------- reading */

struct reader {
    struct text rest;
    bool bad;
};

static int64_t get_number(struct reader *in)
{
    int64_t number = 0;
    if (in->rest.len < sizeof(number)) {
        in->bad = true;
        return 0;
    }
    memcpy(&number, in->rest.at, sizeof(number));
    in->rest = text_from(in->rest, sizeof(number));
    return number;
}

/* Below <end>, and not below 0. */
static int64_t get_below(struct reader *in, int64_t end)
{
    int64_t number = get_number(in);
    if (number >= 0 && number < end)
        return number;
    in->bad = true;
    return 0;
}

static struct text get_text(struct reader *in)
{
    int64_t len = get_below(in, (int64_t)in->rest.len + 1);
    if ((size_t)len > in->rest.len) {
        in->bad = true;
        return TEXT("");
    }
    struct text t = text_head(in->rest, (size_t)len);
    in->rest = text_from(in->rest, (size_t)len);
    return t;
}

static void get_limit(struct reader *in, struct limit *limit)
{
    *limit = (struct limit){0};
    limit->kind = (enum limit_kind)get_below(in, LIMIT_KINDS);
    limit->period = (enum limit_period)get_below(in, PERIOD_TOTAL + 1);
    limit->algorithm = (enum limit_algorithm)get_below(in, LIMIT_TOKEN_BUCKET + 1);
    limit->away = (enum limit_away)get_below(in, AWAY_CLOSED + 1);
    limit->exceeded = (enum limit_exceeded)get_below(in, EXCEEDED_WARN + 1);
    limit->strict = get_number(in) != 0;
    limit->amount = get_number(in);
    limit->window_us = get_number(in);
    for (size_t i = 0; i < LIMIT_WARNINGS; i++)
        limit->warn_at[i] = (uint16_t)get_number(in);
    struct text zone = get_text(in);
    limit->zone = zone.len ? zone_find(zone) : NULL;
    in->bad = in->bad || (zone.len && !limit->zone);
    limit->model = get_text(in);
}

/* --------------------------------------------------------------------------------- messages */

/* What becomes of a successor. */
enum heir_state { HEIR_GIVEN, HEIR_SERVES, HEIR_RETURNS };

/* A wait of the predecessor for its successor, or of that for the predecessor: <state> NULL. */
struct patience {
    const _Atomic(enum heir_state) *state;
    uint64_t until;
};

static struct patience patience_of(const _Atomic(enum heir_state) *state)
{
    return (struct patience){state, clock_now_us() + SUCCESSION_ASK_US};
}

/* Wait a moment for <events>. False: for nothing more. <is_over>: nothing comes over <fd> any more.
 */
static bool wait_on(struct patience *patience, int fd, short events, bool is_over)
{
    enum heir_state state = patience->state ? atomic_load(patience->state) : HEIR_SERVES;
    if (state == HEIR_GIVEN) /* it may be dying, or have much to do: that is for others to say */
        *patience = patience_of(patience->state);
    else if (state == HEIR_RETURNS || is_over || clock_now_us() >= patience->until)
        return false;
    struct pollfd one = {.fd = is_over ? -1 : fd, .events = events};
    return poll(&one, 1, WAIT_MS) >= 0 || errno == EINTR;
}

static bool send_message(int fd, const struct buffer *message,
                         const _Atomic(enum heir_state) *state)
{
    struct patience patience = patience_of(state);
    struct text bytes = buffer_text(message);
    while (send(fd, bytes.at, bytes.len, MSG_NOSIGNAL | MSG_DONTWAIT) != (ssize_t)bytes.len)
        if (!wait_on(&patience, fd, POLLOUT, errno != EAGAIN && errno != EINTR))
            return false;
    return true;
}

/* One message; below 0 when none comes any more. */
static ssize_t receive_message(int fd, char *bytes, size_t size,
                               const _Atomic(enum heir_state) *state)
{
    struct patience patience = patience_of(state);
    for (;;) {
        ssize_t len = recv(fd, bytes, size, MSG_DONTWAIT);
        if (len > 0)
            return len;
        if (!wait_on(&patience, fd, POLLIN, len == 0 || (errno != EAGAIN && errno != EINTR)))
            return -1;
    }
}

/* ----------------------------------------------------------------------------- the dump */

struct dump {
    struct buffer bytes;
    int64_t count;
    const struct bequest *which;
};

static void put_state(void *with, const struct counter_state *state)
{
    struct dump *dump = with;
    struct buffer *out = &dump->bytes;
    if (dump->which->goes && !dump->which->goes(dump->which->with, state->id))
        return;
    put_text(out, state->root);
    put_text(out, state->id);
    put_limit(out, &state->limit);
    put_number(out, state->held);
    put_number(out, state->has_pace);
    put_number(out, state->pace.level);
    put_number(out, state->pace.part);
    put_number(out, state->pace.at_us);
    put_number(out, (int64_t)state->slot_count);
    for (size_t i = 0; i < state->slot_count; i++) {
        put_number(out, state->slots[i].number);
        put_number(out, state->slots[i].used);
    }
    dump->count++;
}

/* A descriptor of a file with all of it, or -1. */
static int write_dump(struct meter *meter, const struct bequest *which, struct fault *fault)
{
    struct dump dump = {.which = which};
    buffer_init(&dump.bytes, STATE_MAX_BYTES);
    put_number(&dump.bytes, WIRE_MAGIC);
    put_number(&dump.bytes, WIRE_VERSION);
    put_number(&dump.bytes, meter_clock(meter));
    meter_each_state(meter, put_state, &dump);
    put_text(&dump.bytes, TEXT("")); /* no root has this name: the end */
    put_number(&dump.bytes, dump.count);
    int file = dump.bytes.overrun ? -1 : memfd_create("limits", MFD_CLOEXEC);
    struct text left = buffer_text(&dump.bytes);
    while (file >= 0 && left.len > 0) {
        ssize_t done = write(file, left.at, left.len);
        if (done > 0) {
            left = text_from(left, (size_t)done);
        } else if (errno != EINTR) {
            close(file);
            file = -1;
        }
    }
    buffer_done(&dump.bytes);
    if (file < 0)
        fault_set(fault, FAULT_INTERNAL, "the limits cannot be written down: %m");
    return file;
}

static bool send_file(int fd, int file)
{
    char byte = WIRE_VERSION;
    struct iovec piece = {&byte, 1};
    union {
        struct cmsghdr head;
        char room[CMSG_SPACE(sizeof(int))];
    } control = {0};
    struct msghdr message = {.msg_iov = &piece,
                             .msg_iovlen = 1,
                             .msg_control = control.room,
                             .msg_controllen = sizeof(control.room)};
    struct cmsghdr *head = CMSG_FIRSTHDR(&message);
    head->cmsg_level = SOL_SOCKET;
    head->cmsg_type = SCM_RIGHTS;
    head->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(head), &file, sizeof(int));
    return sendmsg(fd, &message, MSG_NOSIGNAL) == 1;
}

static int receive_file(int fd, int64_t wait_us)
{
    char byte;
    int file = -1;
    struct pollfd some = {.fd = fd, .events = POLLIN};
    struct iovec piece = {&byte, 1};
    union {
        struct cmsghdr head;
        char room[CMSG_SPACE(sizeof(int))];
    } control = {0};
    struct msghdr message = {.msg_iov = &piece,
                             .msg_iovlen = 1,
                             .msg_control = control.room,
                             .msg_controllen = sizeof(control.room)};
    if (poll(&some, 1, (int)(wait_us / 1000)) <= 0 || recvmsg(fd, &message, MSG_CMSG_CLOEXEC) != 1)
        return -1;
    struct cmsghdr *head = CMSG_FIRSTHDR(&message);
    if (head && head->cmsg_type == SCM_RIGHTS && head->cmsg_len == CMSG_LEN(sizeof(int)))
        memcpy(&file, CMSG_DATA(head), sizeof(int));
    return file;
}

/* Slots of one counter, of which a rolling window has the most. */
enum { SLOTS_MAX = METER_SLOTS + 8 };

/* False: it was the last. */
static bool take_state(struct meter *meter, struct reader *in, int64_t *count)
{
    struct slot slots[SLOTS_MAX];
    struct counter_state state = {.root = get_text(in), .slots = slots};
    if (state.root.len == 0 || in->bad) {
        in->bad = in->bad || get_number(in) != *count;
        return false;
    }
    state.id = get_text(in);
    get_limit(in, &state.limit);
    state.held = get_number(in);
    state.has_pace = get_number(in) != 0;
    state.pace.level = get_number(in);
    state.pace.part = get_number(in);
    state.pace.at_us = get_number(in);
    state.slot_count = (size_t)get_below(in, SLOTS_MAX + 1);
    for (size_t i = 0; i < state.slot_count; i++) {
        int64_t number = get_number(in);
        slots[i] = (struct slot){.number = number, .used = get_number(in)};
    }
    in->bad = in->bad || !meter_take_state(meter, &state);
    ++*count;
    return !in->bad;
}

static bool take_dump(struct meter *meter, struct text bytes)
{
    struct reader in = {.rest = bytes};
    int64_t count = 0;
    bool known = get_number(&in) == WIRE_MAGIC && get_number(&in) == WIRE_VERSION;
    meter_take_clock(meter, get_number(&in));
    if (!known || in.bad)
        return false;
    while (take_state(meter, &in, &count))
        ;
    return !in.bad;
}

/* ------------------------------------------------------------------------- the predecessor */

struct heir {
    struct meter *meter;
    int fd;
    pthread_mutex_t lock; /* one message, and its answer, at a time */
    _Atomic(enum heir_state) state;
    atomic_bool gone;
    struct buffer out;
    int64_t questions; /* asked so far: an answer says to which one it is */
    char answer[MESSAGE_MAX_BYTES];
};

struct heir *heir_new(struct meter *meter, const struct bequest *which, int fd, struct fault *fault)
{
    int file = write_dump(meter, which, fault);
    bool sent = file >= 0 && send_file(fd, file);
    if (file >= 0 && !sent)
        fault_set(fault, FAULT_INTERNAL, "the limits cannot be sent: %m");
    if (file >= 0)
        close(file);
    if (!sent) {
        close(fd);
        return NULL;
    }
    struct heir *heir = memory_new(sizeof(*heir));
    heir->meter = meter;
    heir->fd = fd;
    pthread_mutex_init(&heir->lock, NULL);
    buffer_init(&heir->out, MESSAGE_MAX_BYTES);
    return heir;
}

void heir_free(struct heir *heir)
{
    if (!heir)
        return;
    close(heir->fd);
    pthread_mutex_destroy(&heir->lock);
    buffer_done(&heir->out);
    memory_free(heir);
}

static void put_use(struct buffer *out, const struct use *use, bool same_turn,
                    const struct used *used)
{
    put_limit(out, use->limit);
    put_text(out, use->counter);
    const int64_t numbers[] = {use->want,           use->least,      use->held,
                               use->fixed,          use->slot,       same_turn,
                               used->sent,          used->requests,  used->input_tokens,
                               used->output_tokens, used->cost_nanos};
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
        put_number(out, numbers[i]);
}

/* Those uses that are not settled. <each> NULL: nothing was used. */
static void put_message(struct heir *heir, enum word word, const struct reservation *r,
                        const struct used *each, size_t step)
{
    static const struct used none;
    struct buffer *out = &heir->out;
    bool same_turn[USES_MAX] = {0};
    int64_t count = 0;
    if (word != WORD_RESERVE)
        meter_turns(heir->meter, r, same_turn);
    for (size_t i = 0; i < r->use_count; i++)
        count += word == WORD_RESERVE || !r->uses[i].settled;
    buffer_clear(out);
    put_number(out, word);
    put_number(out, ++heir->questions);
    put_text(out, r->root);
    put_number(out, count);
    for (size_t i = 0; i < r->use_count; i++) {
        struct use use = r->uses[i];
        if (word == WORD_RESERVE)
            use.held = use.fixed = use.slot = 0;
        if (word == WORD_RESERVE || !use.settled)
            put_use(out, &use, same_turn[i], each ? &each[i * step] : &none);
    }
}

void heir_serves(struct heir *heir)
{
    atomic_store(&heir->state, HEIR_SERVES);
}

void heir_returns(struct heir *heir)
{
    atomic_store(&heir->state, HEIR_RETURNS);
}

bool heir_is_gone(const struct heir *heir)
{
    return atomic_load(&heir->gone);
}

static bool returns(const struct heir *heir)
{
    return atomic_load(&heir->state) == HEIR_RETURNS;
}

static void give_up(struct heir *heir, const char *why)
{
    if (returns(heir))
        return;
    if (!atomic_exchange(&heir->gone, true))
        log_line(LOG_ERROR, "limits",
                 "the service that has taken over %s: no call is admitted here any more", why);
    shutdown(heir->fd, SHUT_RDWR); /* it counts what is ours as used */
}

static bool tell(struct heir *heir)
{
    if (heir->gone || returns(heir))
        return false;
    if (!heir->out.overrun && send_message(heir->fd, &heir->out, &heir->state))
        return true;
    give_up(heir, "hears nothing");
    return false;
}

/* The answer to what was just put together; valid until the lock is let go of. */
static bool ask(struct heir *heir, struct reader *answer)
{
    if (!tell(heir))
        return false;
    ssize_t len = receive_message(heir->fd, heir->answer, sizeof(heir->answer), &heir->state);
    *answer = (struct reader){.rest = {heir->answer, len > 0 ? (size_t)len : 0}};
    if (len > 0 && get_number(answer) == heir->questions && !answer->bad)
        return true;
    give_up(heir, "does not answer");
    return false;
}

static enum reserve_result read_reserved(struct reader *in, struct reservation *r)
{
    enum reserve_result result = (enum reserve_result)get_below(in, RESERVE_AWAY + 1);
    r->refused = (size_t)get_below(in, USES_MAX);
    r->retry_after_us = get_number(in);
    r->warned = (uint64_t)get_number(in);
    r->degraded = (uint64_t)get_number(in);
    for (size_t i = 0; i < r->use_count; i++)
        r->uses[i].held = get_number(in);
    return in->bad ? RESERVE_AWAY : result;
}

enum reserve_result heir_reserve(struct heir *heir, struct reservation *r)
{
    struct reader answer;
    enum reserve_result result = RESERVE_AWAY;
    pthread_mutex_lock(&heir->lock);
    put_message(heir, WORD_RESERVE, r, NULL, 0);
    if (ask(heir, &answer))
        result = read_reserved(&answer, r);
    if (returns(heir))
        result = meter_take(heir->meter, r) == METER_TAKEN ? RESERVE_GRANTED : RESERVE_REFUSED;
    else if (result == RESERVE_GRANTED)
        meter_hold(heir->meter, r);
    pthread_mutex_unlock(&heir->lock);
    return result;
}

bool heir_extend(struct heir *heir, struct reservation *r, enum limit_kind kind, int64_t more)
{
    struct reader answer;
    bool held = false;
    if (!r->live || r->use_count == 0 || more <= 0)
        return true;
    pthread_mutex_lock(&heir->lock);
    put_message(heir, WORD_EXTEND, r, NULL, 0);
    put_number(&heir->out, kind);
    put_number(&heir->out, more);
    if (ask(heir, &answer))
        held = get_number(&answer) != 0 && !answer.bad;
    if (returns(heir))
        held = meter_extend(heir->meter, r, kind, more);
    else if (held)
        meter_extend_told(heir->meter, r, kind, more);
    pthread_mutex_unlock(&heir->lock);
    return held;
}

void heir_settle(struct heir *heir, struct reservation *r, const struct used *each, size_t step)
{
    if (!r->live || r->use_count == 0)
        return;
    pthread_mutex_lock(&heir->lock);
    put_message(heir, WORD_SETTLE, r, each, step);
    tell(heir);
    pthread_mutex_unlock(&heir->lock);
}

/* --------------------------------------------------------------------------- the successor */

struct forebear {
    struct meter *meter;
    int fd, stop;
    pthread_t thread;
    bool begun;
    atomic_bool gone;
    struct buffer out;
    char message[MESSAGE_MAX_BYTES];
};

/* One message, read. */
struct asked {
    struct reservation r;
    struct use uses[USES_MAX];
    struct limit limits[USES_MAX];
    struct used used[USES_MAX];
    bool same_turn[USES_MAX];
};

static struct forebear *refuse(int fd, int file)
{
    close(fd);
    if (file >= 0)
        close(file);
    return NULL;
}

struct forebear *forebear_new(struct meter *meter, int fd, int64_t wait_us, struct fault *fault)
{
    struct stat what;
    int file = receive_file(fd, wait_us);
    if (file < 0 || fstat(file, &what) != 0 || what.st_size <= 0) {
        fault_set(fault, FAULT_INTERNAL, "the limits of the old service did not come");
        return refuse(fd, file);
    }
    size_t size = (size_t)what.st_size;
    void *bytes = mmap(NULL, size, PROT_READ, MAP_PRIVATE, file, 0);
    bool good = bytes != MAP_FAILED && take_dump(meter, (struct text){bytes, size});
    if (bytes != MAP_FAILED)
        munmap(bytes, size);
    if (!good) {
        fault_set(fault, FAULT_INTERNAL,
                  "the limits of the old service are of a form that is not known here");
        return refuse(fd, file);
    }
    close(file);
    struct forebear *forebear = memory_new(sizeof(*forebear));
    forebear->meter = meter;
    forebear->fd = fd;
    forebear->stop = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    buffer_init(&forebear->out, MESSAGE_MAX_BYTES);
    return forebear;
}

static void get_use(struct reader *in, struct asked *asked, size_t i)
{
    struct use *use = &asked->uses[i];
    struct used *used = &asked->used[i];
    get_limit(in, &asked->limits[i]);
    *use = (struct use){.limit = &asked->limits[i], .counter = get_text(in)};
    use->want = get_number(in);
    use->least = get_number(in);
    use->held = get_number(in);
    use->fixed = get_number(in);
    use->slot = get_number(in);
    asked->same_turn[i] = get_number(in) != 0;
    used->sent = get_number(in) != 0;
    used->requests = get_number(in);
    used->input_tokens = get_number(in);
    used->output_tokens = get_number(in);
    used->cost_nanos = get_number(in);
}

static void reserve(struct forebear *forebear, struct asked *asked)
{
    struct reservation *r = &asked->r;
    enum meter_result result = meter_take(forebear->meter, r);
    put_number(&forebear->out, result == METER_TAKEN ? RESERVE_GRANTED : RESERVE_REFUSED);
    put_number(&forebear->out, (int64_t)r->refused);
    put_number(&forebear->out, r->retry_after_us);
    put_number(&forebear->out, (int64_t)r->warned);
    put_number(&forebear->out, (int64_t)r->degraded);
    for (size_t i = 0; i < r->use_count; i++)
        put_number(&forebear->out, result == METER_TAKEN ? r->uses[i].held : 0);
    if (result == METER_TAKEN)
        meter_detach(forebear->meter, r);
}

/* False: it is none that is known. */
static bool answer(struct forebear *forebear, size_t length, struct asked *asked)
{
    struct reader in = {.rest = {forebear->message, length}};
    struct reservation *r = &asked->r;
    int64_t word = get_number(&in), question = get_number(&in);
    *r = (struct reservation){.root = get_text(&in), .uses = asked->uses};
    r->use_count = (size_t)get_below(&in, USES_MAX + 1);
    for (size_t i = 0; i < r->use_count; i++)
        get_use(&in, asked, i);
    enum limit_kind kind = LIMIT_KINDS;
    int64_t more = 0;
    if (word == WORD_EXTEND) {
        kind = (enum limit_kind)get_below(&in, LIMIT_KINDS);
        more = get_number(&in);
    }
    if (in.bad || word < WORD_RESERVE || word > WORD_SETTLE)
        return false;
    buffer_clear(&forebear->out);
    put_number(&forebear->out, question);
    if (word == WORD_RESERVE) {
        reserve(forebear, asked);
        return send_message(forebear->fd, &forebear->out, NULL);
    }
    meter_attach(forebear->meter, r, asked->same_turn);
    if (word == WORD_SETTLE) {
        meter_settle_each(forebear->meter, r, asked->used);
        return true;
    }
    put_number(&forebear->out, meter_extend(forebear->meter, r, kind, more));
    meter_detach(forebear->meter, r);
    return send_message(forebear->fd, &forebear->out, NULL);
}

static void *forebear_main(void *with)
{
    struct forebear *forebear = with;
    struct asked *asked = memory_new(sizeof(*asked));
    pthread_setname_np(pthread_self(), "forebear");
    for (;;) {
        struct pollfd fds[2] = {{.fd = forebear->fd, .events = POLLIN},
                                {.fd = forebear->stop, .events = POLLIN}};
        if (poll(fds, 2, -1) < 0 && errno != EINTR)
            break;
        if (fds[1].revents)
            break;
        ssize_t length =
            recv(forebear->fd, forebear->message, sizeof(forebear->message), MSG_DONTWAIT);
        if (length < 0 && (errno == EAGAIN || errno == EINTR))
            continue;
        if (length <= 0)
            break;
        if (!answer(forebear, (size_t)length, asked)) {
            log_line(LOG_ERROR, "limits", "the old service says what is not understood here");
            break;
        }
    }
    shutdown(forebear->fd, SHUT_RDWR);
    meter_bury(forebear->meter);
    atomic_store(&forebear->gone, true);
    memory_free(asked);
    return NULL;
}

bool forebear_begin(struct forebear *forebear)
{
    forebear->begun = pthread_create(&forebear->thread, NULL, forebear_main, forebear) == 0;
    return forebear->begun;
}

bool forebear_is_gone(const struct forebear *forebear)
{
    return atomic_load(&forebear->gone);
}

void forebear_free(struct forebear *forebear)
{
    uint64_t one = 1;
    if (!forebear)
        return;
    if (forebear->begun && write(forebear->stop, &one, sizeof(one)) > 0)
        pthread_join(forebear->thread, NULL);
    close(forebear->fd);
    close(forebear->stop);
    buffer_done(&forebear->out);
    memory_free(forebear);
}
