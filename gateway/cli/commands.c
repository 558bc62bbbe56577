/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/cli/commands.h"

#include "gateway/cli/cli.h"

#define END_OF_OPTIONS      \
    {                       \
        NULL, 0, NULL, NULL \
    }

/* clang-format off */

static const struct cli_option run_options[] = {
    {"allow-inert", 0, NULL, "settings that protect but are not in force yet are warnings only"},
    END_OF_OPTIONS,
};

static const struct cli_option check_options[] = {
    {"strict", 0, NULL, "warnings count: exit with 3"},
    {"allow-inert", 0, NULL, "settings that protect but are not in force yet are warnings only"},
    {"format", 'f', "text|json", "json: one object per problem, on stdout"},
    {"quiet", 'q', NULL, "say nothing when all is well"},
    END_OF_OPTIONS,
};

static const struct cli_option wait_options[] = {
    {"wait", 'w', NULL, "return when it has ended"},
    END_OF_OPTIONS,
};

static const struct cli_option status_options[] = {
    {"watch", 'w', NULL, "again every two seconds"},
    {"format", 'f', "table|json", "how to print it"},
    END_OF_OPTIONS,
};

static const struct cli_option health_options[] = {
    {"url", 'u', "URL", "ask there (default: the admin socket, then the first listener)"},
    {"live", 0, NULL, "ask /livez instead of /readyz"},
    {"quiet", 'q', NULL, "exit code only"},
    END_OF_OPTIONS,
};

static const struct cli_option mock_options[] = {
    {"address", 'a', "ADDRESS", "where to listen: HOST:PORT or unix:/PATH (default 127.0.0.1:9999)"},
    {"first-byte", 'f', "TIME", "before the first byte of an answer: 200ms, 1s"},
    {"rate", 'r', "N", "tokens a second (default: as fast as they are read)"},
    {"tokens", 'n', "N", "in an answer whose request does not limit them"},
    {"seed", 's', "N", "of what is made up, so that runs can be repeated"},
    {"words", 'w', NULL, "what a model's name may ask for (mock/429, mock/slow, ...), then end"},
    {"quiet", 'q', NULL, "do not print the address"},
    END_OF_OPTIONS,
};

static const struct cli_option show_options[] = {
    {"effective", 'e', NULL, "what is in force in the running sluice, if one runs (always with --admin); else the file"},
    {"origin", 'o', NULL, "where each value comes from"},
    END_OF_OPTIONS,
};

static const struct cli_option usage_options[] = {
    {"by", 'b', "LIST", "of tenant key user model target provider operation status outcome "
                        "minute hour day (default: tenant,model)"},
    {"since", 's', "WHEN", "7d, 12h, 30m ago, or 2026-11-23[T18:00:00Z] (default: 30d)"},
    {"until", 'u', "WHEN", "the same; default: now"},
    {"nodes", 'n', "all|this", "with store.type redis: of all nodes, or of this one (default: all)"},
    {"format", 'f', "table|json|csv", "how to print it (default: table)"},
    END_OF_OPTIONS,
};

static const struct cli_option rerate_options[] = {
    {"prices", 'p', "FILE", "YAML or JSON: {TARGET or MODEL: {input: 0.15, output: 0.60}, ...}"},
    {"since", 's', "WHEN", "7d, 12h, 30m ago, or 2026-11-23[T18:00:00Z]"},
    {"until", 'u', "WHEN", "the same; default: now"},
    {"apply", 0, NULL, "change the ledger; without it the difference is shown"},
    {"why", 'w', "TEXT", "written down with the old prices"},
    {"format", 'f', "table|json|csv", "how to print it (default: table)"},
    END_OF_OPTIONS,
};

static const struct cli_option export_options[] = {
    {"since", 's', "WHEN", "7d, 12h, 30m ago, or 2026-11-23[T18:00:00Z] (default: all that is kept)"},
    {"until", 'u', "WHEN", "the same; default: now"},
    {"tenant", 't', "NAME", "calls of this tenant and those in it"},
    {"key", 'k', "NAME", "of this key"},
    {"user", 0, "NAME", "of this end user"},
    {"model", 'm', "NAME", "of this model, as it was asked for"},
    {"target", 0, "ID", "that this target answered"},
    {"provider", 'p', "NAME", "or one of this provider"},
    {"operation", 'o', "NAME", "chat, embedding ..."},
    {"status", 0, "STATUS", "200, 4xx or 400-499"},
    {"format", 'f', "csv|jsonl", "how to print it (default: csv)"},
    END_OF_OPTIONS,
};

