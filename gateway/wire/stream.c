/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/wire/stream.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <linux/sockios.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "gateway/base/hash.h"
#include "gateway/base/memory.h"

enum {
    TLS_RECORD_BYTES = 16384,
    TLS_VERIFY_DEPTH = 8,
    WAITED_MAX_US = 10000000,
    JOIN_BYTES = 4096, /* pieces of so many are put together before they are sent */
};

/* The public names stay free of OpenSSL's: a tls is an SSL_CTX, a tls_session an SSL_SESSION. */
static SSL_CTX *context_of(struct tls *tls)
{
    return (SSL_CTX *)(void *)tls;
}

static SSL *ssl_of(const struct stream *stream)
{
    return (SSL *)stream->ssl;
}

static void fault_of_openssl(struct fault *fault, const char *what, const char *which)
{
    unsigned long code = ERR_get_error();
    const char *reason =
        ERR_SYSTEM_ERROR(code) ? strerror(ERR_GET_REASON(code)) : ERR_reason_error_string(code);
    ERR_clear_error();
    fault_set(fault, FAULT_INTERNAL, "%s %s: %s", what, which, reason ? reason : "cannot be used");
}

/* ------------------------------------------------------------------------ TLS contexts */

static SSL_CTX *context_new(const SSL_METHOD *method, const struct tls_options *options)
{
    SSL_CTX *context = SSL_CTX_new(method);
    assert(context);
    SSL_CTX_set_min_proto_version(context, options->tls13_only ? TLS1_3_VERSION : TLS1_2_VERSION);
    SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                                  SSL_MODE_RELEASE_BUFFERS);
    /* Else a record takes two reads: its head of five bytes, and the rest. */
    SSL_CTX_set_read_ahead(context, 1);
    SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
    return context;
}

static bool use_certificate(SSL_CTX *context, const struct tls_options *options,
                            struct fault *fault)
{
    if (!options->cert_file)
        return true;
    if (SSL_CTX_use_certificate_chain_file(context, options->cert_file) != 1) {
        fault_of_openssl(fault, "certificate", options->cert_file);
        return false;
    }
    const char *key = options->key_file ? options->key_file : options->cert_file;
    if (SSL_CTX_use_PrivateKey_file(context, key, SSL_FILETYPE_PEM) != 1 ||
        SSL_CTX_check_private_key(context) != 1) {
        fault_of_openssl(fault, "private key", key);
        return false;
    }
    return true;
}

static bool use_authority(SSL_CTX *context, const struct tls_options *options, struct fault *fault)
{
    if (options->ca_file && SSL_CTX_load_verify_locations(context, options->ca_file, NULL) != 1) {
        fault_of_openssl(fault, "CA file", options->ca_file);
        return false;
    }
    return true;
}

static int choose_protocol(SSL *ssl, const unsigned char **chosen, unsigned char *chosen_len,
                           const unsigned char *offered, unsigned offered_len, void *with)
{
    (void)ssl;
    static const unsigned char ours[] = "\x02h2\x08http/1.1";
    enum { H2_LENGTH = 3 };
    unsigned skip = with ? 0 : H2_LENGTH;
    unsigned char *match;
    int found = SSL_select_next_proto(&match, chosen_len, ours + skip,
                                      (unsigned)sizeof(ours) - 1 - skip, offered, offered_len);
    *chosen = match;
    return found == OPENSSL_NPN_NEGOTIATED ? SSL_TLSEXT_ERR_OK : SSL_TLSEXT_ERR_ALERT_FATAL;
}

static struct digest ticket_secret;

static void make_ticket_secret(void)
{
    hash_random(ticket_secret.bytes, sizeof(ticket_secret.bytes));
}

/* Who comes back may meet another worker, or a new configuration: all that show the same
 * certificate read each other's tickets, as long as the process lives. Not where clients have to
 * show one: whom a ticket lets in there is for that context alone to say. */
static void share_tickets(SSL_CTX *context)
{
    enum { TICKET_KEY_BYTES = 80, PARTS = 3 };
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    struct {
        unsigned char part, certificate[SHA256_BYTES];
    } named = {0};
    struct digest keys[PARTS];
    X509 *certificate = SSL_CTX_get0_certificate(context);
    if (!certificate || X509_digest(certificate, EVP_sha256(), named.certificate, NULL) != 1 ||
        SSL_CTX_set_tlsext_ticket_keys(context, NULL, 0) != TICKET_KEY_BYTES)
        return;
    pthread_once(&once, make_ticket_secret);
    struct text secret = {(const char *)ticket_secret.bytes, sizeof(ticket_secret.bytes)};
    for (; named.part < PARTS; named.part++)
        keys[named.part] =
            hash_hmac_sha256(secret, (struct text){(const char *)&named, sizeof(named)});
    SSL_CTX_set_tlsext_ticket_keys(context, keys, TICKET_KEY_BYTES);
    OPENSSL_cleanse(keys, sizeof(keys));
}

