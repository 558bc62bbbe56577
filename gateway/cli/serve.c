/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "gateway/base/clock.h"
#include "gateway/base/memory.h"
#include "gateway/base/quantity.h"
#include "gateway/base/version.h"
#include "gateway/cli/cli.h"
#include "gateway/cli/commands.h"
#include "gateway/handoff.h"
#include "gateway/mock/mock.h"
#include "gateway/successor.h"
#include "gateway/supervisor.h"
#include "gateway/worker.h"

/* ------------------------------------------------------------------------------- check */

struct check {
    bool strict, quiet, json;
    struct config_options load;
};

static void print_plural(FILE *out, size_t n, const char *what, const char *before)
{
    fprintf(out, "%s%zu %s%s", before, n, what, n == 1 ? "" : "s");
}

static void print_good(const char *path, const struct config *config, unsigned warnings)
{
    printf("%s: ok (", path);
    print_plural(stdout, config->listener_count, "listener", "");
    print_plural(stdout, config->provider_count, "provider", ", ");
    print_plural(stdout, config->model_count, "model", ", ");
    print_plural(stdout, config->tenant_count, "tenant", ", ");
    print_plural(stdout, config->key_count, "key", ", ");
    if (warnings > 0)
        print_plural(stdout, warnings, "warning", "; ");
    fputs(")\n", stdout);
}

static int check_file(struct check *check, const char *path)
{
    check->load.path = path;
    struct config_result result = config_load(&check->load);
    if (result.config == NULL) {
        if (!check->json)
            fprintf(stderr, "%s: %u error%s, %u warning%s\n", path, result.errors,
                    result.errors == 1 ? "" : "s", result.warnings,
                    result.warnings == 1 ? "" : "s");
        return EXIT_FAILED;
    }
    /* Who checks is often not where it will run, as in a pipeline: no more than a warning. */
    struct fault fault;
    if (!worker_can_use(result.config, &fault)) {
        config_say(&check->load, SEVERITY_WARNING, fault.text);
        result.warnings++;
    }
    if (!check->quiet && !check->json)
        print_good(path, result.config, result.warnings);
    config_unref(result.config);
    return check->strict && result.warnings > 0 ? EXIT_WARNINGS : EXIT_GOOD;
}

static int complain_no_config(void)
{
    complaint_print(
        "no configuration: neither -c FILE nor $SLUICE_CONFIG, no ./sluice.yaml, no "
        "/etc/sluice/sluice.yaml\nTry: sluice quickstart, or: sluice init > sluice.yaml");
    return EXIT_BAD_CONFIG;
}

int command_check(struct cli *cli)
{
    const char *format = cli_value(cli, "format");
    struct check check = {.strict = cli_has(cli, "strict"),
                          .quiet = cli_has(cli, "quiet"),
                          .json = format != NULL && strcmp(format, "json") == 0};
    if (format != NULL && !check.json && strcmp(format, "text") != 0)
        return cli_misuse(cli, "--format is text or json, not \"%s\"", format);
    check.load = (struct config_options){.allow_inert = cli_has(cli, "allow-inert"),
                                         .words = check.json ? stdout : stderr,
                                         .json = check.json};
    const char *usual = cli_config_path(cli);
    if (cli->argc == 0) {
        if (usual != NULL)
            return check_file(&check, usual);
        complain_no_config();
        return EXIT_FAILED;
    }
    int worst = EXIT_GOOD; /* errors before warnings */
    for (int i = 0; i < cli->argc; i++) {
        int code = check_file(&check, cli_file(cli->argv[i]));
        if (code == EXIT_FAILED || worst == EXIT_GOOD)
            worst = code;
    }
    return worst;
}

/* ------------------------------------------------------------------------------- run */

int command_run(struct cli *cli)
{
    struct supervisor_options options = {.started_us = clock_now_us()};
    if (cli->config != NULL && strcmp(cli->config, "-") == 0)
        return cli_misuse(cli, "a reload reads the configuration again: -c must name a file here");
    struct config_options load = {
        .path = cli_config_path(cli), .allow_inert = cli_has(cli, "allow-inert"), .words = stderr};
    if (handoff_is_there())
        return successor_run(&load);
    if (load.path == NULL)
        return complain_no_config();
    supervisor_hold_signals();
    struct config_result result = config_load(&load);
    if (result.config == NULL) {
        complaint_print("%s: %u error%s; not started", load.path, result.errors,
                        result.errors == 1 ? "" : "s");
        return EXIT_BAD_CONFIG;
    }
    struct fault fault;
    if (!worker_can_use(result.config, &fault)) {
        config_say(&load, SEVERITY_ERROR, fault.text);
        complaint_print("%s: 1 error; not started", load.path);
        config_unref(result.config);
        return EXIT_BAD_CONFIG;
    }
    options.config = result.config;
    options.load = &load;
    int code = supervisor_run(&options);
    config_unref(result.config);
    return code;
}