static const struct cli_option backup_options[] = {
    {"force", 0, NULL, "overwrite FILE"},
    END_OF_OPTIONS,
};

static const struct cli_option restore_options[] = {
    {"into", 'i', "DIR", "the state directory (default: where the configuration has it)"},
    {"force", 0, NULL, "move aside what is there"},
    END_OF_OPTIONS,
};

static const struct cli_option deploy_options[] = {
    {"wait", 'w', NULL, "show how it gets on, and return when it is ready or has failed"},
    END_OF_OPTIONS,
};

static const struct cli_option follow_options[] = {
    {"follow", 'f', NULL, "go on with what comes"},
    END_OF_OPTIONS,
};

static const struct cli_option deploy_log_options[] = {
    {"follow", 'f', NULL, "go on with what comes"},
    {"lines", 'n', "N", "how many of the last ones (default: 100)"},
    {"replica", 'r', "NAME", "of this one only"},
    END_OF_OPTIONS,
};

static const struct cli_option logs_options[] = {
    {"follow", 'f', NULL, "go on with what comes"},
    {"filter", 'i', "LIST", "tenant=acme,status=5xx; also key user model target provider operation since until"},
    {"lines", 'n', "N", "how many of the last calls (default: 20)"},
    {"format", 0, "table|json", "json: one object a line"},
    END_OF_OPTIONS,
};

static const struct cli_option top_options[] = {
    {"by", 'b', "LIST", "of tenant key user model target provider operation status outcome (default: tenant,model)"},
    {"since", 's', "WHEN", "how far back: 1m, 1h, 1d (default: 5m)"},
    END_OF_OPTIONS,
};

static const struct cli_option format_options[] = {
    {"format", 'f', "table|json|csv", "how to print it (default: table)"},
    END_OF_OPTIONS,
};

static const struct cli_option show_one_options[] = {
    {"format", 'f', "table|json", "how to print it (default: table)"},
    END_OF_OPTIONS,
};

static const struct cli_option list_options[] = {
    {"tenant", 't', "NAME", "of this tenant and those in it"},
    {"format", 'f', "table|json|csv", "how to print it (default: table)"},
    END_OF_OPTIONS,
};

#define LEVEL_OPTIONS                                                                              \
    {"models", 'm', "LIST", "allowed models: fast,openai/* ; none takes back what was set"},        \
    {"limits", 'l', "LIST", "requests_per_minute=60,tokens_per_day=1000000,concurrent=5"},          \
    {"budget", 'b', "MONEY", "\"500 USD/month\": of hour day week month total, or 24h"},            \
    {"tags", 0, "LIST", "team=search,env=prod: noted with every call"}

static const struct cli_option key_options[] = {
    {"tenant", 't', "NAME", "whose key it is"},
    LEVEL_OPTIONS,
    {"expires", 'e', "WHEN", "90d, 2027-01-01, 2027-01-01T12:00:00Z (default: never)"},
    {"format", 'f', "table|json", "json: all of the answer, not only the secret"},
    END_OF_OPTIONS,
};

static const struct cli_option keys_options[] = {
    {"tenant", 't', "NAME", "of this tenant"},
    {"revoked", 'r', NULL, "with those that were revoked in the last 30 days"},
    {"format", 'f', "table|json|csv", "how to print it (default: table)"},
    END_OF_OPTIONS,
};

static const struct cli_option jobs_options[] = {
    {"tenant", 't', "NAME", "of this tenant"},
    {"status", 's', "WORD", "IN_QUEUE, IN_PROGRESS, COMPLETED, FAILED, CANCELLED, EXPIRED"},
    {"format", 'f', "table|json|csv", "how to print it (default: table)"},
    END_OF_OPTIONS,
};

static const struct cli_option rotate_options[] = {
    {"overlap", 'o', "TIME", "how long the one before stays good: 0 to 30d (default: 24h)"},
    {"format", 'f', "table|json", "json: all of the answer, not only the secret"},
    END_OF_OPTIONS,
};