struct tls *tls_new_server(const struct tls_options *options, struct fault *fault)
{
    SSL_CTX *context = context_new(TLS_server_method(), options);
    static bool http2 = true; /* its address says it */
    SSL_CTX_set_alpn_select_cb(context, choose_protocol, options->http2 ? &http2 : NULL);
    /* Sessions are in the clients' tickets; nothing is kept of them here. */
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
    static const unsigned char session_context[] = "sluice";
    SSL_CTX_set_session_id_context(context, session_context, sizeof(session_context) - 1);
    if (options->ca_file) {
        SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
        SSL_CTX_set_verify_depth(context, TLS_VERIFY_DEPTH);
        SSL_CTX_set_client_CA_list(context, SSL_load_client_CA_file(options->ca_file));
    }
    if (use_certificate(context, options, fault) && use_authority(context, options, fault)) {
        if (!options->ca_file)
            share_tickets(context);
        return (struct tls *)(void *)context;
    }
    SSL_CTX_free(context);
    return NULL;
}

static int on_new_session(SSL *ssl, SSL_SESSION *session)
{
    struct stream *stream = SSL_get_app_data(ssl);
    if (!stream || !stream->session)
        return 0;
    tls_session_free(*stream->session);
    *stream->session = (struct tls_session *)(void *)session;
    return 1; /* we keep the reference */
}

struct tls *tls_new_client(const struct tls_options *options, struct fault *fault)
{
    SSL_CTX *context = context_new(TLS_client_method(), options);
    static const unsigned char ours[] = "\x02h2\x08http/1.1";
    size_t skip = options->http2 ? 0 : sizeof("\x02h2") - 1;
    SSL_CTX_set_alpn_protos(context, ours + skip, (unsigned)(sizeof(ours) - 1 - skip));
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER, NULL);
    SSL_CTX_set_verify_depth(context, TLS_VERIFY_DEPTH);
    SSL_CTX_set_session_cache_mode(context,
                                   SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL_STORE);
    SSL_CTX_sess_set_new_cb(context, on_new_session);
    if (!options->ca_file)
        SSL_CTX_set_default_verify_paths(context);
    if (use_certificate(context, options, fault) && use_authority(context, options, fault))
        return (struct tls *)(void *)context;
    SSL_CTX_free(context);
    return NULL;
}

void tls_no_alpn(struct tls *tls)
{
    SSL_CTX_set_alpn_protos(context_of(tls), NULL, 0);
}

void tls_unref(struct tls *tls)
{
    SSL_CTX_free(context_of(tls));
}

void tls_session_free(struct tls_session *session)
{
    SSL_SESSION_free((SSL_SESSION *)(void *)session);
}

/* --------------------------------------------------------------------------- system calls */

/* libc's own are points where a thread may be cancelled, which costs two locked instructions each
 * time. No thread of ours is ever cancelled. Results and errno are theirs. */
static ssize_t receive(int fd, void *into, size_t bytes)
{
    return syscall(SYS_recvfrom, fd, into, bytes, 0, NULL, NULL);
}

static ssize_t receive_message(int fd, struct msghdr *message)
{
    return syscall(SYS_recvmsg, fd, message, 0);
}

static ssize_t send_bytes(int fd, const void *from, size_t bytes)
{
    return syscall(SYS_sendto, fd, from, bytes, MSG_NOSIGNAL, NULL, 0);
}

/* ------------------------------------------------------------------ between TLS and socket */

/* OpenSSL's own BIO for sockets does not tell whether a read has emptied the socket; and a write to
 * who has left raises a signal. */
static int on_bio_read(BIO *bio, char *into, int bytes)
{
    struct stream *stream = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    ssize_t got = receive(stream->fd, into, (size_t)bytes);
    stream->emptied = got < bytes;
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        BIO_set_retry_read(bio);
    if (got == 0)
        BIO_set_flags(bio, BIO_FLAGS_IN_EOF);
    return (int)got;
}

