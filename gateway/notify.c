/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/notify.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum {
    FIRST_LISTEN_FD = 3, /* SD_LISTEN_FDS_START */
    LISTEN_FDS_MAX = 64,
    NOTIFY_US = 500000, /* of waiting for one that does not listen: there are services to be kept */
};

void notify_send(const char *lines)
{
    const char *path = getenv("NOTIFY_SOCKET");
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (path == NULL || (path[0] != '/' && path[0] != '@') ||
        strlen(path) >= sizeof address.sun_path)
        return;
    strcpy(address.sun_path, path);
    if (path[0] == '@') /* an abstract name */
        address.sun_path[0] = 0;
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return;
    struct timeval most = {.tv_usec = NOTIFY_US};
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &most, sizeof most);
    socklen_t length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(path));
    sendto(fd, lines, strlen(lines), MSG_NOSIGNAL, (struct sockaddr *)&address, length);
    close(fd);
}

static uint64_t number_in(const char *variable)
{
    const char *value = getenv(variable);
    uint64_t number = 0;
    return value != NULL && text_number(text_of(value), INT64_MAX, &number) ? number : 0;
}

/* Meant for us? Another process of the same environment must not take it for its own. */
static bool is_for_us(const char *variable)
{
    return getenv(variable) == NULL || number_in(variable) == (uint64_t)getpid();
}

uint64_t notify_watchdog_us(void)
{
    return is_for_us("WATCHDOG_PID") ? number_in("WATCHDOG_USEC") : 0;
}

int notify_socket(struct text name)
{
    uint64_t count = number_in("LISTEN_FDS");
    const char *names = getenv("LISTEN_FDNAMES");
    if (count == 0 || count > LISTEN_FDS_MAX || number_in("LISTEN_PID") != (uint64_t)getpid())
        return -1;
    struct text rest = names != NULL ? text_of(names) : (struct text){"", 0}, item;
    for (int fd = FIRST_LISTEN_FD; fd < FIRST_LISTEN_FD + (int)count; fd++) {
        if (!text_next(&rest, ':', &item))
            item = (struct text){"", 0};
        /* one socket without a name is the one that is meant */
        bool is_unnamed = item.len == 0 || text_equal(item, TEXT("unknown"));
        if (!text_equal(item, name) && !(is_unnamed && count == 1))
            continue;
        fcntl(fd, F_SETFD, FD_CLOEXEC);
        fcntl(fd, F_SETFL, O_NONBLOCK | fcntl(fd, F_GETFL));
        return fd;
    }
    return -1;
}
