/* SPDX-License-Identifier: Apache-2.0 */
/* For LD_PRELOAD: whoever waits for events works a little first, some 6,000 instructions each time.
 */

#include <signal.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { TURNS = 2000 };

int epoll_wait(int epoll, struct epoll_event *events, int count, int milliseconds)
{
    for (volatile int turn = 0; turn < TURNS; turn++) {
    }
    return (int)syscall(SYS_epoll_pwait, epoll, events, count, milliseconds, NULL, _NSIG / 8);
}
