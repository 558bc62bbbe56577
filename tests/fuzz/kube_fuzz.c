/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What an API server of Kubernetes says - pods, lists, watches, refusals, events, lines of logs -
 * is taken or refused, and what is kept of it can stand in a path, an address and a log.
 */

#include <assert.h>
#include <string.h>

#include "deploy/models/kube_read.h"
#include "gateway/base/memory.h"

static void check_words(const char *words, size_t room)
{
    assert(memchr(words, '\0', room));
    for (const char *c = words; *c; c++)
        assert((unsigned char)*c >= 0x20 && *c != 0x7F);
}

static void check_name(const char *name, size_t room)
{
    check_words(name, room);
    assert(!strpbrk(name, " /?%#"));
}

static void check_pod(void *with, const struct kube_pod *pod)
{
    (void)with;
    assert(*pod->name);
    check_name(pod->name, sizeof(pod->name));
    check_name(pod->launch.deployment, sizeof(pod->launch.deployment));
    check_name(pod->launch.replica, sizeof(pod->launch.replica));
    check_name(pod->host, sizeof(pod->host));
    check_words(pod->reason, sizeof(pod->reason));
    check_words(pod->words, sizeof(pod->words));
    assert(pod->exit_code >= -1 && pod->exit_code <= 255);
    assert(pod->signal >= 0 && pod->signal <= 64 && pod->port <= 65535);
}

static void check_line(struct text line)
{
    struct text when, what;
    if (!kube_read_line(line, &when, &what))
        return;
    assert(when.at == line.at && what.at + what.len == line.at + line.len);
    assert(when.len + 1 + what.len == line.len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct text body = {(const char *)data, size};
    struct kube_pod *pod = memory_new(sizeof(*pod));
    struct kube_event *event = memory_new(sizeof(*event));
    char version[KUBE_VERSION_MAX] = "", words[LAUNCH_WORDS_MAX] = "", reason[LAUNCH_REASON_MAX];
    if (kube_read_pod(body, pod))
        check_pod(NULL, pod);
    if (kube_read_list(body, version, check_pod, NULL))
        check_name(version, sizeof(version));
    if (kube_read_event(body, event)) {
        check_name(event->version, sizeof(event->version));
        check_words(event->words, sizeof(event->words));
        assert(event->code < 1000);
        if (event->change <= KUBE_DELETED)
            check_pod(NULL, &event->pod);
    }
    kube_read_error(body, 500, words, reason);
    check_words(words, sizeof(words));
    check_name(reason, sizeof(reason));
    if (kube_read_warning(body, words))
        check_words(words, sizeof(words));
    check_line(body);
    memory_free(event);
    memory_free(pod);
    return 0;
}