static int on_bio_write(BIO *bio, const char *from, int bytes)
{
    const struct stream *stream = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    ssize_t sent = send_bytes(stream->fd, from, (size_t)bytes);
    if (sent < 0 && (errno == EAGAIN || errno == EINTR))
        BIO_set_retry_write(bio);
    return (int)sent;
}

static long on_bio_ctrl(BIO *bio, int what, long number, void *pointer)
{
    (void)number;
    (void)pointer;
    if (what == BIO_CTRL_EOF)
        return BIO_test_flags(bio, BIO_FLAGS_IN_EOF) != 0;
    return what == BIO_CTRL_FLUSH; /* nothing is held back */
}

static BIO_METHOD *bio_method;

static void make_bio_method(void)
{
    bio_method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "stream");
    assert(bio_method);
    BIO_meth_set_read(bio_method, on_bio_read);
    BIO_meth_set_write(bio_method, on_bio_write);
    BIO_meth_set_ctrl(bio_method, on_bio_ctrl);
}

/* Stands and ends with the SSL of <stream>. */
static BIO *bio_of(struct stream *stream)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, make_bio_method);
    BIO *bio = BIO_new(bio_method);
    assert(bio);
    BIO_set_data(bio, stream);
    BIO_set_init(bio, 1);
    return bio;
}

/* ------------------------------------------------------------------------------ streams */

/* SSL_get_error() takes any error of the thread for one of the call: there must be none. Mostly
 * there is none, and to look is cheaper than to clear. */
static void forget_errors(void)
{
    if (ERR_peek_error())
        ERR_clear_error();
}

void stream_init(struct stream *stream, int fd)
{
    *stream = (struct stream){.fd = fd};
}

void stream_init_inside(struct stream *stream, const struct stream_inside *how, void *carried)
{
    *stream = (struct stream){.fd = -1, .inside = how, .is_inside = true, .carried = carried};
}

static SSL *ssl_begin(struct stream *stream, struct tls *tls)
{
    SSL *ssl = SSL_new(context_of(tls));
    assert(ssl);
    BIO *bio = bio_of(stream);
    SSL_set_bio(ssl, bio, bio);
    SSL_set_app_data(ssl, stream);
    stream->ssl = ssl;
    stream->shaking = true;
    return ssl;
}

void stream_tls_server(struct stream *stream, struct tls *tls)
{
    SSL_set_accept_state(ssl_begin(stream, tls));
}

bool stream_tls_client(struct stream *stream, struct tls *tls, const char *host,
                       struct tls_session **session)
{
    SSL *ssl = ssl_begin(stream, tls);
    SSL_set_connect_state(ssl);
    stream->session = session;
    if (session && *session)
        SSL_set_session(ssl, (SSL_SESSION *)(void *)*session);
    struct in6_addr address;
    if (inet_pton(AF_INET, host, &address) == 1 || inet_pton(AF_INET6, host, &address) == 1)
        return X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), host) == 1;
    SSL_set_hostflags(ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    return SSL_set_tlsext_host_name(ssl, host) == 1 && SSL_set1_host(ssl, host) == 1;
}

int stream_shake(struct stream *stream, struct fault *fault)
{
    ERR_clear_error();
    int done = SSL_do_handshake(ssl_of(stream));
    if (done == 1) {
        stream->shaking = false;
        return 0;
    }
    int error = SSL_get_error(ssl_of(stream), done);
    if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE)
        return STREAM_WAIT;
    long verified = SSL_get_verify_result(ssl_of(stream));
    if (verified != X509_V_OK)
        fault_set(fault, FAULT_TARGET_DOWN, "TLS: certificate refused: %s",
                  X509_verify_cert_error_string(verified));
    else
        fault_of_openssl(fault, "TLS", "handshake");
    ERR_clear_error();
    return STREAM_BROKEN;
}

void stream_offer_http1(struct stream *stream)
{
    static const unsigned char only[] = "\x08http/1.1";
    SSL_set_alpn_protos(ssl_of(stream), only, sizeof(only) - 1);
}

void stream_move(struct stream *to, struct stream *from)
{
    assert(!from->is_inside);
    *to = *from;
    if (to->ssl) {
        SSL_set_app_data(ssl_of(to), to);
        BIO_set_data(SSL_get_rbio(ssl_of(to)), to);
    }
    *from = (struct stream){.fd = -1};
}

bool stream_is_http2(const struct stream *stream)
{
    const unsigned char *name = NULL;
    unsigned length = 0;
    if (stream->ssl && !stream->is_inside)
        SSL_get0_alpn_selected(ssl_of(stream), &name, &length);
    return text_equal((struct text){(const char *)name, length}, TEXT("h2"));
}

