/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A launcher alone, driven by lines of JSON on standard input; tests/launch/driver.py speaks with
 * it.
 *
 *   driver KIND name=value …      docker; fields of struct node_spec,
 * owner=, state=
 *
 *   {"do":"start","deployment":…,"replica":…,"revision":…,"digest":…,"image":…,"command":[…], …}
 *   {"do":"adopt", the same}      of one that was found
 *   {"do":"stop","replica":…,"grace_ms":…}
 *   {"do":"forget","replica":…}
 *   {"do":"close"}                as the end of input
 *
 * It says {"say":"report"|"line"|"found"|"looked"|"fault"|"closed", …}.
 */
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "deploy/models/launcher.h"
#include "gateway/base/json.h"
#include "gateway/base/log.h"
#include "gateway/base/memory.h"

enum { INPUT_BYTES = 1024 * 1024, LAUNCHES_MAX = 1024, LIST_MAX = 64 };

struct known {
    struct launch_name name;
    struct launch *launch;
};

struct driver {
    struct watch watch;
    struct loop *loop;
    const struct launcher_kind *kind;
    struct launcher *launcher;
    struct buffer in;
    struct known known[LAUNCHES_MAX];
    size_t count;
};

static struct driver driver;

/* ------------------------------------------------------------------------------ output */

static void put_text(const char *name, struct text t)
{
    struct buffer out;
    buffer_init(&out, 128 * 1024);
    json_write_string(&out, t);
    printf(",\"%s\":%.*s", name, TEXT_ARGS(buffer_text(&out)));
    buffer_done(&out);
}

static void put_name(const struct launch_name *name)
{
    put_text("deployment", text_of(name->deployment));
    put_text("replica", text_of(name->replica));
    printf(",\"revision\":%u,\"digest\":%" PRIu64, name->revision, name->digest);
}

static struct known *known_of(const struct launch *launch)
{
    for (size_t i = 0; i < driver.count; i++)
        if (driver.known[i].launch == launch)
            return &driver.known[i];
    return NULL;
}

static const char *stage_name(enum launch_stage stage)
{
    static const char *const names[] = {[LAUNCH_PULLING] = "pulling",
                                        [LAUNCH_PLACING] = "placing",
                                        [LAUNCH_RUNNING] = "running",
                                        [LAUNCH_LOST] = "lost",
                                        [LAUNCH_ENDED] = "ended"};
    return names[stage];
}

static void on_report(void *with, struct launch *launch, const struct launch_report *report)
{
    const struct known *known = known_of(launch);
    (void)with;
    printf("{\"say\":\"report\",\"stage\":\"%s\"", stage_name(report->stage));
    put_text("replica", text_of(known ? known->name.replica : "?"));
    printf(",\"permille\":%d,\"exit\":%d,\"signal\":%d,\"oom\":%d,\"final\":%d,\"memory\":%" PRId64,
           report->progress_permille, report->exit_code, report->signal, report->oom,
           report->is_final, report->memory_bytes);
    put_text("reason", text_of(report->reason));
    put_text("words", text_of(report->words));
    put_text("host", text_of(report->address.host));
    printf(",\"port\":%u,\"unix\":%d}\n", report->address.port, report->address.is_unix);
}

static void on_line(void *with, struct launch *launch, bool error, struct text line)
{
    const struct known *known = known_of(launch);
    (void)with;
    printf("{\"say\":\"line\",\"error\":%d", error);
    put_text("replica", text_of(known ? known->name.replica : "?"));
    put_text("line", line);
    printf("}\n");
}

static void remember(const struct launch_name *name, struct launch *launch)
{
    if (driver.count == LAUNCHES_MAX)
        abort();
    driver.known[driver.count++] = (struct known){*name, launch};
}

static void on_found(void *with, struct launcher *launcher, const struct launch_name *name,
                     struct launch *launch)
{
    (void)with;
    (void)launcher;
    remember(name, launch);
    printf("{\"say\":\"found\"");
    put_name(name);
    printf("}\n");
}

