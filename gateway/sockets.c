/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/sockets.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "gateway/base/memory.h"
#include "gateway/notify.h"
#include "gateway/wire/stream.h"

enum { BACKLOG = 4096 }; /* the kernel cuts it to net.core.somaxconn */

/* ---------------------------------------------------------------------------------- unix */

/* A socket file that nobody listens on is left over from a process that was killed. */
static bool is_left_over(const struct sockaddr_un *address)
{
    struct stat what;
    if (lstat(address->sun_path, &what) != 0 || !S_ISSOCK(what.st_mode))
        return false;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    bool is_dead = fd >= 0 && connect(fd, (const struct sockaddr *)address, sizeof *address) != 0 &&
                   errno == ECONNREFUSED;
    if (fd >= 0)
        close(fd);
    return is_dead;
}

/* Why <path> cannot be bound to, in words of what to do. */
static const char *unix_hint(const char *path, int error)
{
    struct stat what;
    if (error == ENOENT)
        return "; the directory has to be there";
    if (error != EADDRINUSE)
        return "";
    return lstat(path, &what) == 0 && !S_ISSOCK(what.st_mode)
               ? "; what is there is no socket, and stays"
               : "; is another sluice running?";
}

/* <mode> 0600 or 0660: set by the umask, so that there is no moment with more. */
static int open_unix(struct text path, mode_t mode, struct fault *why)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (path.len == 0 || path.len >= sizeof address.sun_path) {
        fault_set(why, FAULT_INTERNAL, "unix:%.*s: a path of a socket has at most %zu bytes",
                  TEXT_ARGS(text_head(path, 120)), sizeof address.sun_path - 1);
        return -1;
    }
    memcpy(address.sun_path, path.at, path.len);
    if (is_left_over(&address))
        unlink(address.sun_path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    mode_t before = umask(0777 & ~mode);
    bool is_bound = fd >= 0 && bind(fd, (struct sockaddr *)&address, sizeof address) == 0;
    umask(before);
    if (is_bound && listen(fd, BACKLOG) == 0)
        return fd;
    int problem = errno;
    fault_set(why, FAULT_INTERNAL, "cannot listen on unix:%s: %s%s", address.sun_path,
              strerror(problem), unix_hint(address.sun_path, problem));
    if (fd >= 0)
        close(fd);
    return -1;
}

/* ----------------------------------------------------------------------------------- TCP */

/* "127.0.0.1:8080", "[::1]:8080", "localhost:8080", ":8080". Numbers only: no resolver. */
static bool read_address(struct text from, struct sockaddr_storage *address, socklen_t *length)
{
    char host[80], port[8];
    size_t colon = from.len;
    while (colon > 0 && from.at[colon - 1] != ':')
        colon--;
    if (colon == 0)
        return false;
    struct text name = text_head(from, colon - 1), number = text_from(from, colon);
    if (name.len >= 2 && name.at[0] == '[' && name.at[name.len - 1] == ']')
        name = (struct text){name.at + 1, name.len - 2};
    if (text_equal(name, TEXT("localhost")))
        name = TEXT("127.0.0.1");
    if (name.len == 0 || text_equal(name, TEXT("*")))
        name = TEXT("0.0.0.0");
    if (name.len >= sizeof host || number.len == 0 || number.len >= sizeof port)
        return false;
    snprintf(host, sizeof host, "%.*s", TEXT_ARGS(name));
    snprintf(port, sizeof port, "%.*s", TEXT_ARGS(number));
    struct addrinfo hints = {.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV | AI_PASSIVE,
                             .ai_socktype = SOCK_STREAM};
    struct addrinfo *found = NULL;
    if (getaddrinfo(host, port, &hints, &found) != 0)
        return false;
    memcpy(address, found->ai_addr, found->ai_addrlen);
    *length = found->ai_addrlen;
    freeaddrinfo(found);
    return true;
}

/* Accepted connections inherit both, without a system call each. Neither is for a Unix socket. */
static void set_inherited(int fd)
{
    int yes = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    stream_note_arrivals(fd);
}

/* A bound socket, or -1 with errno. [::] takes IPv4 too. */
static int bind_tcp(const struct sockaddr_storage *address, socklen_t length, bool is_shared)
{
    int fd = socket(address->ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int yes = 1, no = 0;
    if (fd < 0)
        return -1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (is_shared)
        setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &yes, sizeof yes);
    if (address->ss_family == AF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &no, sizeof no);
    set_inherited(fd);
    if (bind(fd, (const struct sockaddr *)address, length) == 0)
        return fd;
    int problem = errno;
    close(fd);
    errno = problem;
    return -1;
}

