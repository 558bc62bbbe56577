/* SPDX-License-Identifier: Apache-2.0 */
/* What others read of the desk, under its lock. */
#include <stdio.h>
#include <stdlib.h>

#include "deploy/models/desk_inside.h"
#include "gateway/base/clock.h"
#include "gateway/base/memory.h"

enum { LIVE_MAX = 2 * SPEC_REPLICAS_MAX }; /* those that have ended are kept a while too */

/* One that anybody may still ask about. */
static struct desk_record *told_of(struct deployments *desk, struct text name)
{
    struct desk_record *record = desk_record_find(desk, name);
    return record && (record->is_wanted || record->left_us != 0) ? record : NULL;
}

/* "qwen-k3" and "k3" are the same replica of qwen. */
static struct text word_of(const struct desk_record *record, struct text replica)
{
    struct text name = text_of(record->name);
    if (text_starts(replica, name) && replica.len > name.len && replica.at[name.len] == '-')
        return text_from(replica, name.len + 1);
    return replica;
}

bool deployments_logs(struct deployments *deployments, struct text name, struct text replica,
                      unsigned lines, struct buffer *out)
{
    desk_lock(deployments);
    const struct desk_record *record = told_of(deployments, name);
    if (record)
        story_last(&record->story, word_of(record, replica), lines, out);
    desk_unlock(deployments);
    return record != NULL;
}

bool deployments_follow(struct deployments *deployments, struct text name, uint64_t after,
                        struct buffer *out, uint64_t *next)
{
    desk_lock(deployments);
    const struct desk_record *record = told_of(deployments, name);
    *next = after;
    if (record)
        *next = out ? story_follow(&record->story, after, out) : record->story.newest;
    desk_unlock(deployments);
    return record != NULL;
}

size_t deployments_events(struct deployments *deployments, struct text name, uint64_t after,
                          struct deployment_event *into, size_t max)
{
    desk_lock(deployments);
    const struct desk_record *record = told_of(deployments, name);
    size_t count = record ? story_events(&record->story, after, into, max) : 0;
    desk_unlock(deployments);
    return count;
}

bool deployments_look(struct deployments *deployments, struct text name, struct fleet_view *view)
{
    desk_lock(deployments);
    bool is_there = fleet_look(deployments->fleet, name, view, clock_now_us());
    const struct desk_record *record = desk_record_find(deployments, name);
    if (is_there && record)
        share_view(record, view);
    view->spec = NULL;
    desk_unlock(deployments);
    return is_there;
}

static const struct desk_replica *replica_on(const struct deployments *desk, struct text name,
                                             const struct slot *slot)
{
    for (struct link *at = desk->replicas.next; at != &desk->replicas; at = at->next) {
        const struct desk_replica *replica = LIST_MEMBER(at, struct desk_replica, link);
        if (replica->fleet->number == slot->replica &&
            text_equal(text_of(replica->record->name), name))
            return replica;
    }
    return NULL;
}

static const struct desk_guest *guest_on(const struct deployments *desk, struct text name,
                                         const struct slot *slot)
{
    const struct desk_guest *guest = guest_find(desk, slot->replica);
    return guest && text_equal(text_of(guest->record->name), name) ? guest : NULL;
}

size_t deployments_served_name(struct deployments *deployments, struct text name,
                               const struct slot *slot, char *into, size_t size)
{
    desk_lock(deployments);
    const struct desk_record *record = desk_record_find(deployments, name);
    const struct desk_replica *replica = replica_on(deployments, name, slot);
    const struct desk_guest *guest = replica ? NULL : guest_on(deployments, name, slot);
    const char *served = replica && replica->served[0] ? replica->served
                         : guest && guest->served[0]   ? guest->served
                         : record                      ? record->served
                                                       : "";
    int length = snprintf(into, size, "%s", served);
    desk_unlock(deployments);
    return length > 0 ? (size_t)length : 0;
}

