/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "gateway/config/config.h"

/* A configuration is written by the operator and trusted; still, a mangled file must end in words,
 * not in a crash, and what is accepted must be whole: it can be shown, and differs from itself in
 * nothing. */

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* libfyaml 0.7.12 forgets some of the memory of some long scalars. A configuration is read once per
 * start or reload, so that is no matter; what we forget ourselves is. */
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
    file = memfd_create("config", MFD_CLOEXEC);
    if (file < 0)
        abort();
    snprintf(path, sizeof(path), "/proc/self/fd/%d", file);
    setenv("STATE_DIRECTORY", "/state", 1);
    setenv("SET", "value", 1);
    return 0;
}

static void put(const uint8_t *data, size_t size)
{
    if (ftruncate(file, 0) != 0 || pwrite(file, data, size, 0) != (ssize_t)size)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    /* No includes: they would read files of this machine. */
    if (size > 65536 || memmem(data, size, "include", 7) || memmem(data, size, "_file", 5))
        return 0;
    put(data, size);
    FILE *out = fopen("/dev/null", "we");
    struct config_options options = {.path = path, .allow_inert = size % 2, .words = out};
    options.json = size % 3 == 0;
    struct config_result result = config_load(&options);
    if ((result.config == NULL) != (result.errors > 0))
        abort();
    if (result.config) {
        config_show(result.config, out, true);
        if (config_diff(result.config, result.config, out) != 0)
            abort();
        config_unref(result.config);
    }
    fclose(out);
    return 0;
}
