/* SPDX-License-Identifier: Apache-2.0 */
#include "deploy/models/kube_read.h"

#include <stdio.h>
#include <stdlib.h>

#include "gateway/base/json.h"

enum { LIST_MAX = 65536, SIGNAL_EXIT = 128, SIGNALS = 64 };

/* -------------------------------------------------------------------------------- pieces */

static struct text text_at(const struct json *object, const char *name)
{
    struct text text = TEXT("");
    json_to_text(json_member(object, name), &text);
    return text;
}

static int64_t number_at(const struct json *object, const char *name, int64_t otherwise)
{
    int64_t number = otherwise;
    json_to_int(json_member(object, name), INT64_MIN, INT64_MAX, &number);
    return number;
}

/* One line that may stand in a log: control bytes become spaces. */
static void copy_words(char *into, size_t room, struct text words)
{
    snprintf(into, room, "%.*s", (int)(words.len < room ? words.len : room), words.at);
    for (char *c = into; *c; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7F)
            *c = ' ';
}

/* Whole, or not at all; it becomes part of a path or of an address. */
static bool copy_name(char *into, size_t room, struct text name)
{
    if (name.len == 0 || name.len >= room)
        return false;
    for (size_t i = 0; i < name.len; i++)
        if ((unsigned char)name.at[i] <= 0x20 || name.at[i] == 0x7F || name.at[i] == '/' ||
            name.at[i] == '?' || name.at[i] == '%' || name.at[i] == '#')
            return false;
    memcpy(into, name.at, name.len);
    into[name.len] = '\0';
    return true;
}

static void say(struct kube_pod *pod, const char *reason, struct text words)
{
    snprintf(pod->reason, sizeof(pod->reason), "%s", reason);
    if (words.len)
        copy_words(pod->words, sizeof(pod->words), words);
}

/* ---------------------------------------------------------------------------------- pods */

static void read_labels(const struct json *labels, struct kube_pod *pod)
{
    uint64_t number = 0;
    char digest[17], *end = digest;
    struct launch_name *name = &pod->launch;
    copy_name(name->deployment, sizeof(name->deployment), text_at(labels, "sluice.deployment"));
    copy_name(name->replica, sizeof(name->replica), text_at(labels, "sluice.replica"));
    if (text_number(text_at(labels, "sluice.revision"), UINT32_MAX, &number))
        name->revision = (unsigned)number;
    if (text_number(text_at(labels, "sluice.port"), UINT16_MAX, &number))
        pod->port = (unsigned)number;
    copy_name(pod->owner, sizeof(pod->owner), text_at(labels, "sluice.owner"));
    copy_name(pod->workload, sizeof(pod->workload), text_at(labels, "sluice.workload"));
    if (copy_name(digest, sizeof(digest), text_at(labels, "sluice.digest")))
        name->digest = strtoull(digest, &end, 16);
    if (*end)
        name->digest = 0;
}

/* What a container that waits waits for. */
static void read_waiting(const struct json *waiting, struct kube_pod *pod)
{
    static const struct {
        const char *theirs, *ours;
        bool is_final;
    } words[] = {
        {"ErrImagePull", "pull_failed", false},
        {"ImagePullBackOff", "pull_failed", false},
        {"ErrImageNeverPull", "image_missing", true},
        {"InvalidImageName", "image_missing", true},
        {"CreateContainerConfigError", "bad_spec", true},
        {"CreateContainerError", "exec_failed", true},
        {"RunContainerError", "exec_failed", true},
    };
    struct text reason = text_at(waiting, "reason"), message = text_at(waiting, "message");
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        if (!text_equal(reason, text_of(words[i].theirs)))
            continue;
        say(pod, words[i].ours, message.len ? message : reason);
        pod->is_final = words[i].is_final;
        if (!pod->is_final && (text_find(message, TEXT("not found")) != SIZE_MAX ||
                               text_find(message, TEXT("manifest unknown")) != SIZE_MAX)) {
            say(pod, "image_missing", message);
            pod->is_final = true;
        }
        return;
    }
    if (reason.len)
        say(pod, "creating", message.len ? message : reason);
}