bool deployments_adapter(struct deployments *deployments, struct text name, const struct slot *slot,
                         struct text adapter, struct adapter_wire *wire)
{
    desk_lock(deployments);
    const struct desk_replica *replica = replica_on(deployments, name, slot);
    bool is_there = replica && adapter_wire_of(replica->fleet->spec, adapter, wire);
    const struct desk_guest *guest = is_there ? NULL : guest_on(deployments, name, slot);
    if (guest)
        is_there = adapter_wire_of(guest->spec, adapter, wire);
    desk_unlock(deployments);
    return is_there;
}

/* ------------------------------------------------------------------------------------- pages */

static void write_address(const struct launch_address *address, char *into, size_t size)
{
    if (address->host[0] == 0)
        *into = 0;
    else if (address->is_unix)
        snprintf(into, size, "%s", address->host);
    else
        snprintf(into, size, strchr(address->host, ':') ? "[%s]:%u" : "%s:%u", address->host,
                 address->port);
}

static void write_replica(const struct deployments *desk, const struct fleet_replica *of,
                          uint64_t now_us, struct deployment_replica_page *page)
{
    const struct desk_replica *replica = of->launch;
    char word[STORY_REPLICA_MAX];
    desk_replica_word(of, word);
    snprintf(page->name, sizeof page->name, "%.*s-%.22s", TEXT_ARGS(of->spec->name), word);
    if (of->node < desk->in_force_count && of->state != REPLICA_PENDING)
        snprintf(page->node, sizeof page->node, "%.*s",
                 TEXT_ARGS(desk->in_force[of->node]->node.name));
    page->revision = of->revision;
    page->restarts = of->restarts;
    page->state = of->state;
    page->in_flight = of->in_flight;
    page->since_ms = now_us > of->since_us ? (int64_t)((now_us - of->since_us) / 1000) : 0;
    page->progress_permille = of->progress_permille;
    page->memory_bytes = replica ? replica->memory_bytes : 0;
    if (replica && replica->has_address)
        write_address(&replica->address, page->address, sizeof page->address);
    snprintf(page->reason, sizeof page->reason, "%s", of->reason);
    snprintf(page->words, sizeof page->words, "%s", of->words);
}

static void write_replicas(struct deployments *desk, struct text name, uint64_t now_us,
                           struct deployment_page *page)
{
    const struct fleet_replica *all[LIVE_MAX];
    size_t count = fleet_replicas(desk->fleet, name, all, LIVE_MAX);
    for (size_t i = 0; i < count && page->replica_count < SPEC_REPLICAS_MAX; i++)
        write_replica(desk, all[i], now_us, &page->replicas[page->replica_count++]);
}

static void write_guest(const struct desk_guest *guest, uint64_t now_us,
                        struct deployment_replica_page *page)
{
    const int64_t *said = guest->said.numbers;
    char word[STORY_REPLICA_MAX];
    guest_word(guest, word);
    snprintf(page->name, sizeof page->name, "%s-%.22s", guest->record->name, word);
    snprintf(page->node, sizeof page->node, "%s", guest->node);
    write_address(&guest->address, page->address, sizeof page->address);
    page->revision = (unsigned)said[SERVER_REVISION];
    page->restarts = (unsigned)said[SERVER_RESTARTS];
    page->state = (enum replica_state)said[SERVER_STATE];
    page->since_ms = said[SERVER_SINCE_MS];
    page->progress_permille = (int)said[SERVER_PROGRESS];
    page->memory_bytes = said[SERVER_MEMORY];
    page->in_flight = desk_calls_on(guest->record->slots, &guest->slot, guest->past);
    page->is_elsewhere = true;
    if (guest->is_out_of_reach)
        snprintf(page->reason, sizeof page->reason, "out_of_reach");
    else if (guest->is_orphan)
        snprintf(page->reason, sizeof page->reason, "node_silent");
    if (guest->is_orphan)
        page->since_ms = (int64_t)((now_us - guest->since_us) / 1000);
}

static void write_guests(struct deployments *desk, const struct desk_record *record,
                         uint64_t now_us, struct deployment_page *page)
{
    for (struct link *at = desk->guests.next;
         at != &desk->guests && page->replica_count < SPEC_REPLICAS_MAX; at = at->next) {
        const struct desk_guest *guest = LIST_MEMBER(at, struct desk_guest, link);
        if (guest->record == record)
            write_guest(guest, now_us, &page->replicas[page->replica_count++]);
    }
}