static ssize_t ssl_result(const struct stream *stream, int done)
{
    if (done > 0)
        return done;
    int error = SSL_get_error(ssl_of(stream), done);
    if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE)
        return STREAM_WAIT;
    ERR_clear_error();
    return error == SSL_ERROR_ZERO_RETURN ? 0 : STREAM_BROKEN;
}

void stream_note_arrivals(int fd)
{
    int yes = 1;
    setsockopt(fd, SOL_SOCKET, SO_TIMESTAMPNS, &yes, sizeof(yes));
}

/* Of TCP the kernel gives the arrival of the last byte that is read. */
static uint32_t waited_us(struct msghdr *message)
{
    struct timespec then, now;
    struct cmsghdr *control = CMSG_FIRSTHDR(message);
    if (!control || control->cmsg_level != SOL_SOCKET || control->cmsg_type != SCM_TIMESTAMPNS)
        return 0;
    memcpy(&then, CMSG_DATA(control), sizeof(then));
    clock_gettime(CLOCK_REALTIME, &now);
    int64_t us = (now.tv_sec - then.tv_sec) * 1000000 + (now.tv_nsec - then.tv_nsec) / 1000;
    /* Out of these bounds somebody has set the clock. */
    return us > 0 && us < WAITED_MAX_US ? (uint32_t)us : 0;
}

static ssize_t read_timed(struct stream *stream, void *into, size_t bytes)
{
    struct iovec piece = {into, bytes};
    __attribute__((uninitialized)) union {
        struct cmsghdr aligned;
        char room[CMSG_SPACE(sizeof(struct timespec))];
    } control;
    struct msghdr message = {.msg_iov = &piece,
                             .msg_iovlen = 1,
                             .msg_control = &control,
                             .msg_controllen = sizeof(control)};
    ssize_t got = receive_message(stream->fd, &message);
    stream->waited_us = got >= 0 && message.msg_controllen ? waited_us(&message) : 0;
    return got;
}

ssize_t stream_read(struct stream *stream, void *into, size_t bytes)
{
    if (stream->ssl) {
        if (stream->is_inside)
            return stream->inside->read(stream->carried, into, bytes);
        stream->emptied = false; /* what is read may have come before */
        forget_errors();
        return ssl_result(stream, SSL_read(ssl_of(stream), into, (int)bytes));
    }
    if (stream->untimed)
        stream->waited_us = 0;
    for (;;) {
        ssize_t got =
            stream->untimed ? receive(stream->fd, into, bytes) : read_timed(stream, into, bytes);
        if (got >= 0)
            return got;
        if (errno == EAGAIN)
            return STREAM_WAIT;
        if (errno != EINTR)
            return STREAM_BROKEN;
    }
}

bool stream_may_have_more(const struct stream *stream, size_t got, size_t asked)
{
    if (stream->ssl && stream->is_inside)
        return stream->inside->has_more(stream->carried);
    /* A short read from a socket has emptied it, and new bytes bring a new edge. */
    if (stream->ssl && (!stream->emptied || SSL_has_pending(ssl_of(stream))))
        return true;
    return got == asked;
}

/* How far a list of pieces has been written. */
struct place {
    const struct iovec *pieces;
    int count, at;
    size_t offset; /* in pieces[at] */
};

/* The bytes of the next record: put together in <room>, or where they are when all of them lie in
 * one piece. */
static struct text take_record(struct place *place, char *room)
{
    struct text record = {room, 0};
    while (place->at < place->count && record.len < TLS_RECORD_BYTES) {
        const struct iovec *piece = &place->pieces[place->at];
        const char *from = (const char *)piece->iov_base + place->offset;
        size_t bytes = piece->iov_len - place->offset;
        if (bytes > TLS_RECORD_BYTES - record.len)
            bytes = TLS_RECORD_BYTES - record.len;
        if (record.len == 0 && (bytes == TLS_RECORD_BYTES || place->at + 1 == place->count))
            record.at = from;
        else
            memcpy(room + record.len, from, bytes);
        record.len += bytes;
        place->offset += bytes;
        if (place->offset == piece->iov_len) {
            place->at++;
            place->offset = 0;
        }
    }
    return record;
}

/* One record at a time: pieces are put together, so that a small head does not get a record (and
 * a system call) of its own. After WANT_WRITE the same bytes come again at the same place of the
 * pieces, as SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER asks. */
