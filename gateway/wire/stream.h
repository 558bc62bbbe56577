/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * stream - a non-blocking socket, plain or TLS, behind one face; or what is carried inside another
 * connection, behind the same.
 *
 * Owns its descriptor and its TLS state. Reading and writing never block and never raise SIGPIPE.
 * TLS contexts belong to one thread (OpenSSL 3.0 takes locks on shared ones).
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "gateway/base/fault.h"
#include "gateway/base/text.h"

/* ------------------------------------------------------------------------ TLS contexts */

struct tls;         /* a configured side of TLS: SSL_CTX */
struct tls_session; /* what is needed to resume a session: SSL_SESSION */

struct tls_options {
    const char *cert_file, *key_file; /* a server needs both; a client may have them */
    const char *ca_file; /* server: ask clients for certificates of this CA; client: trust this CA
                            only, else the system's */
    bool tls13_only;
    bool http2; /* ALPN has h2, too, and prefers it */
};

/* NULL and *fault when a file cannot be used. TLS 1.2 and up, ALPN http/1.1. */
struct tls *tls_new_server(const struct tls_options *options, struct fault *fault);
struct tls *tls_new_client(const struct tls_options *options, struct fault *fault);
/* A client's: what is spoken is not HTTP, and no name is offered for it. */
void tls_no_alpn(struct tls *tls);
/* Contexts are counted: streams hold theirs. */
void tls_unref(struct tls *tls);
void tls_session_free(struct tls_session *session);

/* ------------------------------------------------------------------------------ streams */

/* How one that has no socket of its own is read and written; the results are those of
 * stream_read() and the others below. <carried> is whose it is. */
struct stream_inside {
    ssize_t (*read)(void *carried, void *into, size_t bytes);
    bool (*has_more)(const void *carried);
    ssize_t (*write)(void *carried, const struct iovec *pieces, int count);
    void (*shut)(void *carried);
    void (*close)(void *carried, bool reset);
    bool (*is_unread)(const void *carried); /* NULL = that is never known */
};

struct stream {
    int fd; /* -1 = closed, or inside another */
    union {
        struct ssl_st *ssl; /* NULL = plain */
        const struct stream_inside *inside;
    };
    bool is_inside;
    bool shaking; /* the TLS handshake is not over */
    bool untimed; /* reads need not tell waited_us: they are cheaper */
    bool emptied; /* TLS: the last read took all that the socket had */
    uint32_t
        waited_us; /* how long the last of the bytes read had lain in the kernel; 0 = unknown */
    union {
        struct tls_session *
            *session; /* client: where a new session is put; borrowed, may be NULL */
        void *carried;
    };
};

enum { STREAM_WAIT = -1, STREAM_BROKEN = -2 };

/* Take over <fd>, which must be non-blocking. */
void stream_init(struct stream *stream, int fd);
/* One inside another connection; <carried> is for <how>. */
void stream_init_inside(struct stream *stream, const struct stream_inside *how, void *carried);
/* Begin TLS as a server, or as a client that wants to speak to <host> (a name or an address, which
 * the certificate must match). <session> may hold a session to resume and gets new ones. */
void stream_tls_server(struct stream *stream, struct tls *tls);
bool stream_tls_client(struct stream *stream, struct tls *tls, const char *host,
                       struct tls_session **session);
/* A client's, before the handshake: only HTTP/1.1 is offered, whatever the context says. */
void stream_offer_http1(struct stream *stream);
/* <to> goes on as <from>, which is closed then, without a word to the peer. */
void stream_move(struct stream *to, struct stream *from);
/* Go on with the handshake: 0 = done, STREAM_WAIT, STREAM_BROKEN (why in <fault>). */
int stream_shake(struct stream *stream, struct fault *fault);
/* Is HTTP/2 what the handshake has agreed on? */
bool stream_is_http2(const struct stream *stream);

/* Let the kernel note when bytes arrive on the TCP socket <fd>, or on those that a listener will
 * accept: so that waited_us is known. */
void stream_note_arrivals(int fd);

/* Bytes read (> 0), 0 at the end, STREAM_WAIT, STREAM_BROKEN. */
ssize_t stream_read(struct stream *stream, void *into, size_t bytes);
/* After a read of <got> of <asked> bytes: may there be more without another event? */
bool stream_may_have_more(const struct stream *stream, size_t got, size_t asked);
/* Bytes written, STREAM_WAIT, STREAM_BROKEN. */
ssize_t stream_write(struct stream *stream, const struct iovec *pieces, int count);
/* Has the peer's system not confirmed all that was written, or the peer said that it has not looked
 * at it? Then the peer has not read it. False also where that is not known: of what is no TCP. */
bool stream_is_unconfirmed(const struct stream *stream);
/* Tell the peer that nothing more is sent. */
void stream_shut(struct stream *stream);
void stream_close(struct stream *stream);
/* Close with a reset, so that the peer notices that something is missing. */
void stream_reset(struct stream *stream);
