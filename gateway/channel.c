/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/channel.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

union control {
    struct cmsghdr head;
    char room[CMSG_SPACE(sizeof(int))];
};

bool channel_say(int channel, enum channel_word word, const char *words, int passed)
{
    char bytes[CHANNEL_BYTES];
    int len = snprintf(bytes, sizeof bytes, "%c%s", (char)word, words != NULL ? words : "");
    if (channel < 0)
        return false;
    struct iovec piece = {bytes, (size_t)len < sizeof bytes ? (size_t)len : sizeof bytes - 1};
    struct msghdr message = {.msg_iov = &piece, .msg_iovlen = 1};
    union control control;
    memset(&control, 0, sizeof control);
    if (passed >= 0) {
        message.msg_control = control.room;
        message.msg_controllen = sizeof control.room;
        struct cmsghdr *head = CMSG_FIRSTHDR(&message);
        head->cmsg_level = SOL_SOCKET;
        head->cmsg_type = SCM_RIGHTS;
        head->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(head), &passed, sizeof(int));
    }
    return sendmsg(channel, &message, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0;
}

ssize_t channel_hear(int channel, char bytes[CHANNEL_BYTES], int *passed)
{
    struct iovec piece = {bytes, CHANNEL_BYTES - 1};
    union control control;
    struct msghdr message = {.msg_iov = &piece,
                             .msg_iovlen = 1,
                             .msg_control = control.room,
                             .msg_controllen = sizeof control.room};
    *passed = -1;
    ssize_t len = recvmsg(channel, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (len < 0)
        return -1;
    bytes[len] = 0;
    struct cmsghdr *head = CMSG_FIRSTHDR(&message);
    if (len > 0 && head != NULL && head->cmsg_type == SCM_RIGHTS &&
        head->cmsg_len == CMSG_LEN(sizeof(int)))
        memcpy(passed, CMSG_DATA(head), sizeof(int));
    return len;
}
