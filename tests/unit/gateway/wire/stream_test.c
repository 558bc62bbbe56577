/* SPDX-License-Identifier: Apache-2.0 */
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "gateway/base/memory.h"
#include "gateway/wire/stream.h"

/* cmocka wants the headers above. */
#include <cmocka.h>

enum { PIECES_MAX = 4, RECORD = 16384, READ_BYTES = 3000 };

static char cert_file[] = "/tmp/stream-test-cert-XXXXXX";
static char key_file[] = "/tmp/stream-test-key-XXXXXX";

static FILE *open_new(char *name)
{
    int fd = mkstemp(name);
    assert_true(fd >= 0);
    FILE *file = fdopen(fd, "w");
    assert_non_null(file);
    return file;
}

/* A certificate for localhost that signs itself. */
static int make_certificate(void **state)
{
    (void)state;
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *cert = X509_new();
    assert_non_null(key);
    assert_non_null(cert);
    X509_set_version(cert, X509_VERSION_3);
    ASN1_INTEGER_set(X509_get_serialNumber(cert), 1);
    X509_gmtime_adj(X509_getm_notBefore(cert), -3600);
    X509_gmtime_adj(X509_getm_notAfter(cert), 3600);
    X509_set_pubkey(cert, key);
    X509_NAME *name = X509_get_subject_name(cert);
    X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)"localhost", -1, -1,
                               0);
    X509_set_issuer_name(cert, name);
    assert_true(X509_sign(cert, key, EVP_sha256()) > 0);
    FILE *file = open_new(cert_file);
    assert_int_equal(PEM_write_X509(file, cert), 1);
    fclose(file);
    file = open_new(key_file);
    assert_int_equal(PEM_write_PrivateKey(file, key, NULL, NULL, 0, NULL, NULL), 1);
    fclose(file);
    X509_free(cert);
    EVP_PKEY_free(key);
    return 0;
}

static int remove_certificate(void **state)
{
    (void)state;
    unlink(cert_file);
    unlink(key_file);
    return 0;
}

/* ------------------------------------------------------------------------- two that talk */

struct pair {
    struct tls *server_tls, *client_tls;
    struct stream server, client;
};

static void shake(struct pair *pair)
{
    struct fault fault = {0};
    for (int turn = 0; pair->server.shaking || pair->client.shaking; turn++) {
        assert_true(turn < 100);
        if (pair->client.shaking)
            assert_int_not_equal(stream_shake(&pair->client, &fault), STREAM_BROKEN);
        if (pair->server.shaking)
            assert_int_not_equal(stream_shake(&pair->server, &fault), STREAM_BROKEN);
    }
}

/* The server's socket takes little at once. */
static void begin(struct pair *pair)
{
    struct fault fault = {0};
    int fds[2], small = 1;
    pair->server_tls =
        tls_new_server(&(struct tls_options){.cert_file = cert_file, .key_file = key_file}, &fault);
    pair->client_tls = tls_new_client(&(struct tls_options){.ca_file = cert_file}, &fault);
    assert_non_null(pair->server_tls);
    assert_non_null(pair->client_tls);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
    setsockopt(fds[0], SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
    stream_init(&pair->server, fds[0]);
    stream_init(&pair->client, fds[1]);
    stream_tls_server(&pair->server, pair->server_tls);
    assert_true(stream_tls_client(&pair->client, pair->client_tls, "localhost", NULL));
    shake(pair);
}

static void end(struct pair *pair)
{
    stream_close(&pair->server);
    stream_close(&pair->client);
    tls_unref(pair->server_tls);
    tls_unref(pair->client_tls);
}

static char byte_at(size_t place)
{
    return (char)(place * 7 + place / 251);
}

/* Reads what is there, which must be what comes next. */
static size_t read_on(struct stream *stream, size_t at)
{
    char bytes[READ_BYTES];
    ssize_t got = stream_read(stream, bytes, sizeof(bytes));
    assert_true(got > 0 || got == STREAM_WAIT);
    for (ssize_t i = 0; i < got; i++)
        assert_int_equal(bytes[i], byte_at(at + (size_t)i));
    return got > 0 ? (size_t)got : 0;
}

/* As one piece in memory of its own, as what has to wait is kept. */
static char *fill(size_t from, size_t bytes)
{
    char *at = memory_resize(NULL, bytes);
    for (size_t i = 0; i < bytes; i++)
        at[i] = byte_at(from + i);
    return at;
}

/* First as pieces, and what is left of them as one. */
static void send_all(struct pair *pair, const size_t sizes[PIECES_MAX])
{
    struct iovec pieces[PIECES_MAX];
    size_t all = 0, sent = 0, seen = 0;
    for (int i = 0; i < PIECES_MAX; i++) {
        pieces[i] = (struct iovec){fill(all, sizes[i]), sizes[i]};
        all += sizes[i];
    }
    ssize_t done = stream_write(&pair->server, pieces, PIECES_MAX);
    for (int i = 0; i < PIECES_MAX; i++)
        memory_free(pieces[i].iov_base);
    while (seen < all) {
        assert_int_not_equal(done, STREAM_BROKEN);
        sent += done > 0 ? (size_t)done : 0;
        done = 0;
        seen += read_on(&pair->client, seen);
        if (sent == all)
            continue;
        char *rest = fill(sent, all - sent);
        done = stream_write(&pair->server, &(struct iovec){rest, all - sent}, 1);
        memory_free(rest);
    }
    assert_int_equal(sent, all);
}

/* -------------------------------------------------------------------------------- tests */

static void all_pieces_come_in_order(void **state)
{
    (void)state;
    static const size_t shapes[][PIECES_MAX] = {
        {1},
        {300, 900},
        {0, 0, 0, 700},
        {700, 0, 0, 0},
        {RECORD},
        {RECORD, 1},
        {1, RECORD},
        {RECORD - 1, 2, RECORD},
        {RECORD, RECORD, RECORD, RECORD},
        {5, 10 * RECORD + 3, 7},
        {20 * RECORD},
        {20 * RECORD, 20 * RECORD, 0, 1},
    };
    struct pair pair;
    begin(&pair);
    for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++)
        send_all(&pair, shapes[i]);
    end(&pair);
}

static void a_head_and_a_small_body_are_one_record(void **state)
{
    (void)state;
    static const size_t sizes[PIECES_MAX] = {300, 900, 0, 20};
    struct iovec pieces[PIECES_MAX];
    struct pair pair;
    size_t all = 0;
    begin(&pair);
    for (int i = 0; i < PIECES_MAX; i++) {
        pieces[i] = (struct iovec){fill(all, sizes[i]), sizes[i]};
        all += sizes[i];
    }
    assert_int_equal(stream_write(&pair.server, pieces, PIECES_MAX), all);
    assert_int_equal(read_on(&pair.client, 0), all); /* a read gives what is in one */
    for (int i = 0; i < PIECES_MAX; i++)
        memory_free(pieces[i].iov_base);
    end(&pair);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_pieces_come_in_order),
        cmocka_unit_test(a_head_and_a_small_body_are_one_record),
    };
    return cmocka_run_group_tests(tests, make_certificate, remove_certificate);
}
