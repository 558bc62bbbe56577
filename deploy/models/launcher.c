/* SPDX-License-Identifier: Apache-2.0 */
#include "deploy/models/launcher.h"

static const struct launcher_kind *const kinds[] = {&launch_process, &launch_docker};

const struct launcher_kind *launcher_kind_of(enum launcher_word word)
{
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (kinds[i]->word == word)
            return kinds[i];
    return NULL;
}