static ssize_t write_records(struct stream *stream, const struct iovec *pieces, int count)
{
    static _Thread_local void *mine;
    if (stream->is_inside)
        return stream->inside->write(stream->carried, pieces, count);
    char *room = memory_of_thread(&mine, TLS_RECORD_BYTES);
    struct place place = {.pieces = pieces, .count = count};
    size_t sent = 0;
    for (;;) {
        struct place from = place;
        struct text record = take_record(&place, room);
        if (record.len == 0)
            return (ssize_t)sent;
        forget_errors();
        ssize_t done = ssl_result(stream, SSL_write(ssl_of(stream), record.at, (int)record.len));
        if (done == 0)
            done = STREAM_BROKEN;
        if (done < 0)
            return sent ? (ssize_t)sent : done;
        sent += (size_t)done;
        if ((size_t)done < record.len) { /* step back to where the record ended */
            place = from;
            place.offset += (size_t)done;
            while (place.at < count && place.offset >= pieces[place.at].iov_len)
                place.offset -= pieces[place.at++].iov_len;
        }
    }
}

static ssize_t send_pieces(const struct stream *stream, const struct iovec *pieces, int count)
{
    struct msghdr message = {.msg_iov = (struct iovec *)(uintptr_t)pieces,
                             .msg_iovlen = (size_t)count};
    for (;;) {
        ssize_t sent = count == 1 ? send_bytes(stream->fd, pieces->iov_base, pieces->iov_len)
                                  : sendmsg(stream->fd, &message, MSG_NOSIGNAL);
        if (sent >= 0)
            return sent;
        if (errno == EAGAIN)
            return STREAM_WAIT;
        if (errno != EINTR)
            return STREAM_BROKEN;
    }
}

/* The kernel takes one piece faster than a list of them: the few that a head and a small body are
 * cost less to put together here than to be read from a list there. */
ssize_t stream_write(struct stream *stream, const struct iovec *pieces, int count)
{
    if (stream->ssl) /* or inside another */
        return write_records(stream, pieces, count);
    if (count == 1)
        return send_pieces(stream, pieces, 1);
    __attribute__((uninitialized)) char joined[JOIN_BYTES];
    size_t filled = 0;
    for (int i = 0; i < count; i++) {
        if (pieces[i].iov_len > sizeof(joined) - filled)
            return send_pieces(stream, pieces, count);
        if (pieces[i].iov_len)
            memcpy(joined + filled, pieces[i].iov_base, pieces[i].iov_len);
        filled += pieces[i].iov_len;
    }
    return send_pieces(stream, &(struct iovec){joined, filled}, 1);
}

bool stream_is_unconfirmed(const struct stream *stream)
{
    int bytes = 0;
    if (stream->is_inside)
        return stream->inside->is_unread && stream->inside->is_unread(stream->carried);
    return ioctl(stream->fd, SIOCOUTQ, &bytes) == 0 && bytes > 0;
}

/* It is closed then. */
static bool close_inside(struct stream *stream, bool reset)
{
    const struct stream_inside *inside = stream->inside;
    if (!stream->is_inside)
        return false;
    stream->inside = NULL;
    stream->is_inside = false;
    inside->close(stream->carried, reset);
    return true;
}

void stream_shut(struct stream *stream)
{
    if (stream->is_inside)
        stream->inside->shut(stream->carried);
    if (stream->fd < 0)
        return;
    if (stream->ssl && !stream->shaking) {
        ERR_clear_error();
        SSL_shutdown(ssl_of(stream));
        ERR_clear_error();
    }
    shutdown(stream->fd, SHUT_WR);
}

void stream_close(struct stream *stream)
{
    if (close_inside(stream, false) || stream->fd < 0)
        return;
    if (stream->ssl) {
        ERR_clear_error();
        /* OpenSSL forgets sessions of connections that were not shut down. */
        if (!stream->shaking)
            SSL_shutdown(ssl_of(stream));
        ERR_clear_error();
        SSL_free(ssl_of(stream));
        stream->ssl = NULL;
    }
    close(stream->fd);
    stream->fd = -1;
}

void stream_reset(struct stream *stream)
{
    if (close_inside(stream, true) || stream->fd < 0)
        return;
    struct linger now = {.l_onoff = 1, .l_linger = 0};
    setsockopt(stream->fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
    if (stream->ssl) {
        SSL_set_quiet_shutdown(ssl_of(stream), 1);
        SSL_free(ssl_of(stream));
        stream->ssl = NULL;
    }
    close(stream->fd);
    stream->fd = -1;
}
