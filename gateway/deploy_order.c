/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/deploy_order.h"

#include <stdio.h>
#include <unistd.h>

#include "gateway/base/clock.h"
#include "gateway/base/json.h"
#include "gateway/base/json_write.h"
#include "gateway/base/log.h"
#include "gateway/deploy_desk.h"
#include "gateway/made/redis.h"
#include "gateway/service_state.h"
#include "gateway/share_desk.h"

enum { LOOK_US = 20000, OFFICE_WAIT_US = 1000000, DOCUMENT_BYTES = 1024, SERVED_MAX = 32 };

static const char *const words[] = {
    [FLEET_START] = "start",       [FLEET_STOP] = "stop",   [FLEET_RESTART] = "restart",
    [FLEET_SCALE] = "scale",       [FLEET_PIN] = "pin",     [FLEET_UNPIN] = "unpin",
    [FLEET_SLEEP] = "sleep",       [FLEET_WAKE] = "wake",   [FLEET_CANCEL] = "cancel",
    [FLEET_PROMOTE] = "promote",   [FLEET_PAUSE] = "pause", [FLEET_RESUME] = "resume",
    [FLEET_ROLLBACK] = "rollback", [FLEET_RETRY] = "retry",
};

static int refuse(struct deploy_order *order, int status, const char *why)
{
    snprintf(order->why, sizeof(order->why), "%s", why && *why ? why : "that makes no sense now");
    return status;
}

/* -------------------------------------------------------------------------------- carried out */

struct obeying {
    struct deploy_order *order;
    bool done;
    const char *why;
};

static void obey(struct deployments *desk, void *with)
{
    struct obeying *obeying = with;
    const struct deploy_order *order = obeying->order;
    obeying->done =
        deployments_obey(desk, order->name, order->order, order->low, order->high, &obeying->why);
}

/* What of it is to hold over a restart. */
static void keep(struct service *service, const struct deploy_order *order)
{
    struct fault fault;
    struct made_order kept = made_order_of(service->made, order->name);
    kept.name = order->name;
    switch (order->order) {
    case FLEET_START:
    case FLEET_RESTART:
    case FLEET_WAKE:
        kept.stopped = false;
        break;
    case FLEET_STOP:
        kept.stopped = true;
        break;
    case FLEET_SCALE:
        kept.low = order->low;
        kept.high = order->high;
        break;
    case FLEET_PIN:
    case FLEET_UNPIN:
        kept.pinned = order->order == FLEET_PIN;
        kept.unpinned = !kept.pinned;
        break;
    case FLEET_SLEEP:
    case FLEET_CANCEL:
    case FLEET_PROMOTE:
    case FLEET_PAUSE:
    case FLEET_RESUME:
    case FLEET_ROLLBACK:
    case FLEET_RETRY:
        return;
    }
    if (!made_order_put(service->made, &kept, &fault))
        log_line(LOG_WARN, "deploy", "an order for %.*s does not hold over a restart: %s",
                 TEXT_ARGS(order->name), fault.text);
}

static int carry_out(struct service *service, struct deploy_order *order)
{
    struct obeying obeying = {.order = order, .why = ""};
    if (!deploy_desk_ask(service_deploy_desk(service), obey, &obeying))
        return refuse(order, 503, "there is nobody who runs deployments here");
    if (!obeying.done)
        return refuse(order, 409, obeying.why);
    keep(service, order);
    return 0;
}

/* -------------------------------------------------------------------------------- handed over */

static void write_order(const struct deploy_order *order, struct buffer *out)
{
    struct json_write json = {.out = out};
    json_open(&json, '{');
    json_text_member(&json, "name", order->name);
    json_text_member(&json, "order", text_of(words[order->order]));
    json_int_member(&json, "low", order->low);
    json_int_member(&json, "high", order->high);
    json_close(&json, '}');
}

/* <order>'s name borrows from <root>. */
static bool read_order(const struct json *root, struct deploy_order *order)
{
    struct text word = {"", 0};
    int64_t low = 0, high = 0;
    json_to_text(json_member(root, "order"), &word);
    json_to_int(json_member(root, "low"), 0, SPEC_REPLICAS_MAX, &low);
    json_to_int(json_member(root, "high"), 0, SPEC_REPLICAS_MAX, &high);
    order->low = (unsigned)low;
    order->high = (unsigned)high;
    for (size_t i = 0; i < sizeof(words) / sizeof(*words); i++)
        if (words[i] && text_equal(word, text_of(words[i]))) {
            order->order = (enum fleet_order)i;
            return json_to_text(json_member(root, "name"), &order->name);
        }
    return false;
}