static void on_looked(void *with, struct launcher *launcher, bool reachable)
{
    (void)with;
    (void)launcher;
    printf("{\"say\":\"looked\",\"reachable\":%d}\n", reachable);
}

/* ------------------------------------------------------------------------------- input */

static struct text text_at(const struct json *object, const char *name)
{
    struct text text = TEXT("");
    json_to_text(json_member(object, name), &text);
    return text;
}

static int64_t number_at(const struct json *object, const char *name)
{
    int64_t number = 0;
    json_to_int(json_member(object, name), INT64_MIN, INT64_MAX, &number);
    return number;
}

static struct deployment_spec *spec_of(const struct json *order)
{
    struct text command[LIST_MAX];
    struct spec_pair env[LIST_MAX];
    struct adapter_spec adapters[LIST_MAX];
    const struct json *list = json_member(order, "command"), *value;
    struct deployment_spec spec = {.command = command, .env = env, .adapters = adapters};
    spec.name = text_at(order, "deployment");
    spec.image = text_at(order, "image");
    spec.registry_user = text_at(order, "user");
    spec.registry_password = text_at(order, "password");
    spec.container_port = (unsigned)number_at(order, "port");
    spec.resources.memory_bytes = number_at(order, "memory");
    spec.resources.cpus_milli = number_at(order, "cpus_milli");
    spec.resources.gpus = number_at(order, "gpus");
    spec.digest = (uint64_t)number_at(order, "digest");
    spec.launcher = driver.kind->word;
    for (; spec.command_count < json_count(list); spec.command_count++)
        json_to_text(json_item(list, spec.command_count), &command[spec.command_count]);
    list = json_member(order, "env");
    for (void *at = NULL; json_next(list, &at, &env[spec.env_count].name, &value);)
        json_to_text(value, &env[spec.env_count++].value);
    list = json_member(order, "adapters");
    for (; spec.adapter_count < json_count(list); spec.adapter_count++) {
        adapters[spec.adapter_count].name = TEXT("adapter");
        json_to_text(json_item(list, spec.adapter_count), &adapters[spec.adapter_count].source);
    }
    return spec_copy(&spec);
}

static void copy_name(char *into, size_t room, struct text name)
{
    snprintf(into, room, "%.*s", TEXT_ARGS(name));
}

static void run_start(const struct json *order)
{
    struct launch_name name = {.revision = (unsigned)number_at(order, "revision"),
                               .digest = (uint64_t)number_at(order, "digest")};
    struct deployment_spec *spec = spec_of(order);
    copy_name(name.deployment, sizeof(name.deployment), text_at(order, "deployment"));
    copy_name(name.replica, sizeof(name.replica), text_at(order, "replica"));
    remember(&name, driver.kind->start(driver.launcher, &name, spec, NULL));
    spec_unref(spec);
}

static void run_known(const struct json *order, struct text what)
{
    struct text replica = text_at(order, "replica");
    size_t i = driver.count;
    while (i > 0 && !text_equal(text_of(driver.known[i - 1].name.replica), replica))
        i--;
    if (i == 0)
        return;
    struct launch *launch = driver.known[i - 1].launch;
    if (text_equal(what, TEXT("stop"))) {
        driver.kind->stop(launch, 1000 * number_at(order, "grace_ms"));
    } else if (text_equal(what, TEXT("forget"))) {
        driver.known[i - 1] = driver.known[--driver.count];
        driver.kind->forget(launch);
    } else if (text_equal(what, TEXT("adopt"))) {
        struct deployment_spec *spec = spec_of(order);
        driver.kind->adopt(launch, spec, NULL);
        spec_unref(spec);
    }
}

