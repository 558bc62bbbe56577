/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "gateway/cli/cli.h"
#include "gateway/cli/commands.h"

/* Whatever another gateway's configuration looks like, `sluice config convert` ends in words. */

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* As in config/fuzz.c. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
    return "leak:libfyaml\n";
}

static int file;
static char path[64];

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc, (void)argv;
    file = memfd_create("theirs", MFD_CLOEXEC);
    if (file < 0 || !freopen("/dev/null", "we", stdout))
        abort();
    stderr = fopen("/dev/null", "we"); /* the fuzzer's own words go past it */
    snprintf(path, sizeof(path), "/proc/self/fd/%d", file);
    setenv("STATE_DIRECTORY", "/state", 1);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static char gateways[][8] = {"litellm", "bifrost", "portkey"};
    /* The result is checked, and would read files of this machine. */
    if (size > 65536 || memmem(data, size, "credentials", 11))
        return 0;
    if (ftruncate(file, 0) != 0 || pwrite(file, data, size, 0) != (ssize_t)size)
        abort();
    for (size_t i = 0; i < 3; i++) {
        char *words[] = {gateways[i], path};
        struct cli cli = {.argc = 2, .argv = words};
        int code = command_config_convert(&cli);
        if (code != EXIT_GOOD && code != EXIT_FAILED)
            abort();
    }
    return 0;
}
