/* SPDX-License-Identifier: Apache-2.0 */
#include "deploy/models/docker_read.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "gateway/base/json.h"

enum { LIST_MAX = 65536 };

/* ------------------------------------------------------------------------------ pieces */

static const struct json *member(const struct json *object, const char *name)
{
    return json_member(object, name);
}

static struct text text_at(const struct json *object, const char *name)
{
    struct text text = TEXT("");
    json_to_text(member(object, name), &text);
    return text;
}

static int64_t number_at(const struct json *object, const char *name)
{
    int64_t number = 0;
    json_to_int(member(object, name), INT64_MIN, INT64_MAX, &number);
    return number;
}

static bool is_set(const struct json *object, const char *name)
{
    bool flag = false;
    json_to_bool(member(object, name), &flag);
    return flag;
}

/* One line that may stand in a log: control bytes become spaces. */
static void copy_words(char *into, size_t room, struct text words)
{
    snprintf(into, room, "%.*s", (int)(words.len < room ? words.len : room), words.at);
    for (char *c = into; *c; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7F)
            *c = ' ';
}

/* Whole, or not at all. */
static bool copy_name(char *into, size_t room, struct text name)
{
    if (name.len >= room || memchr(name.at, '\0', name.len))
        return false;
    memcpy(into, name.at, name.len);
    into[name.len] = '\0';
    return true;
}

/* An id becomes part of a path. */
static bool copy_id(char id[DOCKER_ID_MAX + 1], struct text from)
{
    for (size_t i = 0; i < from.len; i++)
        if (!((from.at[i] >= '0' && from.at[i] <= '9') || (from.at[i] >= 'a' && from.at[i] <= 'f')))
            return false;
    return from.len >= 12 && copy_name(id, DOCKER_ID_MAX + 1, from);
}

bool docker_read_id(struct text body, char id[DOCKER_ID_MAX + 1])
{
    struct json_problem problem;
    struct json *root = json_read(body, &problem);
    bool good = copy_id(id, text_at(root, "Id"));
    json_free(root);
    return good;
}

void docker_read_error(struct text body, unsigned status, char words[LAUNCH_WORDS_MAX])
{
    struct json_problem problem;
    struct json *root = json_read(body, &problem);
    struct text message = text_at(root, "message");
    if (message.len == 0)
        message = text_at(root, "cause");
    if (message.len)
        copy_words(words, LAUNCH_WORDS_MAX, message);
    else
        snprintf(words, LAUNCH_WORDS_MAX, "the engine answers %u", status);
    json_free(root);
}

/* An id is the only thing in its words that is so long and all of it hexadecimal. */
bool docker_read_holder(struct text body, char id[DOCKER_ID_MAX + 1])
{
    struct json_problem problem;
    struct json *root = json_read(body, &problem);
    struct text message = text_at(root, "message");
    size_t len = 0;
    for (size_t i = 0; i < message.len && len < DOCKER_ID_MAX; i++)
        if (isxdigit((unsigned char)message.at[i]))
            id[len++] = message.at[i];
        else
            len = 0;
    id[len == DOCKER_ID_MAX ? len : 0] = '\0';
    json_free(root);
    return len == DOCKER_ID_MAX;
}

/* ---------------------------------------------------------------------------- containers */

static void read_labels(const struct json *labels, struct docker_container *into)
{
    uint64_t number = 0;
    char digest[17] = "", *end = digest;
    struct launch_name *name = &into->name;
    copy_name(into->owner, sizeof(into->owner), text_at(labels, "sluice.owner"));
    copy_name(name->deployment, sizeof(name->deployment), text_at(labels, "sluice.deployment"));
    copy_name(name->replica, sizeof(name->replica), text_at(labels, "sluice.replica"));
    if (text_number(text_at(labels, "sluice.revision"), UINT32_MAX, &number))
        name->revision = (unsigned)number;
    if (text_number(text_at(labels, "sluice.port"), UINT16_MAX, &number))
        into->port = (unsigned)number;
    if (copy_name(digest, sizeof(digest), text_at(labels, "sluice.digest")))
        name->digest = strtoull(digest, &end, 16);
    if (*end)
        name->digest = 0;
}