static bool complain_bind(const char *address, struct fault *why)
{
    const char *hint = errno == EADDRINUSE      ? "; is another sluice running?"
                       : errno == EADDRNOTAVAIL ? "; no interface has this address"
                       : errno == EACCES        ? "; ports below 1024 need a privilege"
                                                : "";
    return fault_set(why, FAULT_INTERNAL, "cannot listen on %s: %s%s", address, strerror(errno),
                     hint);
}

static bool open_tcp(struct sockets *sockets, size_t listener, const char *text, struct fault *why)
{
    struct sockaddr_storage address;
    socklen_t length = 0;
    memset(&address, 0, sizeof address);
    if (!read_address(text_of(text), &address, &length))
        return fault_set(why, FAULT_INTERNAL, "%s is no address and port", text);
    /* Without SO_REUSEPORT first: else two programs of one user would share the port in silence. */
    int probe = bind_tcp(&address, length, false);
    if (probe < 0)
        return complain_bind(text, why);
    getsockname(probe, (struct sockaddr *)&address, &length); /* port 0 has a number now */
    close(probe);
    for (size_t worker = 0; worker < sockets->workers; worker++) {
        int fd = bind_tcp(&address, length, true);
        sockets->fds[worker * sockets->listeners + listener] = fd;
        if (fd < 0 || listen(fd, BACKLOG) != 0)
            return complain_bind(text, why);
    }
    return true;
}

/* ------------------------------------------------------------------------------------ all */

static void share(struct sockets *sockets, size_t listener, int fd)
{
    for (size_t worker = 0; worker < sockets->workers; worker++)
        sockets->fds[worker * sockets->listeners + listener] = fd;
}

static void remember_path(struct sockets *sockets, struct text path)
{
    sockets->paths[sockets->path_count++] = memory_string(path);
}

static bool open_listener(struct sockets *sockets, size_t listener, const char *address,
                          struct fault *why)
{
    struct text text = text_of(address);
    if (text_starts(text, TEXT("systemd:"))) {
        int fd = notify_socket(text_from(text, 8));
        if (fd < 0)
            return fault_set(why, FAULT_INTERNAL,
                             "%s: systemd gave no socket of this name (FileDescriptorName=)",
                             address);
        set_inherited(fd);
        share(sockets, listener, fd);
        return true;
    }
    if (!text_starts(text, TEXT("unix:")))
        return open_tcp(sockets, listener, address, why);
    struct text path = text_from(text, 5);
    int fd = open_unix(path, 0660, why);
    if (fd < 0)
        return false;
    share(sockets, listener, fd);
    remember_path(sockets, path);
    return true;
}

static bool open_all(struct sockets *sockets, const struct config *config, struct fault *why)
{
    for (size_t i = 0; i < config->listener_count; i++)
        if (!open_listener(sockets, i, config->listeners[i].address, why))
            return false;
    if (config->admin_socket == NULL)
        return true;
    sockets->admin = open_unix(text_of(config->admin_socket), 0600, why);
    if (sockets->admin < 0)
        return false;
    remember_path(sockets, text_of(config->admin_socket));
    return true;
}

bool sockets_open(struct sockets *sockets, const struct config *config, struct fault *why)
{
    size_t count = config->listener_count * config->workers;
    *sockets = (struct sockets){
        .listeners = config->listener_count, .workers = config->workers, .admin = -1};
    sockets->fds = memory_new((count + 1) * sizeof *sockets->fds);
    sockets->paths = memory_new((config->listener_count + 1) * sizeof *sockets->paths);
    for (size_t i = 0; i < count; i++)
        sockets->fds[i] = -1;
    if (open_all(sockets, config, why))
        return true;
    sockets_close(sockets);
    return false;
}

void sockets_close_fds(const int *fds, size_t listeners, size_t workers)
{
    for (size_t listener = 0; listener < listeners; listener++)
        for (size_t worker = 0; worker < workers; worker++) {
            int fd = fds[worker * listeners + listener];
            bool is_shared = worker > 0 && fd == fds[listener];
            if (fd >= 0 && !is_shared)
                close(fd);
        }
}

void sockets_close_clients(struct sockets *sockets)
{
    sockets_close_fds(sockets->fds, sockets->listeners, sockets->workers);
    for (size_t i = 0; i < sockets->listeners * sockets->workers; i++)
        sockets->fds[i] = -1;
}

void sockets_close(struct sockets *sockets)
{
    sockets_close_clients(sockets);
    if (sockets->admin >= 0)
        close(sockets->admin);
    for (size_t i = 0; i < sockets->path_count; i++) {
        unlink(sockets->paths[i]);
        memory_free(sockets->paths[i]);
    }
    memory_free(sockets->paths);
    memory_free(sockets->fds);
    *sockets = (struct sockets){.admin = -1};
}
