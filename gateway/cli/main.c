/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <unistd.h>

#include "deploy/models/deployment.h"
#include "gateway/cli/cli.h"

/* Whoever starts us may have closed the standard ones; then the next file that is opened would get
 * such a number, and what is meant for the terminal or the log would be written into it: into the
 * lock, a socket, a backup. In their place stands what can be neither read nor written, so that
 * who prints learns that nobody reads. */
static void fill_standard_descriptors(void)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
        if (fcntl(fd, F_GETFD) < 0 &&
            open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY) != fd)
            _exit(EXIT_FAILED); /* no /dev/null: nothing may be opened */
}

int main(int argc, char **argv)
{
    fill_standard_descriptors();
    int status = deployments_main(argc, argv);
    return status >= 0 ? status : cli_main(argc, argv);
}