static const struct cli_option content_options[] = {
    {"tenant", 't', "NAME", "of this tenant and those in it"},
    {"user", 'u', "NAME", "of this end user"},
    {"until", 0, "WHEN", "of calls that began before: 2026-11-01, 30d"},
    END_OF_OPTIONS,
};

static const struct cli_option tenant_options[] = {
    {"parent", 'p', "NAME", "the tenant it is in"},
    LEVEL_OPTIONS,
    {"off", 0, NULL, "its keys open nothing"},
    {"on", 0, NULL, "its keys open again"},
    {"format", 'f', "table|json", "how to print it (default: table)"},
    END_OF_OPTIONS,
};

static const struct cli_option explain_options[] = {
    {"tenant", 't', "NAME", "whose call it is"},
    {"key", 'k', "NAME", "by which of its keys (default: any)"},
    {"path", 'p', "PATH", "where it is posted to (default /v1/chat/completions)"},
    {"headers", 0, "LIST", "\"x-region: eu, x-tier: gold\": what else the request says"},
    {"format", 'f', "table|json", "how to print it (default: table)"},
    END_OF_OPTIONS,
};

static const struct cli_option replay_options[] = {
    {"policy", 'p', "FILE", "YAML: a policy as in routing.policies, {name: cheap, strategy: cost}"},
    {"since", 's', "WHEN", "7d, 12h, 30m ago, or 2026-11-23[T18:00:00Z] (default: all)"},
    {"model", 'm', "NAME", "calls of this model only"},
    {"format", 'f', "table|json", "how to print it (default: table)"},
    END_OF_OPTIONS,
};

static const struct cli_option chat_options[] = {
    {"url", 'u', "URL", "of the gateway (default http://127.0.0.1:8080)"},
    {"key", 'k', "KEY", "default: $SLUICE_API_KEY, else $OPENAI_API_KEY"},
    {"system", 's', "TEXT", "a system message in front"},
    {"max-tokens", 'm', "N", "at most so many in the answer"},
    {"no-stream", 0, NULL, "ask for the whole answer at once"},
    {"quiet", 'q', NULL, "the answer only"},
    END_OF_OPTIONS,
};

static const struct cli_option hash_options[] = {
    {"new", 'n', NULL, "make a new key, and show it once with its hash"},
    END_OF_OPTIONS,
};

static const struct cli_option env_options[] = {
    {"url", 'u', "URL", "of the gateway (default http://127.0.0.1:8080)"},
    {"key", 'k', "KEY", "default: $SLUICE_API_KEY, else \"local\""},
    {"shell", 's', "sh|fish", "default: by $SHELL"},
    END_OF_OPTIONS,
};

static const struct cli_option version_options[] = {
    {"build", 'b', NULL, "how it was built"},
    {"format", 'f', "text|json", "how to print it"},
    END_OF_OPTIONS,
};

static const struct cli_option simulate_options[] = {
    {"policy", 0, "NAME", "of the scenario's routing section, or a strategy (default: balanced)"},
    {"against", 0, "LIST", "round-robin,tower,kong ... (default: all of them)"},
    {"seeds", 0, "N", "runs, each with calls of its own (default 20)"},
    {"first-seed", 0, "N", "the first one's number (default 1)"},
    {"json", 0, NULL, "one JSON object for each scenario"},
    END_OF_OPTIONS,
};

static const struct cli_option upgrade_options[] = {
    {"format", 'f', "table|json", "how to print it (default: table)"},
    END_OF_OPTIONS,
};

