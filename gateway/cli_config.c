/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/cli.h"
#include "gateway/cli_commands.h"

int command_init(struct cli *cli)
{
    (void)cli;
    config_example(stdout);
    return EXIT_GOOD;
}

int command_config_schema(struct cli *cli)
{
    (void)cli;
    config_schema(stdout);
    return EXIT_GOOD;
}

int command_config_show(struct cli *cli)
{
    struct config *config = cli_config_load(cli);
    if (config == NULL)
        return EXIT_FAILED;
    config_show(config, stdout, cli_has(cli, "origin"));
    config_unref(config);
    return EXIT_GOOD;
}
