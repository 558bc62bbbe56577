/* SPDX-License-Identifier: Apache-2.0 */
#include "routing/target.h"

#include <pthread.h>

#include "gateway/base/memory.h"
#include "gateway/base/table.h"

/* Only loading a configuration comes here, so one lock is enough. Figures are never freed: calls
 * that began under an old configuration still report to them. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct table registry;

struct target_figures *target_figures(struct text id)
{
    pthread_mutex_lock(&lock);
    struct target_figures *figures = table_find(&registry, id);
    if (!figures) {
        figures = memory_new(sizeof(*figures));
        table_set(&registry, text_of(memory_string(id)), figures);
    }
    pthread_mutex_unlock(&lock);
    return figures;
}
