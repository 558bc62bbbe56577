/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/crash.h"

#include <execinfo.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "gateway/base/sanitizer.h"

enum { CRASH_STACK_BYTES = 64 << 10, CRASH_FRAMES = 64, CRASH_SECONDS = 3 };

static const int signals[] = {SIGSEGV, SIGABRT, SIGBUS, SIGILL, SIGFPE};

/* Only what signal-safety(7) allows. */
static void say(const char *words)
{
    ssize_t ignored = write(STDERR_FILENO, words, strlen(words));
    (void)ignored;
}

static void say_number(unsigned long n)
{
    char digits[24], *at = digits + sizeof digits;
    *--at = 0;
    do
        *--at = (char)('0' + n % 10);
    while ((n /= 10) != 0);
    say(at);
}

static void on_crash(int number)
{
    void *frames[CRASH_FRAMES];
    struct timespec now = {0};
    /* Nobody may read what we say, and the trace may want a lock that is held: it ends all the
     * same.
     */
    signal(SIGALRM, SIG_DFL);
    alarm(CRASH_SECONDS);
    clock_gettime(CLOCK_REALTIME, &now);
    say("sluice: crashed at ");
    say_number((unsigned long)now.tv_sec);
    say(" by signal ");
    say_number((unsigned long)number);
    say(" (SIG");
    say(sigabbrev_np(number));
    say("), pid ");
    say_number((unsigned long)getpid());
    say(", thread ");
    say_number((unsigned long)gettid());
    say("\n");
    int count = backtrace(frames, CRASH_FRAMES);
    backtrace_symbols_fd(frames, count, STDERR_FILENO);
    /* SA_RESETHAND has put the default action back; it comes when this handler returns. */
    raise(number);
}

void crash_arm_thread(void)
{
    if (UNDER_SANITIZER)
        return;
    /* Never unmapped: a thread that may still crash needs it, and threads live as long as we do. */
    void *stack =
        mmap(NULL, CRASH_STACK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (stack == MAP_FAILED)
        return;
    stack_t alternate = {.ss_sp = stack, .ss_size = CRASH_STACK_BYTES};
    sigaltstack(&alternate, NULL);
}

void crash_arm(void)
{
    if (UNDER_SANITIZER)
        return;
    /* The first call loads libgcc and allocates; not in a handler, please. */
    void *frame;
    backtrace(&frame, 1);
    crash_arm_thread();
    struct sigaction action = {.sa_handler = on_crash, .sa_flags = SA_ONSTACK | (int)SA_RESETHAND};
    sigemptyset(&action.sa_mask);
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++)
        sigaction(signals[i], &action, NULL);
}