static bool is_new(struct text status)
{
    return text_equal(status, TEXT("created")) || text_equal(status, TEXT("configured")) ||
           text_equal(status, TEXT("initialized"));
}

/* "stopping" is podman's: it still runs. */
static void read_status(struct text status, struct docker_container *into)
{
    static const char *const over[] = {"exited", "dead", "stopped", "removing"};
    into->runs = !is_new(status);
    for (size_t i = 0; i < sizeof(over) / sizeof(over[0]); i++)
        if (text_equal(status, text_of(over[i]))) {
            into->ended = true;
            into->runs = false;
        }
}

static bool read_state(const struct json *state, struct docker_container *into)
{
    struct text status = text_at(state, "Status");
    if (status.len == 0)
        return false;
    read_status(status, into);
    into->runs = into->runs || (is_set(state, "Running") && !into->ended);
    into->oom = is_set(state, "OOMKilled");
    into->exit_code = (int)(number_at(state, "ExitCode") & 0xFFFF);
    copy_words(into->error, sizeof(into->error), text_at(state, "Error"));
    return true;
}

static bool set_address(struct launch_address *address, struct text host, struct text port)
{
    uint64_t number = 0;
    if (host.len == 0 || !text_number(port, UINT16_MAX, &number) || number == 0 ||
        !copy_name(address->host, sizeof(address->host), host))
        return false;
    address->port = (uint16_t)number;
    return true;
}

/* Where its port is published on the engine's machine. */
static bool read_published(const struct json *ports, unsigned port, const char *host,
                           struct launch_address *address)
{
    char name[16];
    snprintf(name, sizeof(name), "%u/tcp", port);
    const struct json *places = member(ports, name);
    for (size_t i = 0; i < json_count(places); i++)
        if (set_address(address, text_of(host), text_at(json_item(places, i), "HostPort")))
            return true;
    return false;
}

/* Its own address, in the first network that gave it one. */
static bool read_own(const struct json *networks, struct text port, struct launch_address *address)
{
    void *at = NULL;
    struct text name;
    const struct json *network;
    while (json_next(networks, &at, &name, &network))
        if (set_address(address, text_at(network, "IPAddress"), port))
            return true;
    return false;
}

static void read_address(const struct json *root, const char *host, bool is_here,
                         struct docker_container *into)
{
    char digits[TEXT_NUMBER_BYTES];
    struct text port = text_write_number(into->port, digits);
    const struct json *settings = member(root, "NetworkSettings");
    struct text network = text_at(member(root, "HostConfig"), "NetworkMode");
    if (text_equal(network, TEXT("host")))
        set_address(&into->address, text_of(host), port);
    else if (!read_published(member(settings, "Ports"), into->port, host, &into->address) &&
             is_here)
        read_own(member(settings, "Networks"), port, &into->address);
}

bool docker_read_container(struct text body, const char *host, bool is_here,
                           struct docker_container *into)
{
    struct json_problem problem;
    struct json *root = json_read(body, &problem);
    *into = (struct docker_container){0};
    bool good = copy_id(into->id, text_at(root, "Id")) && read_state(member(root, "State"), into);
    if (good) {
        read_labels(member(member(root, "Config"), "Labels"), into);
        read_address(root, host, is_here, into);
    }
    json_free(root);
    return good;
}

bool docker_read_list(struct text body,
                      void (*on_each)(void *with, const struct docker_container *each), void *with)
{
    struct json_problem problem;
    struct json *root = json_read(body, &problem);
    bool good = json_kind(root) == SCAN_ARRAY && json_count(root) <= LIST_MAX;
    for (size_t i = 0; good && i < json_count(root); i++) {
        const struct json *item = json_item(root, i);
        struct docker_container each = {0};
        if (!copy_id(each.id, text_at(item, "Id")))
            continue;
        read_status(text_at(item, "State"), &each);
        read_labels(member(item, "Labels"), &each);
        on_each(with, &each);
    }
    json_free(root);
    return good;
}

