/* SPDX-License-Identifier: Apache-2.0 */
/*
 * driver - one launcher on a loop of its own, told what to do on stdin, and telling what it hears
 * on stdout, a JSON object a line. For the tests of launchers.
 *
 *   driver KIND OWNER STATE_DIR [endpoint=…] [namespace=…] [ca=…] [token=…] [leave]
 *
 *   start DEPLOYMENT REPLICA REVISION IMAGE GRACE_MS [user=U] [password=P] [memory=BYTES] [env=A=B]
 * ARGUMENT… stop REPLICA GRACE_MS · forget REPLICA · adopt REPLICA · quit
 */
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "deploy/models/launcher.h"
#include "gateway/base/json.h"
#include "gateway/base/log.h"
#include "gateway/base/memory.h"

enum { LAUNCHES_MAX = 64, WORDS_MAX = 48, LINE_BYTES = 65536 };

static struct loop *loop;
static const struct launcher_kind *kind;
static struct launcher *launcher;
static struct known {
    char replica[24];
    struct launch *launch;
    struct deployment_spec *spec;
} known[LAUNCHES_MAX];
static char line[LINE_BYTES];
static size_t line_len;

static struct known *find(const char *replica)
{
    for (size_t i = 0; i < LAUNCHES_MAX; i++)
        if (known[i].launch && strcmp(known[i].replica, replica) == 0)
            return &known[i];
    return NULL;
}

static struct known *find_launch(const struct launch *launch)
{
    for (size_t i = 0; i < LAUNCHES_MAX; i++)
        if (known[i].launch == launch)
            return &known[i];
    return NULL;
}

static struct known *keep(const char *replica, struct launch *launch)
{
    for (size_t i = 0; i < LAUNCHES_MAX; i++)
        if (!known[i].launch) {
            snprintf(known[i].replica, sizeof known[i].replica, "%s", replica);
            known[i].launch = launch;
            return &known[i];
        }
    abort();
}

static void say_string(const char *name, struct text value)
{
    struct buffer out;
    buffer_init(&out, 1 << 20);
    json_write_string(&out, value);
    printf(",\"%s\":%.*s", name, TEXT_ARGS(buffer_text(&out)));
    buffer_done(&out);
}

static void on_report(void *with, struct launch *launch, const struct launch_report *report)
{
    static const char *const stages[] = {"pulling", "placing", "running", "lost", "ended"};
    struct known *it = find_launch(launch);
    (void)with;
    printf("{\"said\":\"%s\"", stages[report->stage]);
    say_string("replica", text_of(it ? it->replica : "?"));
    say_string("reason", text_of(report->reason));
    say_string("words", text_of(report->words));
    say_string("host", text_of(report->address.host));
    printf(",\"port\":%u,\"exit\":%d,\"signal\":%d,\"oom\":%s,\"final\":%s,\"progress\":%d,"
           "\"memory\":%" PRId64 "}\n",
           report->address.port, report->exit_code, report->signal, report->oom ? "true" : "false",
           report->is_final ? "true" : "false", report->progress_permille, report->memory_bytes);
    fflush(stdout);
}

static void on_line(void *with, struct launch *launch, bool error, struct text text)
{
    struct known *it = find_launch(launch);
    (void)with;
    printf("{\"said\":\"line\",\"error\":%s", error ? "true" : "false");
    say_string("replica", text_of(it ? it->replica : "?"));
    say_string("line", text);
    printf("}\n");
    fflush(stdout);
}

static void on_found(void *with, struct launcher *from, const struct launch_name *name,
                     struct launch *launch)
{
    (void)with;
    (void)from;
    keep(name->replica, launch);
    printf("{\"said\":\"found\",\"revision\":%u,\"digest\":\"%016" PRIx64 "\"", name->revision,
           name->digest);
    say_string("replica", text_of(name->replica));
    say_string("deployment", text_of(name->deployment));
    printf("}\n");
    fflush(stdout);
}

static void on_looked(void *with, struct launcher *from, bool reachable)
{
    (void)with;
    (void)from;
    printf("{\"said\":\"looked\",\"reachable\":%s}\n", reachable ? "true" : "false");
    fflush(stdout);
}

static bool option(const char *word, const char *name, struct text *value)
{
    size_t len = strlen(name);
    if (strncmp(word, name, len) != 0 || word[len] != '=')
        return false;
    *value = text_of(word + len + 1);
    return true;
}

