/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/base/descriptors.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/resource.h>
#include <unistd.h>

enum { COUNTED_MAX = 4096 }; /* of a limit that is larger the free are not counted one by one */

static struct {
    pthread_mutex_t lock;
    int held[DESCRIPTORS_KEPT_MAX];
    unsigned count;
    unsigned at_first; /* so many were to be held at the first time; 0 = there was none yet */
    atomic_bool is_yielded, is_begun; /* is_begun: held, or given up */
    atomic_int half;
} reserve = {.lock = PTHREAD_MUTEX_INITIALIZER, .half = INT_MAX};

void descriptors_begin(void)
{
    struct rlimit files = {0};
    getrlimit(RLIMIT_NOFILE, &files);
    bool is_bounded = files.rlim_cur / 2 < INT_MAX;
    atomic_store(&reserve.half, is_bounded ? (int)(files.rlim_cur / 2) : INT_MAX);
}

void descriptors_note(int fd)
{
    if (fd >= atomic_load_explicit(&reserve.half, memory_order_relaxed) &&
        !atomic_load_explicit(&reserve.is_begun, memory_order_relaxed))
        descriptors_keep();
}

bool descriptors_ran_out(int error)
{
    return error == EMFILE || error == ENFILE;
}

/* That stands for nothing; -1 = there is none left. */
static int take_one(void)
{
    return open("/dev/null", O_RDONLY | O_CLOEXEC);
}

/* Until <most> are held. */
static void take(unsigned most)
{
    while (reserve.count < most) {
        int fd = take_one();
        if (fd < 0)
            return;
        reserve.held[reserve.count++] = fd;
    }
}

static void close_down_to(unsigned count)
{
    while (reserve.count > count)
        close(reserve.held[--reserve.count]);
}

static unsigned allowed(void)
{
    struct rlimit files = {0};
    getrlimit(RLIMIT_NOFILE, &files);
    rlim_t part = files.rlim_cur / DESCRIPTORS_PART;
    return part < DESCRIPTORS_KEPT_MAX ? (unsigned)part : DESCRIPTORS_KEPT_MAX;
}

/* How many are free, at most <most>. Looked at, not taken: others would find none meanwhile. Where
 * the limit is large they are taken to be there. */
static unsigned count_free(unsigned most)
{
    struct rlimit files = {0};
    getrlimit(RLIMIT_NOFILE, &files);
    if (files.rlim_cur > COUNTED_MAX)
        return most;
    unsigned count = 0;
    for (int fd = (int)files.rlim_cur; fd-- > 0 && count < most;)
        count += fcntl(fd, F_GETFD) < 0;
    return count;
}

/* Of a limit that is small most may be in use from the start: clients get their half. */
static unsigned first_size(unsigned most)
{
    unsigned half = count_free(DESCRIPTORS_HALF * most) / DESCRIPTORS_HALF;
    return half ? half : 1;
}

/* Hold <size>, and find one more: somebody is to be let in, too. Returns how many are missing; then
 * none is held. */
static unsigned hold(unsigned size)
{
    unsigned missing = size + 1 - count_free(size + 1);
    if (missing)
        return missing;
    take(size);
    int another = reserve.count == size ? take_one() : -1;
    if (another >= 0)
        close(another);
    else
        missing = size - reserve.count + 1;
    close_down_to(missing ? 0 : size);
    return missing;
}

unsigned descriptors_keep(void)
{
    pthread_mutex_lock(&reserve.lock);
    unsigned most = allowed(), missing = 0;
    atomic_store(&reserve.is_begun, true);
    if (!reserve.at_first)
        reserve.at_first = first_size(most);
    unsigned size = most < reserve.at_first ? most : reserve.at_first;
    bool was_held = reserve.count && !atomic_load(&reserve.is_yielded);
    if (!was_held) {
        missing = hold(size);
        atomic_store(&reserve.is_yielded, missing > 0);
    }
    pthread_mutex_unlock(&reserve.lock);
    return missing;
}

bool descriptors_yield(void)
{
    pthread_mutex_lock(&reserve.lock);
    bool was_held = reserve.count > 0;
    close_down_to(0);
    atomic_store(&reserve.is_begun, true);
    atomic_store(&reserve.is_yielded, true);
    pthread_mutex_unlock(&reserve.lock);
    return was_held;
}

bool descriptors_are_yielded(void)
{
    return atomic_load_explicit(&reserve.is_yielded, memory_order_relaxed);
}

unsigned descriptors_kept(void)
{
    pthread_mutex_lock(&reserve.lock);
    unsigned count = reserve.count;
    pthread_mutex_unlock(&reserve.lock);
    return count;
}

bool descriptors_are_out(void)
{
    int fd = take_one();
    if (fd < 0)
        return descriptors_ran_out(errno);
    close(fd);
    return false;
}

void descriptors_done(void)
{
    pthread_mutex_lock(&reserve.lock);
    close_down_to(0);
    reserve.at_first = 0;
    atomic_store(&reserve.half, INT_MAX);
    atomic_store(&reserve.is_begun, false);
    atomic_store(&reserve.is_yielded, false);
    pthread_mutex_unlock(&reserve.lock);
}