static void read_terminated(const struct json *terminated, struct kube_pod *pod)
{
    int64_t code = number_at(terminated, "exitCode", -1);
    int64_t number = number_at(terminated, "signal", 0);
    struct text reason = text_at(terminated, "reason");
    pod->phase = KUBE_ENDED;
    pod->oom = text_equal(reason, TEXT("OOMKilled"));
    if (number <= 0 && code > SIGNAL_EXIT && code <= SIGNAL_EXIT + SIGNALS)
        number = code - SIGNAL_EXIT; /* as shells and runtimes write it */
    pod->signal = number > 0 && number <= SIGNALS ? (int)number : 0;
    pod->exit_code = pod->signal || code < 0 || code > UINT8_MAX ? -1 : (int)code;
    bool is_unable =
        text_equal(reason, TEXT("ContainerCannotRun")) || text_equal(reason, TEXT("StartError"));
    pod->is_final = is_unable;
    say(pod,
        pod->oom      ? "oom_killed"
        : is_unable   ? "exec_failed"
        : pod->signal ? "signal"
                      : "exit",
        text_at(terminated, "message"));
}

static void read_container(const struct json *status, struct kube_pod *pod)
{
    const struct json *state = json_member(status, "state");
    const struct json *terminated = json_member(state, "terminated");
    if (terminated)
        read_terminated(terminated, pod);
    else if (json_member(state, "running"))
        pod->phase = KUBE_RUNNING;
    else
        read_waiting(json_member(state, "waiting"), pod);
}

/* A pod without a place says why. */
static void read_conditions(const struct json *conditions, struct kube_pod *pod)
{
    for (size_t i = 0; i < json_count(conditions); i++) {
        const struct json *each = json_item(conditions, i);
        if (text_equal(text_at(each, "type"), TEXT("PodScheduled")) &&
            text_equal(text_at(each, "status"), TEXT("False")))
            say(pod, "unschedulable", text_at(each, "message"));
    }
}

static void read_status(const struct json *status, struct kube_pod *pod)
{
    struct text phase = text_at(status, "phase");
    const struct json *containers = json_member(status, "containerStatuses");
    copy_name(pod->host, sizeof(pod->host), text_at(status, "podIP"));
    read_conditions(json_member(status, "conditions"), pod);
    const struct json *server = json_item(containers, 0);
    for (size_t i = 0; i < json_count(containers); i++)
        if (text_equal(text_at(json_item(containers, i), "name"), TEXT("server")))
            server = json_item(containers, i);
    copy_name(pod->container, sizeof(pod->container), text_at(server, "name"));
    if (server)
        read_container(server, pod);
    if (text_equal(phase, TEXT("Failed")) || text_equal(phase, TEXT("Succeeded"))) {
        if (pod->phase != KUBE_ENDED) { /* evicted, or its node is gone: no container tells */
            bool is_evicted = text_equal(text_at(status, "reason"), TEXT("Evicted"));
            say(pod, is_evicted ? "evicted" : "failed", text_at(status, "message"));
            pod->exit_code = -1;
        }
        pod->phase = KUBE_ENDED;
    }
}

static bool read_pod(const struct json *object, struct kube_pod *pod)
{
    const struct json *metadata = json_member(object, "metadata");
    *pod = (struct kube_pod){.exit_code = -1};
    if (!copy_name(pod->name, sizeof(pod->name), text_at(metadata, "name")))
        return false;
    pod->is_deleting = text_at(metadata, "deletionTimestamp").len > 0;
    read_labels(json_member(metadata, "labels"), pod);
    read_status(json_member(object, "status"), pod);
    return true;
}

bool kube_read_pod(struct text body, struct kube_pod *into)
{
    struct json_problem problem;
    struct json *root = json_read(body, &problem);
    bool good = read_pod(root, into);
    json_free(root);
    return good;
}

bool kube_read_list(struct text body, char version[KUBE_VERSION_MAX],
                    void (*on_each)(void *with, const struct kube_pod *pod), void *with)
{
    struct json_problem problem;
    struct kube_pod pod;
    struct json *root = json_read(body, &problem);
    const struct json *items = json_member(root, "items");
    bool good = copy_name(version, KUBE_VERSION_MAX,
                          text_at(json_member(root, "metadata"), "resourceVersion"));
    for (size_t i = 0; good && i < json_count(items) && i < LIST_MAX; i++)
        if (read_pod(json_item(items, i), &pod))
            on_each(with, &pod);
    json_free(root);
    return good;
}