static void run_line(struct text line)
{
    struct json_problem problem;
    struct json *order = json_read(line, &problem);
    struct text what = text_at(order, "do");
    if (text_equal(what, TEXT("start")))
        run_start(order);
    else if (text_equal(what, TEXT("close")))
        loop_stop(driver.loop);
    else
        run_known(order, what);
    json_free(order);
}

static void on_input(struct watch *watch, unsigned events)
{
    (void)events;
    char *room = buffer_room(&driver.in, 65536);
    ssize_t got = room ? read(watch->fd, room, 65536) : 0;
    if (got <= 0) {
        loop_stop(driver.loop);
        return;
    }
    buffer_grow(&driver.in, (size_t)got);
    for (;;) {
        struct text held = buffer_text(&driver.in);
        size_t end = text_find_byte(held, '\n');
        if (end == SIZE_MAX)
            break;
        run_line(text_head(held, end));
        buffer_drop(&driver.in, end + 1);
    }
}

static void on_round(void *with)
{
    (void)with;
    fflush(stdout);
}

/* ------------------------------------------------------------------------------- begin */

static void read_option(struct node_spec *node, struct launcher_site *site, char *option)
{
    char *value = strchr(option, '=');
    if (!value)
        abort();
    struct text name = {option, (size_t)(value - option)};
    const struct {
        struct text name;
        struct text *into;
    } rows[] = {{TEXT("endpoint"), &node->endpoint},     {TEXT("ca_file"), &node->ca_file},
                {TEXT("cert_file"), &node->cert_file},   {TEXT("key_file"), &node->key_file},
                {TEXT("token_file"), &node->token_file}, {TEXT("namespace"), &node->name_space}};
    value++;
    if (text_equal(name, TEXT("owner")))
        site->owner = value;
    else if (text_equal(name, TEXT("state")))
        site->state_dir = value;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        if (text_equal(name, rows[i].name))
            *rows[i].into = text_of(value);
}

static const struct launcher_kind *kind_of(const char *name)
{
    static const struct launcher_kind *const kinds[] = {&launch_docker, &launch_kubernetes};
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
        if (strcmp(kinds[i]->name, name) == 0)
            return kinds[i];
    abort();
}

static bool run(const struct launcher_site *site, const struct node_spec *node)
{
    struct fault fault = {0};
    driver.launcher = driver.kind->open(site, node, &fault);
    if (!driver.launcher) {
        printf("{\"say\":\"fault\"");
        put_text("words", text_of(fault.text));
        printf("}\n");
        return false;
    }
    driver.watch = (struct watch){.fd = STDIN_FILENO, .on_event = on_input};
    loop_add_level(driver.loop, &driver.watch, LOOP_READ);
    loop_run(driver.loop, on_round, NULL);
    driver.kind->close(driver.launcher);
    loop_clear(driver.loop);
    printf("{\"say\":\"closed\"}\n");
    return true;
}

int main(int count, char **words)
{
    struct launcher_ears ears = {
        .on_report = on_report, .on_line = on_line, .on_found = on_found, .on_looked = on_looked};
    struct launcher_site site = {.state_dir = ".", .owner = "tests", .leave = true, .ears = ears};
    struct node_spec node = {.name = TEXT("node")};
    if (count < 2)
        abort();
    driver.kind = kind_of(words[1]);
    node.launcher = driver.kind->word;
    for (int i = 2; i < count; i++)
        read_option(&node, &site, words[i]);
    signal(SIGPIPE, SIG_IGN); /* as the gateway does: OpenSSL writes without asking */
    log_set_level(LOG_DEBUG);
    site.loop = driver.loop = loop_new();
    struct dns *dns = dns_new(driver.loop);
    site.upstreams = upstreams_new(driver.loop, dns);
    buffer_init(&driver.in, INPUT_BYTES);
    bool good = run(&site, &node);
    upstreams_free(site.upstreams);
    dns_free(dns);
    loop_free(driver.loop);
    buffer_done(&driver.in);
    return good ? 0 : 1;
}