static int read_answer(struct text answer, struct deploy_order *order)
{
    struct json_problem ignored;
    struct json *root = json_read(answer, &ignored);
    struct text why = {"", 0};
    int64_t status = 503;
    json_to_int(json_member(root, "status"), 0, 599, &status);
    json_to_text(json_member(root, "why"), &why);
    snprintf(order->why, sizeof(order->why), "%.*s",
             TEXT_ARGS(text_head(why, sizeof(order->why) - 1)));
    json_free(root);
    return (int)status;
}

static int wait_for_answer(struct service *service, struct text number, struct deploy_order *order)
{
    uint64_t until = clock_now_us() + ORDER_WAIT_US;
    while (clock_now_us() < until) {
        struct made_answer answer;
        bool asked = made_redis_ask(service->made_redis, MADE_HEAR, &number, 1, &answer);
        bool is_there = asked && answer.count > 0;
        int status = is_there ? read_answer(made_answer_text(&answer, 0), order) : 0;
        made_answer_done(&answer);
        if (is_there)
            return status;
        usleep(LOOK_US);
    }
    return refuse(order, 503, "the node that starts and stops model servers does not answer");
}

static int hand_over(struct service *service, struct deploy_order *order)
{
    struct buffer document;
    struct made_answer answer;
    buffer_init(&document, DOCUMENT_BYTES);
    write_order(order, &document);
    struct text word = buffer_text(&document);
    bool asked = made_redis_ask(service->made_redis, MADE_ASK, &word, 1, &answer);
    int status = asked ? wait_for_answer(service, made_answer_text(&answer, 0), order)
                       : refuse(order, 503, "Redis does not answer");
    made_answer_done(&answer);
    buffer_done(&document);
    if (status == 0)
        service_pull(service);
    return status;
}

/* Who leads may be decided this moment. */
static struct deployments_office office_of(struct service *service)
{
    struct deployments_office office = {.is_shared = false};
    struct deployments *desk = deploy_desk_open(service_deploy_desk(service));
    uint64_t until = clock_now_us() + OFFICE_WAIT_US;
    if (!desk)
        return office;
    deployments_office(desk, &office);
    while (office.is_shared && office.role == ROLE_PAUSED && share_desk_elected() == 0 &&
           clock_now_us() < until) {
        usleep(LOOK_US);
        deployments_office(desk, &office);
    }
    return office;
}

int deploy_order_give(struct service *service, struct deploy_order *order)
{
    struct deployments_office office = office_of(service);
    if (!office.is_shared || office.role == ROLE_LEADS)
        return carry_out(service, order);
    if (office.role == ROLE_FOLLOWS)
        return hand_over(service, order);
    return refuse(order, 503,
                  "nobody starts or stops model servers now: Redis is away, or no node "
                  "leads yet");
}

static void serve_one(struct service *service, struct text number, struct text document)
{
    struct json_problem ignored;
    struct json *root = json_read(document, &ignored);
    struct deploy_order order = {.low = 0};
    struct made_answer answer;
    struct buffer out;
    struct json_write json = {.out = &out};
    buffer_init(&out, DOCUMENT_BYTES);
    int status = read_order(root, &order) ? carry_out(service, &order)
                                          : refuse(&order, 400, "the order cannot be read");
    json_open(&json, '{');
    json_int_member(&json, "status", status);
    json_text_member(&json, "why", text_of(order.why));
    json_close(&json, '}');
    const struct text said[] = {number, buffer_text(&out)};
    made_redis_ask(service->made_redis, MADE_ANSWER, said, 2, &answer);
    made_answer_done(&answer);
    buffer_done(&out);
    json_free(root);
}

void deploy_order_serve(struct service *service)
{
    for (int i = 0; i < SERVED_MAX; i++) {
        struct deployments_office office;
        struct made_answer answer;
        struct deployments *desk = deploy_desk_open(service_deploy_desk(service));
        if (!desk || !service->made_redis)
            return;
        deployments_office(desk, &office);
        if (office.role != ROLE_LEADS)
            return;
        bool is_there =
            made_redis_ask(service->made_redis, MADE_TAKE, NULL, 0, &answer) && answer.count == 2;
        if (is_there)
            serve_one(service, answer.items[0], answer.items[1]);
        made_answer_done(&answer);
        if (!is_there)
            return;
    }
}
