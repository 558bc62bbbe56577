/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/deploy_metrics.h"

#include "deploy/models/standing.h"
#include "gateway/config/config.h"
#include "gateway/deploy_desk.h"
#include "gateway/share_desk.h"

enum { MICROS = 1000000 };

static void put_head(struct buffer *out, const char *name, const char *type, const char *help)
{
    buffer_format(out, "# HELP sluice_deployment_%s %s\n# TYPE sluice_deployment_%s %s\n", name,
                  help, name, type);
}

static void put_seconds(struct buffer *out, int64_t us)
{
    buffer_format(out, "%lld.%06lld", (long long)(us / MICROS), (long long)(us % MICROS));
}

static void put_histogram(struct buffer *out, const char *name, const struct config *config,
                          enum standing_time what)
{
    for (size_t i = 0; i < config->deploy.spec_count; i++) {
        struct text deployment = config->deploy.specs[i]->name;
        struct standing_histogram times = standing_histogram(standing_of(deployment), what);
        uint64_t below = 0;
        for (int b = 0; b < STANDING_BUCKETS; b++) {
            below += times.counts[b];
            buffer_format(out, "sluice_deployment_%s_bucket{deployment=\"%.*s\",le=\"", name,
                          TEXT_ARGS(deployment));
            if (b < STANDING_BUCKETS - 1)
                put_seconds(out, standing_bounds_us[b]);
            else
                buffer_append_text(out, TEXT("+Inf"));
            buffer_format(out, "\"} %llu\n", (unsigned long long)below);
        }
        buffer_format(out, "sluice_deployment_%s_sum{deployment=\"%.*s\"} ", name,
                      TEXT_ARGS(deployment));
        put_seconds(out, times.sum_us);
        buffer_format(out, "\nsluice_deployment_%s_count{deployment=\"%.*s\"} %llu\n", name,
                      TEXT_ARGS(deployment), (unsigned long long)times.count);
    }
}

/* How all of them stand, asked once. */
struct stand {
    struct text name;
    struct deployment_page *page;
};

static void put_states(struct buffer *out, const struct stand *stands, size_t count)
{
    put_head(out, "state", "gauge", "How a deployment stands: 1 for the state that it is in.");
    for (size_t i = 0; i < count; i++)
        if (stands[i].page)
            buffer_format(out, "sluice_deployment_state{deployment=\"%.*s\",state=\"%s\"} 1\n",
                          TEXT_ARGS(stands[i].name),
                          deployment_state_name(stands[i].page->view.state));
}

static void put_replicas(struct buffer *out, const struct stand *stands, size_t count)
{
    put_head(out, "replicas", "gauge", "Replicas by state.");
    for (size_t i = 0; i < count; i++) {
        unsigned states[REPLICA_STATES] = {0};
        for (size_t k = 0; stands[i].page && k < stands[i].page->replica_count; k++)
            states[stands[i].page->replicas[k].state]++;
        for (int s = 0; s < REPLICA_STATES; s++)
            if (states[s])
                buffer_format(out,
                              "sluice_deployment_replicas{deployment=\"%.*s\",state=\"%s\"} %u\n",
                              TEXT_ARGS(stands[i].name), replica_state_name((enum replica_state)s),
                              states[s]);
    }
}

static void put_number(struct buffer *out, const char *name, struct text deployment,
                       uint64_t number)
{
    buffer_format(out, "sluice_deployment_%s{deployment=\"%.*s\"} %llu\n", name,
                  TEXT_ARGS(deployment), (unsigned long long)number);
}

static void put_numbers(struct buffer *out, const struct stand *stands, size_t count)
{
    put_head(out, "held", "gauge", "Calls that wait for a place.");
    for (size_t i = 0; i < count; i++)
        put_number(out, "held", stands[i].name, slots_figures(slots_of(stands[i].name)).held);
    put_head(out, "in_flight", "gauge", "Calls that run on its replicas.");
    for (size_t i = 0; i < count; i++)
        put_number(out, "in_flight", stands[i].name,
                   slots_figures(slots_of(stands[i].name)).in_flight);
    put_head(out, "evictions_total", "counter", "Replicas ended so that another one has room.");
    for (size_t i = 0; i < count; i++)
        put_number(out, "evictions_total", stands[i].name,
                   standing_evictions(standing_of(stands[i].name)));
    put_head(out, "restarts_total", "counter", "Replicas started again after they had ended.");
    for (size_t i = 0; i < count; i++)
        if (stands[i].page)
            put_number(out, "restarts_total", stands[i].name, stands[i].page->view.restarts);
}

/* Of a cluster: who starts and stops. */
static void put_office(struct buffer *out, struct deployments *running)
{
    static const char *const reasons[] = {"starting", "no_leader", "redis_away"};
    struct deployments_office office;
    deployments_office(running, &office);
    if (!office.is_shared)
        return;
    struct share_desk_figures records = share_desk_figures();
    put_head(out, "leader", "gauge", "Does this node start and stop model servers for all?");
    buffer_format(out, "sluice_deployment_leader %d\n", office.role == ROLE_LEADS);
    put_head(out, "paused", "gauge", "Why nothing is started or stopped now: 1 for the reason.");
    for (size_t i = 0; i < sizeof(reasons) / sizeof(*reasons); i++)
        buffer_format(out, "sluice_deployment_paused{reason=\"%s\"} %d\n", reasons[i],
                      office.role == ROLE_PAUSED && strcmp(office.why, reasons[i]) == 0);
    put_head(out, "nodes", "gauge", "Other nodes that are heard.");
    buffer_format(out, "sluice_deployment_nodes %u\n", office.nodes);
    put_head(out, "guests", "gauge", "Replicas of other nodes that are used from here.");
    buffer_format(out, "sluice_deployment_guests %u\n", office.guests);
    put_head(out, "records_total", "counter", "What nodes told each other of deployments.");
    buffer_format(out,
                  "sluice_deployment_records_total{what=\"told\"} %llu\n"
                  "sluice_deployment_records_total{what=\"heard\"} %llu\n"
                  "sluice_deployment_records_total{what=\"refused\"} %llu\n",
                  (unsigned long long)records.told, (unsigned long long)records.heard,
                  (unsigned long long)records.refused);
}

void deploy_metrics_write(const struct config *config, struct deploy_desk *desk, struct buffer *out)
{
    struct deployments *running = deploy_desk_open(desk);
    size_t count = config->deploy.spec_count;
    if (running)
        put_office(out, running);
    if (count == 0)
        return;
    struct stand *stands = memory_new(count * sizeof(*stands));
    for (size_t i = 0; i < count; i++) {
        stands[i].name = config->deploy.specs[i]->name;
        stands[i].page = running ? deployments_page(running, stands[i].name) : NULL;
    }
    put_states(out, stands, count);
    put_replicas(out, stands, count);
    put_numbers(out, stands, count);
    put_head(out, "hold_seconds", "histogram", "How long calls have waited for a place.");
    put_histogram(out, "hold_seconds", config, STANDING_HELD);
    put_head(out, "cold_start_seconds", "histogram",
             "From the launch of a server to its first "
             "good answer.");
    put_histogram(out, "cold_start_seconds", config, STANDING_COLD_START);
    put_head(out, "budget_bytes", "gauge", "What a node has, and what of it is taken.");
    deploy_desk_put_budget(desk, out);
    for (size_t i = 0; i < count; i++)
        deployment_page_free(stands[i].page);
    memory_free(stands);
}