int64_t docker_read_memory(struct text body)
{
    struct json_problem problem;
    struct json *root = json_read(body, &problem);
    const struct json *memory = member(root, "memory_stats"), *stats = member(memory, "stats");
    int64_t used = number_at(memory, "usage");
    /* As the docker command does: cgroup v1, then v2. */
    int64_t cached = number_at(stats, "total_inactive_file");
    if (cached == 0)
        cached = number_at(stats, "inactive_file");
    json_free(root);
    return used <= 0 ? 0 : cached > 0 && cached < used ? used - cached : used;
}

bool docker_read_event(struct text line, struct docker_event *into)
{
    struct json_problem problem;
    struct json *root = json_read(line, &problem);
    *into = (struct docker_event){.time_ns = number_at(root, "timeNano")};
    struct text type = text_at(root, "Type"), action = text_at(root, "Action");
    bool good = (type.len == 0 || text_equal(type, TEXT("container"))) && action.len > 0 &&
                copy_id(into->id, text_at(member(root, "Actor"), "ID"));
    copy_words(into->action, sizeof(into->action), action);
    if (into->time_ns < 0)
        into->time_ns = 0;
    json_free(root);
    return good;
}

/* -------------------------------------------------------------------------------- pulls */

static struct docker_layer *layer_of(struct docker_pull *pull, struct text id)
{
    if (id.len == 0 || id.len >= DOCKER_LAYER_ID)
        return NULL;
    for (size_t i = 0; i < pull->count; i++)
        if (text_equal(text_of(pull->layers[i].id), id))
            return &pull->layers[i];
    if (pull->count == DOCKER_LAYERS_MAX || memchr(id.at, '\0', id.len))
        return NULL;
    struct docker_layer *layer = &pull->layers[pull->count++];
    *layer = (struct docker_layer){0};
    memcpy(layer->id, id.at, id.len);
    return layer;
}

static void measure(struct docker_pull *pull)
{
    double current = 0, total = 0; /* of bytes; only for the eye */
    for (size_t i = 0; i < pull->count; i++) {
        current += (double)pull->layers[i].current;
        total += (double)pull->layers[i].total;
    }
    int permille = total > 0 ? (int)(1000 * current / total) : -1;
    if (permille > pull->permille)
        pull->permille = permille;
}

static void take_progress(struct docker_pull *pull, const struct json *root)
{
    struct docker_layer *layer = layer_of(pull, text_at(root, "id"));
    struct text status = text_at(root, "status");
    const struct json *detail = member(root, "progressDetail");
    int64_t current = number_at(detail, "current"), total = number_at(detail, "total");
    if (!layer)
        return;
    if (text_equal(status, TEXT("Downloading")) && total > 0 && current >= 0) {
        layer->total = total;
        layer->current = current < total ? current : total;
    } else if (text_equal(status, TEXT("Download complete")) ||
               text_equal(status, TEXT("Pull complete"))) {
        layer->current = layer->total;
    }
    measure(pull);
}

void docker_pull_line(struct docker_pull *pull, struct text line)
{
    struct json_problem problem;
    struct json *root = json_read(line, &problem);
    struct text error = text_at(member(root, "errorDetail"), "message");
    if (error.len == 0)
        error = text_at(root, "error");
    if (error.len) {
        pull->failed = true;
        copy_words(pull->error, sizeof(pull->error), error);
    } else {
        take_progress(pull, root);
    }
    json_free(root);
}

const char *docker_pull_verdict(const char *words)
{
    static const struct {
        const char *part, *reason;
    } rows[] = {
        {"toomanyrequests", NULL},
        {"unauthorized", "forbidden"},
        {"authentication required", "forbidden"},
        {"denied", "forbidden"},
        {"manifest unknown", "image_missing"},
        {"not found", "image_missing"},
        {"does not exist", "image_missing"},
        {"invalid reference", "image_missing"},
        {"no such image", "image_missing"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        if (strcasestr(words, rows[i].part))
            return rows[i].reason;
    return NULL;
}