static struct deployment_spec *spec_of(char **words, int count)
{
    struct text arguments[WORDS_MAX], pair, number;
    struct spec_pair env[WORDS_MAX];
    struct deployment_spec spec = {.references = 1,
                                   .name = text_of(words[1]),
                                   .launcher = kind->word,
                                   .image = text_of(words[4]),
                                   .command = arguments,
                                   .env = env};
    spec.probe.path = TEXT("/health");
    spec.stop.grace_us = strtoll(words[5], NULL, 10) * 1000;
    for (int i = 6; i < count; i++) {
        uint64_t bytes = 0;
        if (option(words[i], "user", &spec.registry_user) ||
            option(words[i], "password", &spec.registry_password))
            continue;
        if (option(words[i], "memory", &number) && text_number(number, INT64_MAX, &bytes)) {
            spec.resources.memory_bytes = (int64_t)bytes;
        } else if (option(words[i], "env", &pair)) {
            size_t at = text_find_byte(pair, '=');
            env[spec.env_count++] =
                (struct spec_pair){text_head(pair, at), text_from(pair, at + 1)};
        } else {
            arguments[spec.command_count++] = text_of(words[i]);
        }
    }
    return spec_copy(&spec);
}

static void obey(char *text)
{
    char *words[WORDS_MAX], *rest = NULL;
    int count = 0;
    for (char *word = strtok_r(text, " ", &rest); word && count < WORDS_MAX;
         word = strtok_r(NULL, " ", &rest))
        words[count++] = word;
    if (count >= 6 && strcmp(words[0], "start") == 0) {
        struct launch_name name = {.revision = (unsigned)atoi(words[3])};
        snprintf(name.deployment, sizeof name.deployment, "%s", words[1]);
        snprintf(name.replica, sizeof name.replica, "%s", words[2]);
        struct deployment_spec *spec = spec_of(words, count);
        name.digest = spec_digest(spec);
        struct launch *launch = kind->start(launcher, &name, spec, NULL);
        keep(words[2], launch)->spec = spec;
    } else if (count >= 2 && find(words[1])) {
        struct known *it = find(words[1]);
        if (strcmp(words[0], "stop") == 0 && count > 2)
            kind->stop(it->launch, strtoll(words[2], NULL, 10) * 1000);
        else if (strcmp(words[0], "adopt") == 0 && count > 5) {
            it->spec = spec_of(words, count);
            kind->adopt(it->launch, it->spec, NULL);
        } else if (strcmp(words[0], "forget") == 0) {
            kind->forget(it->launch);
            if (it->spec)
                spec_unref(it->spec);
            *it = (struct known){0};
        }
    } else if (count && strcmp(words[0], "quit") == 0) {
        loop_stop(loop);
    }
}

static void on_input(struct watch *watch, unsigned events)
{
    ssize_t got;
    (void)events;
    while ((got = read(watch->fd, line + line_len, sizeof line - line_len)) > 0) {
        line_len += (size_t)got;
        for (char *end; (end = memchr(line, '\n', line_len)) != NULL;) {
            size_t used = (size_t)(end - line) + 1;
            *end = '\0';
            obey(line);
            line_len -= used;
            memmove(line, line + used, line_len);
        }
    }
    if (got == 0)
        loop_stop(loop);
}

int main(int argc, char **argv)
{
    static const enum launcher_word words[] = {LAUNCH_BY_PROCESS, LAUNCH_BY_DOCKER,
                                               LAUNCH_BY_KUBERNETES};
    struct node_spec node = {.name = TEXT("node")};
    struct fault fault = {0};
    if (argc < 4)
        return 2;
    for (size_t i = 0; i < 3; i++)
        if (launcher_kind_of(words[i]) && strcmp(launcher_kind_of(words[i])->name, argv[1]) == 0)
            kind = launcher_kind_of(words[i]);
    if (!kind)
        return 2;
    loop = loop_new();
    struct launcher_site site = {.loop = loop,
                                 .owner = argv[2],
                                 .state_dir = argv[3],
                                 .ears = {.on_report = on_report,
                                          .on_line = on_line,
                                          .on_found = on_found,
                                          .on_looked = on_looked}};
    for (int i = 4; i < argc; i++) {
        if (strcmp(argv[i], "leave") == 0)
            site.leave = true;
        else if (!option(argv[i], "endpoint", &node.endpoint) &&
                 !option(argv[i], "namespace", &node.name_space) &&
                 !option(argv[i], "ca", &node.ca_file) &&
                 !option(argv[i], "token", &node.token_file))
            return 2;
    }
    struct dns *dns = dns_new(loop);
    site.upstreams = upstreams_new(loop, dns);
    launcher = kind->open(&site, &node, &fault);
    if (!launcher) {
        fprintf(stderr, "%s\n", fault.text);
        return 1;
    }
    struct watch watch = {.fd = STDIN_FILENO, .on_event = on_input};
    fcntl(STDIN_FILENO, F_SETFL, fcntl(STDIN_FILENO, F_GETFL) | O_NONBLOCK);
    loop_add(loop, &watch);
    loop_run(loop, NULL, NULL);
    loop_remove(loop, &watch);
    kind->close(launcher);
    loop_clear(loop);
    for (size_t i = 0; i < LAUNCHES_MAX; i++)
        if (known[i].spec)
            spec_unref(known[i].spec);
    upstreams_free(site.upstreams);
    dns_free(dns);
    loop_free(loop);
    return 0;
}
