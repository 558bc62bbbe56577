/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* cli_commands - what the rows of the command table run; each returns an exit code. */

struct cli;

/* cli/serve.c */
int command_run(struct cli *cli);
int command_quickstart(struct cli *cli);
int command_check(struct cli *cli);
int command_mock(struct cli *cli);

/* cli/admin.c: these ask a running sluice */
int command_reload(struct cli *cli);
int command_drain(struct cli *cli);
int command_upgrade(struct cli *cli);
int command_status(struct cli *cli);
int command_healthcheck(struct cli *cli);
int command_models_ls(struct cli *cli);
int command_top(struct cli *cli);

/* cli/logs.c */
int command_logs(struct cli *cli);
int command_trace(struct cli *cli);

/* cli/explain.c */
int command_explain(struct cli *cli);

/* cli/replay.c */
int command_replay(struct cli *cli);

/* cli/config.c */
int command_init(struct cli *cli);
int command_config_show(struct cli *cli);
int command_config_diff(struct cli *cli);
int command_config_schema(struct cli *cli);

/* cli/convert.c */
int command_config_convert(struct cli *cli);

/* cli/usage.c */
int command_usage(struct cli *cli);

/* cli/rerate.c */
int command_usage_rerate(struct cli *cli);

/* cli/export.c */
int command_export(struct cli *cli);

/* cli/backup.c, cli/restore.c */
int command_backup(struct cli *cli);
int command_restore(struct cli *cli);

/* cli/keys.c */
int command_keys_create(struct cli *cli);
int command_keys_ls(struct cli *cli);
int command_keys_show(struct cli *cli);
int command_keys_rotate(struct cli *cli);
int command_keys_revoke(struct cli *cli);

/* cli/tenants.c */
int command_tenants_ls(struct cli *cli);
int command_tenants_show(struct cli *cli);
int command_tenants_set(struct cli *cli);
int command_tenants_rm(struct cli *cli);
int command_limits_ls(struct cli *cli);

/* cli/deployments.c */
int command_deployments_ls(struct cli *cli);
int command_deployments_show(struct cli *cli);
int command_deployments_create(struct cli *cli);
int command_deployments_delete(struct cli *cli);
int command_deployments_start(struct cli *cli);
int command_deployments_stop(struct cli *cli);
int command_deployments_restart(struct cli *cli);
int command_deployments_scale(struct cli *cli);
int command_deployments_rollout(struct cli *cli);
int command_deployments_logs(struct cli *cli);
int command_deployments_events(struct cli *cli);
/* cli/jobs.c */
int command_jobs_ls(struct cli *cli);
int command_jobs_show(struct cli *cli);
int command_jobs_cancel(struct cli *cli);
int command_content_rm(struct cli *cli);

/* cli/chat.c */
int command_chat(struct cli *cli);

/* cli/simulate.c */
int command_simulate(struct cli *cli);

/* cli/system.c */
int command_hash_key(struct cli *cli);
int command_env(struct cli *cli);
int command_completion(struct cli *cli);
int command_version(struct cli *cli);
int command_help(struct cli *cli);