bool kube_read_event(struct text line, struct kube_event *into)
{
    static const char *const changes[] = {"ADDED", "MODIFIED", "DELETED", "BOOKMARK", "ERROR"};
    struct json_problem problem;
    struct json *root = json_read(line, &problem);
    const struct json *object = json_member(root, "object");
    struct text type = text_at(root, "type");
    bool good = false;
    *into = (struct kube_event){.change = KUBE_ERROR};
    for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++)
        if (text_equal(type, text_of(changes[i]))) {
            into->change = (enum kube_change)i;
            good = object != NULL;
        }
    if (good && into->change == KUBE_ERROR) {
        int64_t code = number_at(object, "code", 0);
        into->code = code > 0 && code < 1000 ? (unsigned)code : 0;
        copy_words(into->words, sizeof(into->words), text_at(object, "message"));
    } else if (good) {
        copy_name(into->version, sizeof(into->version),
                  text_at(json_member(object, "metadata"), "resourceVersion"));
        good = into->change == KUBE_BOOKMARK || read_pod(object, &into->pod);
    }
    json_free(root);
    return good;
}

/* -------------------------------------------------------------------------------- others */

static unsigned count_at(const struct json *object, const char *name)
{
    int64_t count = number_at(object, name, 0);
    return count > 0 && count < LIST_MAX ? (unsigned)count : 0;
}

bool kube_read_scale(struct text body, struct kube_scale *into)
{
    struct json_problem problem;
    struct json *root = json_read(body, &problem);
    const struct json *status = json_member(root, "status");
    struct text selector = text_at(status, "selector");
    bool good = selector.len > 0 && selector.len < sizeof(into->selector);
    *into = (struct kube_scale){.wanted = count_at(json_member(root, "spec"), "replicas"),
                                .there = count_at(status, "replicas")};
    if (good)
        copy_words(into->selector, sizeof(into->selector), selector);
    json_free(root);
    return good;
}

void kube_read_error(struct text body, unsigned status, char words[LAUNCH_WORDS_MAX],
                     char reason[LAUNCH_REASON_MAX])
{
    struct json_problem problem;
    struct json *root = json_read(body, &problem);
    struct text message = text_at(root, "message");
    reason[0] = '\0';
    copy_name(reason, LAUNCH_REASON_MAX, text_at(root, "reason"));
    if (message.len)
        copy_words(words, LAUNCH_WORDS_MAX, message);
    else
        snprintf(words, LAUNCH_WORDS_MAX, "the API server answers %u", status);
    json_free(root);
}

/* RFC 3339, in UTC: sorts as text. */
static bool is_earlier(struct text a, struct text b)
{
    int order = memcmp(a.at, b.at, a.len < b.len ? a.len : b.len);
    return order < 0 || (order == 0 && a.len < b.len);
}

bool kube_read_warning(struct text body, char words[LAUNCH_WORDS_MAX])
{
    struct json_problem problem;
    struct json *root = json_read(body, &problem);
    const struct json *items = json_member(root, "items"), *newest = NULL;
    struct text latest = TEXT("");
    for (size_t i = 0; i < json_count(items) && i < LIST_MAX; i++) {
        const struct json *each = json_item(items, i);
        struct text when = text_at(each, "lastTimestamp");
        if (!text_equal(text_at(each, "type"), TEXT("Warning")))
            continue;
        if (!newest || !is_earlier(when, latest)) {
            newest = each;
            latest = when;
        }
    }
    if (newest) {
        struct text reason = text_at(newest, "reason"), message = text_at(newest, "message");
        char line[LAUNCH_WORDS_MAX];
        snprintf(line, sizeof(line), "%.*s: %.*s", (int)(reason.len < 64 ? reason.len : 64),
                 reason.at, (int)(message.len < sizeof(line) ? message.len : sizeof(line)),
                 message.at);
        copy_words(words, LAUNCH_WORDS_MAX, text_of(line));
    }
    json_free(root);
    return newest != NULL;
}

bool kube_read_line(struct text line, struct text *when, struct text *what)
{
    size_t space = text_find_byte(line, ' ');
    if (space == SIZE_MAX || space < sizeof("2006-01-02T15:04:05Z") - 1 || line.at[10] != 'T' ||
        line.at[0] < '0' || line.at[0] > '9')
        return false;
    *when = text_head(line, space);
    *what = text_from(line, space + 1);
    return true;
}