static void count_adapter(const struct adapter *seen, struct deployment_page *page)
{
    for (size_t i = 0; i < page->adapter_count; i++) {
        struct deployment_adapter_page *one = &page->adapters[i];
        if (strcmp(one->name, seen->name) != 0)
            continue;
        one->ready += seen->state == ADAPTER_READY;
        one->failed += seen->state == ADAPTER_FAILED;
        one->loading += seen->state == ADAPTER_LOADING || seen->state == ADAPTER_ABSENT;
        if (seen->words[0] != 0)
            snprintf(one->words, sizeof one->words, "%s", seen->words);
    }
}

static void write_adapters(struct deployments *desk, const struct desk_record *record,
                           struct deployment_page *page)
{
    const struct deployment_spec *spec = page->view.spec;
    struct adapter *seen = memory_new(SPEC_ADAPTERS_MAX * sizeof(*seen));
    for (size_t i = 0; i < spec->adapter_count && i < SPEC_ADAPTERS_MAX; i++)
        snprintf(page->adapters[page->adapter_count++].name, sizeof page->adapters[0].name, "%.*s",
                 TEXT_ARGS(spec->adapters[i].name));
    for (struct link *at = desk->replicas.next; at != &desk->replicas; at = at->next) {
        const struct desk_replica *replica = LIST_MEMBER(at, struct desk_replica, link);
        if (replica->record != record)
            continue;
        size_t count = adapters_look(replica->adapters, seen, SPEC_ADAPTERS_MAX);
        for (size_t i = 0; i < count; i++)
            count_adapter(&seen[i], page);
    }
    for (struct link *at = desk->guests.next; at != &desk->guests; at = at->next) {
        const struct desk_guest *guest = LIST_MEMBER(at, struct desk_guest, link);
        for (size_t i = 0; guest->record == record && i < guest->adapter_count; i++) {
            *seen = (struct adapter){.state = ADAPTER_READY};
            snprintf(seen->name, sizeof seen->name, "%s", guest->adapters[i]);
            count_adapter(seen, page);
        }
    }
    memory_free(seen);
}

struct deployment_page *deployments_page(struct deployments *deployments, struct text name)
{
    struct deployment_page *page = memory_new(sizeof(*page));
    uint64_t now_us = clock_now_us();
    desk_lock(deployments);
    const struct desk_record *record = desk_record_find(deployments, name);
    bool is_there = record && fleet_look(deployments->fleet, name, &page->view, now_us);
    if (is_there) {
        page->view.spec = spec_ref(page->view.spec);
        share_view(record, &page->view);
        page->slots = slots_figures(record->slots);
        write_replicas(deployments, name, now_us, page);
        write_guests(deployments, record, now_us, page);
        write_adapters(deployments, record, page);
    }
    desk_unlock(deployments);
    if (!is_there) {
        memory_free(page);
        return NULL;
    }
    return page;
}

void deployment_page_free(struct deployment_page *page)
{
    if (!page)
        return;
    spec_unref(page->view.spec);
    memory_free(page);
}

static int compare(const void *a, const void *b)
{
    const struct text *left = a, *right = b;
    size_t shorter = left->len < right->len ? left->len : right->len;
    int order = memcmp(left->at, right->at, shorter);
    return order != 0 ? order : (left->len > right->len) - (left->len < right->len);
}

/* <memory> grows while names are put into it, so that they are pointed at in the end only. */
size_t deployments_names(struct deployments *deployments, struct text *into, size_t max,
                         struct buffer *memory)
{
    size_t at = 0, count = 0, from = 0, begin = buffer_length(memory);
    struct text name;
    void *value;
    desk_lock(deployments);
    while (count < max && table_next(&deployments->records, &at, &name, &value)) {
        const struct desk_record *record = value;
        if (record->is_wanted && buffer_append_text(memory, name))
            into[count++].len = name.len;
    }
    desk_unlock(deployments);
    for (size_t i = 0; i < count; i++) {
        into[i].at = text_from(buffer_text(memory), begin + from).at;
        from += into[i].len;
    }
    qsort(into, count, sizeof(*into), compare);
    return count;
}