const struct command cli_commands[] = {
    {"serve", "run", "", "serve what the configuration says, until TERM",
     "sluice -c /etc/sluice/sluice.yaml run", run_options, 0, command_run},
    {"serve", "quickstart", "", "serve on 127.0.0.1:8080 without any configuration",
     "sluice quickstart", NULL, 0, command_quickstart},
    {"serve", "check", "[FILE...]", "find every problem of a configuration; no network",
     "sluice check --strict sluice.yaml", check_options, 64, command_check},
    {"serve", "reload", "", "take a new configuration, or program, and drop nothing",
     "sluice reload", NULL, 0, command_reload},
    {"serve", "upgrade", "", "take a new configuration, or program, and drop nothing",
     "sluice upgrade", upgrade_options, 0, command_upgrade},
    {"serve", "drain", "", "take no new calls, finish the running ones, end",
     "sluice drain --wait", wait_options, 0, command_drain},
    {"serve", "status", "", "what the running sluice does; exits 0 if ready",
     "sluice status --watch", status_options, 0, command_status},
    {"serve", "healthcheck", "", "what the running sluice does; exits 0 if ready",
     "sluice healthcheck", health_options, 0, command_healthcheck},
    {"serve", "mock", "", "a model server without a model, which fails on demand",
     "sluice mock --address 127.0.0.1:9999", mock_options, 0, command_mock},

    {"config", "init", "", "print a configuration to begin with",
     "sluice init > sluice.yaml", NULL, 0, command_init},
    {"config", "config show", "", "all values of the file with the defaults, secrets masked",
     "sluice config show --origin", show_options, 0, command_config_show},
    {"config", "config diff", "[FILE]", "what FILE would change; without FILE, what a reload would",
     "sluice config diff new.yaml", NULL, 1, command_config_diff},
    {"config", "config schema", "", "JSON Schema of the configuration, for editors",
     "sluice config schema > sluice.schema.json", NULL, 0, command_config_schema},
    {"config", "config convert", "litellm|bifrost|portkey FILE", "a sluice.yaml from another gateway's configuration",
     "sluice config convert litellm config.yaml > sluice.yaml", NULL, 2, command_config_convert},

    {"look", "usage", "", "calls, tokens and cost from the ledger",
     "sluice usage --by day,model --since 7d --format csv", usage_options, 0, command_usage},
    {"look", "usage rerate", "", "what calls cost at other prices; --apply books it",
     "sluice usage rerate --prices new.yaml --since 2026-11-01 --until 2026-11-08", rerate_options, 0,
     command_usage_rerate},
    {"look", "export", "", "calls: kept, new, one; who spends now",
     "sluice export --since 2026-11-01 --until 2026-12-01 > november.csv", export_options, 0,
     command_export},

    {"look", "logs", "", "calls: kept, new, one; who spends now",
     "sluice logs -f --filter tenant=acme,status=5xx", logs_options, 0, command_logs},
    {"look", "trace", "REQUEST_ID", "calls: kept, new, one; who spends now",
     "sluice trace req_yghfmzwaz6nh00000000000c", show_one_options, 1, command_trace},
    {"look", "top", "", "calls: kept, new, one; who spends now",
     "sluice top --by tenant,key", top_options, 0, command_top},

    {"look", "backup", "FILE", "the ledger and the store, to a file and back",
     "sluice backup /var/backups/sluice.tar", backup_options, 1, command_backup},
    {"look", "restore", "FILE", "the ledger and the store, to a file and back",
     "sluice restore /var/backups/sluice.tar --into /var/lib/sluice", restore_options, 1,
     command_restore},

    {"route", "explain", "REQUEST.json", "where requests go, would go, and why",
     "sluice explain request.json --tenant acme", explain_options, 1, command_explain},
    {"route", "replay", "[LOG...]", "where requests go, would go, and why",
     "sluice replay --policy cheap.yaml --since 7d", replay_options, 64, command_replay},
    {"route", "simulate", "SCENARIO...", "where requests go, would go, and why",
     "sluice simulate bench/scenarios/slow-node.yaml --against tower,kong", simulate_options, 64,
     command_simulate},
    {"route", "models ls", "", "models of the running sluice, and their targets",
     "sluice models ls", format_options, 0, command_models_ls},
    {"route", "chat", "MODEL [PROMPT]", "ask a model; the prompt may come from standard input",
     "sluice chat mock \"hi\"", chat_options, 1000, command_chat},

    {"manage", "keys create", "NAME", "make a key; its secret is shown once",
     "sluice keys create ci --tenant acme --limits requests_per_minute=60", key_options, 1,
     command_keys_create},
    {"manage", "keys ls", "", "keys of the file and of the store",
     "sluice keys ls --tenant acme", keys_options, 0, command_keys_ls},
    {"manage", "keys show", "ID", "one of them",
     "sluice keys show key_abc --format json", show_one_options, 1, command_keys_show},
    {"manage", "keys rotate", "ID", "a second secret; the first opens for a while longer",
     "sluice keys rotate key_abc --overlap 1h", rotate_options, 1, command_keys_rotate},
    {"manage", "keys revoke", "ID", "it opens nothing any more, at once",
     "sluice keys revoke key_abc", NULL, 1, command_keys_revoke},
    {"manage", "tenants ls", "", "tenants of the file and of the store",
     "sluice tenants ls", format_options, 0, command_tenants_ls},
    {"manage", "tenants show", "NAME", "one of them",
     "sluice tenants show acme", show_one_options, 1, command_tenants_show},
    {"manage", "tenants set", "NAME", "make a tenant, or change it",
     "sluice tenants set search --parent acme --budget \"500 USD/month\"", tenant_options, 1,
     command_tenants_set},
    {"manage", "tenants rm", "NAME", "remove a tenant that is empty",
     "sluice tenants rm search", NULL, 1, command_tenants_rm},
    {"manage", "limits ls", "", "what is used and left of limits and budgets now",
     "sluice limits ls --tenant acme", list_options, 0, command_limits_ls},
    {"manage", "jobs ls", "", "calls that are answered later, the newest first",
     "sluice jobs ls --status IN_QUEUE", jobs_options, 0, command_jobs_ls},
    {"manage", "jobs show", "ID", "one of them",
     "sluice jobs show 3f0c0b0e-1111-4222-8333-444455556666", show_one_options, 1,
     command_jobs_show},
    {"manage", "jobs cancel", "ID", "it is not run, or ends",
     "sluice jobs cancel 3f0c0b0e-1111-4222-8333-444455556666", NULL, 1, command_jobs_cancel},
    {"manage", "content rm", "", "delete what was said in calls, where that is kept",
     "sluice content rm --tenant acme --user ada", content_options, 0, command_content_rm},
    {"manage", "hash-key", "[KEY]", "the line for a key in the configuration",
     "sluice hash-key --new", hash_options, 1, command_hash_key},

    {"deploy", "deployments ls", "", "model servers of the running sluice",
     "sluice deployments ls", format_options, 0, command_deployments_ls},
    {"deploy", "deployments show", "NAME", "one of them, with its replicas",
     "sluice deployments show qwen --format json", show_one_options, 1, command_deployments_show},
    {"deploy", "deployments create", "FILE", "make one of a file as it would stand below deployments.models",
     "sluice deployments create qwen.yaml --wait", deploy_options, 1, command_deployments_create},
    {"deploy", "deployments start", "NAME", "start it, stop it, begin anew, say how many",
     "sluice deployments start qwen --wait", deploy_options, 1, command_deployments_start},
    {"deploy", "deployments stop", "NAME", "start it, stop it, begin anew, say how many",
     "sluice deployments stop qwen", deploy_options, 1, command_deployments_stop},
    {"deploy", "deployments restart", "NAME", "start it, stop it, begin anew, say how many",
     "sluice deployments restart qwen", deploy_options, 1, command_deployments_restart},
    {"deploy", "deployments scale", "NAME MIN [MAX]", "start it, stop it, begin anew, say how many",
     "sluice deployments scale qwen 1 4", deploy_options, 3, command_deployments_scale},
    {"deploy", "deployments rollout", "NAME promote|pause|resume|rollback", "what becomes of a new revision",
     "sluice deployments rollout qwen promote", deploy_options, 2, command_deployments_rollout},
    {"deploy", "deployments logs", "NAME", "what its servers wrote, and what happened to it",
     "sluice deployments logs qwen -f", deploy_log_options, 1, command_deployments_logs},
    {"deploy", "deployments events", "NAME", "what its servers wrote, and what happened to it",
     "sluice deployments events qwen -f", follow_options, 1, command_deployments_events},
    {"deploy", "deployments delete", "NAME", "remove one that was made at run time",
     "sluice deployments delete qwen", NULL, 1, command_deployments_delete},

    {"system", "env", "openai|anthropic|gemini|claude-code|codex",
     "for your shell: variables, words; which it is",
     "eval \"$(sluice env openai)\"", env_options, 1, command_env},
    {"system", "completion", "bash|zsh|fish", "for your shell: variables, words; which it is",
     "sluice completion bash > /etc/bash_completion.d/sluice", NULL, 1, command_completion},
    {"system", "version", "", "for your shell: variables, words; which it is",
     "sluice version --build", version_options, 0, command_version},
    {"system", "help", "[TOPIC]", "COMMAND, config, signals, files, environment, exit-codes",
     "sluice help signals", NULL, 2, command_help},
    {NULL, NULL, NULL, NULL, NULL, NULL, 0, NULL},
};

/* clang-format on */