/* ------------------------------------------------------------------------------- quickstart */

static void print_providers(const struct config *config)
{
    bool any_off = false;
    fputs("  providers  ", stderr);
    for (size_t i = 0, shown = 0; i < config->provider_count; i++) {
        const struct provider_settings *provider = &config->providers[i];
        any_off = any_off || provider->off;
        if (provider->off)
            continue;
        fprintf(stderr, "%s%.*s", shown++ > 0 ? " · " : "", TEXT_ARGS(provider->name));
        const char *variable = provider->type->key_variable;
        if (variable != NULL && provider->api_key.len > 0 && getenv(variable) != NULL)
            fprintf(stderr, " (%s)", variable);
    }
    fputs(any_off ? "\n  off        " : "\n", stderr);
    for (size_t i = 0, shown = 0; i < config->provider_count; i++) {
        const struct provider_settings *provider = &config->providers[i];
        if (!provider->off)
            continue;
        const char *variable = provider->type->key_variable;
        fprintf(stderr, "%s%.*s%s%s", shown++ > 0 ? " · " : "", TEXT_ARGS(provider->name),
                variable != NULL ? ": set " : "", variable != NULL ? variable : "");
    }
    if (any_off)
        fputc('\n', stderr);
}

static const char *api_address(const struct config *config)
{
    for (size_t i = 0; i < config->listener_count; i++)
        if ((config->listeners[i].serve & SERVE_API) != 0)
            return config->listeners[i].address;
    return "127.0.0.1:8080";
}

static void print_banner(const struct config *config, uint64_t took_us)
{
    const char *address = api_address(config);
    print_providers(config);
    fprintf(stderr,
            "  store      embedded, %s\n"
            "  keys       none needed while there is no tenant: only this machine can connect\n"
            "\n"
            "  API        http://%s/v1\n"
            "  dashboard  http://%s/ui/ (with the admin key, shown at the first start)\n"
            "\n"
            "  Try:  curl %s/v1/chat/completions -H 'content-type: application/json' \\\n"
            "          -d '{\"model\":\"mock\",\"messages\":[{\"role\":\"user\",\"content\":"
            "\"hi\"}]}'\n"
            "        sluice chat mock \"hi\"      eval \"$(sluice env openai)\"      "
            "sluice init > sluice.yaml\n"
            "ready in %llu ms\n",
            config->database, address, address, address,
            (unsigned long long)(took_us + 999) / 1000);
}

int command_quickstart(struct cli *cli)
{
    if (cli->config != NULL)
        return cli_misuse(cli, "quickstart reads no configuration; with one: sluice -c %s run",
                          cli->config);
    struct config_options load = {.quickstart = true, .allow_inert = true, .words = stderr};
    struct supervisor_options options = {
        .load = &load, .on_ready = print_banner, .started_us = clock_now_us()};
    if (handoff_is_there())
        return successor_run(&load);
    fprintf(stderr, "sluice %s - no configuration, running with what is here\n", PROGRAM_VERSION);
    supervisor_hold_signals();
    struct config_result result = config_load(&load);
    if (result.config == NULL)
        return EXIT_BAD_CONFIG;
    options.config = result.config;
    int code = supervisor_run(&options);
    config_unref(result.config);
    return code;
}

/* ------------------------------------------------------------------------------- mock */

/* An option that is a whole number; left alone when it is not given. */
static bool read_count(const struct cli *cli, const char *option, int64_t *count)
{
    const char *word = cli_value(cli, option);
    uint64_t number = 0;
    if (word == NULL)
        return true;
    if (!text_number(text_of(word), INT32_MAX, &number))
        return false;
    *count = (int64_t)number;
    return true;
}

int command_mock(struct cli *cli)
{
    static const int64_t first_byte_us_max = 3600 * (int64_t)1000000;
    int64_t seed = 0;
    struct mock_options options = {.address = cli_value(cli, "address"),
                                   .quiet = cli_has(cli, "quiet")};
    if (cli_has(cli, "words")) {
        mock_words(stdout);
        return EXIT_GOOD;
    }
    const char *first_byte = cli_value(cli, "first-byte");
    if (first_byte && (!duration_read(text_of(first_byte), &options.ttft_us) ||
                       options.ttft_us > first_byte_us_max))
        return cli_misuse(cli,
                          "--first-byte takes a time with its unit, at most 1h: 200ms or 1s, not "
                          "\"%s\"",
                          first_byte);
    if (!read_count(cli, "rate", &options.tokens_per_second) ||
        !read_count(cli, "tokens", &options.tokens) || !read_count(cli, "seed", &seed))
        return cli_misuse(cli, "--rate, --tokens and --seed take whole numbers");
    options.seed = (uint64_t)seed;
    if (!mock_may_listen(options.address))
        return cli_misuse(cli, "--address is IP:PORT or unix:/PATH, not \"%s\"", options.address);
    return mock_serve(&options);
}
