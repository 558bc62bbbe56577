/* SPDX-License-Identifier: Apache-2.0 */
#include "deploy/models/deployment.h"
#include "gateway/cli.h"

int main(int argc, char **argv)
{
    int status = deployments_main(argc, argv);
    return status >= 0 ? status : cli_main(argc, argv);
}
