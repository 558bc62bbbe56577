/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <jansson.h>
#include <malloc.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "gateway/base/clock.h"
#include "gateway/base/log.h"
#include "gateway/base/memory.h"
#include "gateway/base/sanitizer.h"
#include "tests/unit/child.h"

/* cmocka wants the headers above. */
#include <cmocka.h>

static char folder[64];
static char path[96], other_path[96];

static int make_folder(void **state)
{
    (void)state;
    snprintf(folder, sizeof(folder), "/tmp/log_test.XXXXXX");
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof(path), "%s/log", folder);
    snprintf(other_path, sizeof(other_path), "%s/log.1", folder);
    return 0;
}

static int drop_folder(void **state)
{
    (void)state;
    log_close();
    unlink(path);
    unlink(other_path);
    return rmdir(folder);
}

/* All that stands in a file; free it. */
static char *contents(const char *of)
{
    FILE *file = fopen(of, "r");
    assert_non_null(file);
    char *all = memory_new(16 << 20);
    size_t len = fread(all, 1, (16 << 20) - 1, file);
    all[len] = '\0';
    fclose(file);
    return all;
}

/* Not with strstr(): under a sanitizer each call measures the whole rest. */
static size_t count(const char *in, const char *what)
{
    size_t n = 0, len = strlen(what);
    for (const char *at = in; *at; at++)
        n += *at == *what && strncmp(at, what, len) == 0;
    return n;
}

static void text_line_has_time_level_and_component(void **state)
{
    (void)state;
    log_open(path, LOG_TEXT, LOG_INFO);
    log_line(LOG_WARN, "config", "%s: \"no\\key\"", "acme");
    log_close();
    char *said = contents(path);
    int year, end = 0;
    assert_int_equal(sscanf(said, "%d-%*2d-%*2dT%*2d:%*2d:%*2d.%*3dZ %n", &year, &end), 1);
    assert_true(year > 2000);
    assert_string_equal(said + end, "WARN config: acme: \"no\\key\"\n");
    memory_free(said);
}

static void json_line_is_an_object_with_the_four_fields(void **state)
{
    (void)state;
    log_open(path, LOG_AUTO, LOG_INFO); /* a file is no terminal */
    assert_true(log_is_json());
    log_line(LOG_ERROR, "exchange", "a \"b\" \\ \n\x01 %s \xff end", "\xC3\xA9");
    log_close();
    char *said = contents(path);
    json_t *line = json_loads(said, JSON_REJECT_DUPLICATES, NULL);
    assert_non_null(line);
    assert_int_equal(json_object_size(line), 4);
    assert_int_equal(strlen(json_string_value(json_object_get(line, "ts"))), 24);
    assert_string_equal(json_string_value(json_object_get(line, "level")), "error");
    assert_string_equal(json_string_value(json_object_get(line, "component")), "exchange");
    assert_string_equal(json_string_value(json_object_get(line, "msg")),
                        "a \"b\" \\ \n\x01 \xC3\xA9 \xEF\xBF\xBD end");
    json_decref(line);
    memory_free(said);
}

static void nobody_can_forge_a_line(void **state)
{
    (void)state;
    log_open(path, LOG_TEXT, LOG_INFO);
    log_line(LOG_INFO, "client", "bad name %s", "x\n2026 INFO admin: fine\x1b[2J\xC2\x9B");
    log_close();
    char *said = contents(path);
    assert_int_equal(count(said, "\n"), 1);
    assert_non_null(strstr(said, "x\\n2026 INFO admin: fine\\u001b[2J\\u009b\n"));
    memory_free(said);
}

static void lower_levels_are_left_out(void **state)
{
    (void)state;
    log_open(path, LOG_TEXT, LOG_WARN);
    assert_false(log_wants(LOG_INFO));
    log_line(LOG_INFO, "a", "left out");
    log_set_level(LOG_DEBUG);
    assert_true(log_wants(LOG_DEBUG));
    log_line(LOG_DEBUG, "a", "now in");
    log_close();
    char *said = contents(path);
    assert_null(strstr(said, "left out"));
    assert_non_null(strstr(said, "DEBUG a: now in\n"));
    memory_free(said);
}

static void long_message_is_cut_and_stays_one_line(void **state)
{
    (void)state;
    char *message = memory_new(100001);
    memset(message, '\x01', 100000);
    for (int json = 0; json < 2; json++) {
        unlink(path);
        log_open(path, json ? LOG_JSON : LOG_TEXT, LOG_INFO);
        log_line(LOG_INFO, "a", "%s", message);
        log_close();
        char *said = contents(path);
        assert_int_equal(count(said, "\n"), 1);
        assert_true(strlen(said) > 1000 && strlen(said) <= 8192);
        json_t *line = json_loads(said, 0, NULL);
        assert_true((line != NULL) == (json == 1));
        json_decref(line);
        memory_free(said);
    }
    memory_free(message);
}

/* Wait until <what> stands in the file <of>; false after a minute. */
static bool appears(const char *of, const char *what)
{
    for (int i = 0; i < 6000; i++) {
        char *said = contents(of);
        bool is_there = strstr(said, what) != NULL;
        memory_free(said);
        if (is_there)
            return true;
        usleep(10000);
    }
    return false;
}

static void lines_arrive_without_closing(void **state)
{
    (void)state;
    log_open(path, LOG_TEXT, LOG_INFO);
    log_line(LOG_INFO, "a", "quiet");
    assert_true(appears(path, "quiet\n"));
    log_line(LOG_ERROR, "a", "loud");
    assert_true(appears(path, "loud\n"));
    log_raw(TEXT("raw\n"));
    assert_true(appears(path, "\nraw\n"));
}

static void reopen_follows_logrotate(void **state)
{
    (void)state;
    log_open(path, LOG_TEXT, LOG_INFO);
    log_line(LOG_INFO, "a", "before");
    assert_true(appears(path, "before\n"));
    assert_int_equal(rename(path, other_path), 0);
    log_reopen();
    for (int i = 0; i < 6000 && access(path, F_OK) != 0; i++)
        usleep(10000);
    log_line(LOG_INFO, "a", "after");
    log_close();
    char *old = contents(other_path), *new = contents(path);
    assert_int_equal(count(old, "\n"), 1);
    assert_non_null(strstr(new, "INFO a: after\n"));
    memory_free(old);
    memory_free(new);
}

/* Send stderr to the file <path> while it lasts. */
static int saved_stderr;

static void catch_stderr(void)
{
    fflush(stderr);
    saved_stderr = dup(STDERR_FILENO);
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND, 0600);
    assert_true(fd >= 0 && dup2(fd, STDERR_FILENO) == STDERR_FILENO);
    close(fd);
}

static void release_stderr(void)
{
    dup2(saved_stderr, STDERR_FILENO);
    close(saved_stderr);
}

static void without_a_log_lines_go_to_stderr(void **state)
{
    (void)state;
    catch_stderr();
    log_line(LOG_ERROR, "a", "too early");
    log_open("/nonexistent/log", LOG_TEXT, LOG_INFO);
    log_line(LOG_INFO, "a", "not lost");
    log_close();
    log_line(LOG_ERROR, "a", "too late");
    release_stderr();
    char *said = contents(path);
    assert_int_equal(count(said, "\n"), 4);
    assert_non_null(strstr(said, "a: too early\n"));
    assert_non_null(strstr(said, "ERROR log: /nonexistent/log: cannot be opened"));
    assert_non_null(strstr(said, "a: not lost\n"));
    assert_non_null(strstr(said, "a: too late\n"));
    memory_free(said);
}

static void forked_child_is_heard(void **state)
{
    (void)state;
    log_open(other_path, LOG_TEXT, LOG_INFO);
    log_line(LOG_INFO, "parent", "once");
    pid_t child = child_fork();
    if (child == 0) {
        catch_stderr();
        log_line(LOG_INFO, "child", "hello");
        log_close();
        _exit(0);
    }
    int status = 1;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    log_close();
    char *said = contents(path), *parent = contents(other_path);
    assert_non_null(strstr(said, "child: hello\n"));
    assert_int_equal(count(parent, "parent: once\n"), 1);
    memory_free(said);
    memory_free(parent);
}

enum { THREADS = 4, LINES_EACH = 3000 };

static void *chatter(void *number)
{
    for (int i = 0; i < LINES_EACH; i++)
        log_line(LOG_INFO, "thread", "from %d number %d.", *(int *)number, i);
    return NULL;
}

static void lines_of_threads_do_not_mix(void **state)
{
    (void)state;
    pthread_t threads[THREADS];
    int numbers[THREADS];
    log_open(path, LOG_TEXT, LOG_INFO);
    for (int i = 0; i < THREADS; i++) {
        numbers[i] = i;
        assert_int_equal(pthread_create(&threads[i], NULL, chatter, &numbers[i]), 0);
    }
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    log_close();
    char *said = contents(path);
    assert_int_equal(count(said, "Z INFO thread: from "), THREADS * LINES_EACH);
    assert_int_equal(count(said, ".\n"), THREADS * LINES_EACH);
    memory_free(said);
}

/* A named pipe at <path> and its reading end, which does not read by itself. */
static int open_pipe(void)
{
    assert_int_equal(mkfifo(path, 0600), 0);
    int fd = open(path, O_RDONLY | O_NONBLOCK);
    assert_true(fd >= 0);
    return fd;
}

enum { HEARD_BYTES = 16 << 20, HEARD_WITHIN_US = 60000000, QUIET_MS = 20 };

/* How many lines are missing, by what <said> tells of them. */
static unsigned long long missing_in(const char *said)
{
    static const char words[] = " WARN log: ";
    unsigned long long sum = 0, lines;
    for (const char *at = said; (at = strstr(at, words)) != NULL; at += sizeof(words) - 1) {
        assert_int_equal(sscanf(at, " WARN log: %llu lines are missing", &lines), 1);
        sum += lines;
    }
    return sum;
}

/* Read on behind what stands in <all> until <lines> that hold <word> have come, or are said to be
 * missing. */
static void hear(int fd, char *all, const char *word, size_t lines)
{
    size_t len = strlen(all);
    uint64_t start = clock_now_us();
    for (;;) {
        struct pollfd ready = {.fd = fd, .events = POLLIN};
        ssize_t got = 0;
        if (poll(&ready, 1, QUIET_MS) > 0)
            got = read(fd, all + len, HEARD_BYTES - 1 - len);
        len += got > 0 ? (size_t)got : 0;
        all[len] = '\0';
        if (got <= 0 && count(all, word) + missing_in(all) == lines)
            return;
        assert_true(clock_now_us() - start < HEARD_WITHIN_US);
    }
}

static void what_a_slow_reader_misses_is_counted(void **state)
{
    (void)state;
    enum { LINES = 60000 };
    int fd = open_pipe();
    log_open(path, LOG_TEXT, LOG_INFO);
    uint64_t start = clock_now_us();
    for (int i = 0; i < LINES; i++)
        log_line(LOG_INFO, "flood", "%060d,%060d.", i, i);
    assert_true(clock_now_us() - start < 60000000); /* it never waited for the reader */
    char *all = memory_new(HEARD_BYTES);
    hear(fd, all, " INFO flood: 0", LINES);
    assert_true(missing_in(all) > 0);
    assert_int_equal(count(all, ".\n"), count(all, " INFO flood: 0"));
    log_line(LOG_INFO, "flood", "over");
    hear(fd, all, " INFO flood: ", LINES + 1);
    assert_non_null(strstr(all, " INFO flood: over\n"));
    log_close();
    close(fd);
    memory_free(all);
}

static void stalled_reader_does_not_hold_up_the_end(void **state)
{
    (void)state;
    int fd = open_pipe();
    log_open(path, LOG_TEXT, LOG_INFO);
    for (int i = 0; i < 2000; i++)
        log_line(LOG_INFO, "flood", "%0100d", i);
    uint64_t start = clock_now_us();
    log_close();
    assert_true(clock_now_us() - start < 20000000);
    close(fd);
}

static void closed_pipe_and_full_disk_do_no_harm(void **state)
{
    (void)state;
    int fd = open_pipe();
    log_open(path, LOG_TEXT, LOG_INFO);
    close(fd);
    log_line(LOG_ERROR, "a", "nobody reads this");
    log_close();
    log_open("/dev/full", LOG_TEXT, LOG_INFO);
    log_line(LOG_ERROR, "a", "no room for this");
    log_close();
}

static void assert_escape(struct text from, const char *to)
{
    char out[128];
    size_t len = log_escape(out, sizeof(out) - 1, from);
    out[len] = '\0';
    assert_string_equal(out, to);
}

static void escape_makes_the_inside_of_a_json_string(void **state)
{
    (void)state;
    assert_escape(TEXT(""), "");
    assert_escape(TEXT("plain / text"), "plain / text");
    assert_escape(TEXT("\"\\\b\f\n\r\t"), "\\\"\\\\\\b\\f\\n\\r\\t");
    assert_escape(TEXT("\0\x1f\x7f"), "\\u0000\\u001f\\u007f");
    assert_escape(TEXT("\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80"),
                  "\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80");
    /* overlong, surrogate, beyond the end, cut short */
    assert_escape(TEXT("\xC0\xAF"), "\xEF\xBF\xBD\xEF\xBF\xBD");
    assert_escape(TEXT("\xED\xA0\x80"), "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD");
    assert_escape(TEXT("\xF4\x90\x80\x80."), "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD.");
    assert_escape(TEXT("\xE2\x82"), "\xEF\xBF\xBD\xEF\xBF\xBD");
}

static void escape_never_passes_its_room_or_cuts_a_character(void **state)
{
    (void)state;
    struct text from = TEXT("a\"\x01\xE2\x82\xAC\xFFz");
    const char *whole = "a\\\"\\u0001\xE2\x82\xAC\xEF\xBF\xBDz";
    static const size_t ends[] = {0, 1, 1, 3, 3, 3, 3, 3, 3, 9, 9, 9, 12, 12, 12, 15, 16};
    for (size_t room = 0; room < sizeof(ends) / sizeof(*ends); room++) {
        char out[32];
        memset(out, '#', sizeof(out));
        assert_int_equal(log_escape(out, room, from), ends[room]);
        assert_memory_equal(out, whole, ends[room]);
        assert_int_equal(out[room], '#');
    }
}

#define WITH_FOLDER(test) cmocka_unit_test_setup_teardown(test, make_folder, drop_folder)

static size_t bytes_in_use(void)
{
    struct mallinfo2 now = mallinfo2();
    return now.uordblks + now.hblkhd;
}

enum { BURST_LINES = 1400 }; /* 220 KB, which the log kept for the next burst */

static void burst(void)
{
    for (int i = 0; i < BURST_LINES; i++)
        log_line(LOG_INFO, "burst", "%0120d", i);
}

/* Until a burst's memory is no longer held; <trickle>: there is a line now and then meanwhile. */
static void wait_given_back(size_t before, bool trickle)
{
    enum { ROUNDS = 3000, ROUND_US = 20000, NEAR = 64 << 10 };
    for (int i = 0; i < ROUNDS && bytes_in_use() > before + NEAR; i++) {
        if (trickle)
            log_line(LOG_INFO, "trickle", "%d", i);
        usleep(ROUND_US);
    }
    assert_true(bytes_in_use() <= before + NEAR);
}

static void memory_of_a_burst_is_given_back(bool trickle)
{
    if (UNDER_SANITIZER)
        return; /* it has a heap of its own, which is not told about */
    log_open(path, LOG_TEXT, LOG_INFO);
    log_line(LOG_INFO, "first", "line");
    size_t before = bytes_in_use();
    burst();
    wait_given_back(before, trickle);
    log_close();
    char *said = contents(path);
    assert_int_equal(count(said, " INFO burst: 0"), BURST_LINES);
    memory_free(said);
}

static void memory_of_a_burst_is_given_back_when_it_is_quiet(void **state)
{
    (void)state;
    memory_of_a_burst_is_given_back(false);
}

static void memory_of_a_burst_is_given_back_while_lines_go_on(void **state)
{
    (void)state;
    memory_of_a_burst_is_given_back(true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_FOLDER(text_line_has_time_level_and_component),
        WITH_FOLDER(json_line_is_an_object_with_the_four_fields),
        WITH_FOLDER(nobody_can_forge_a_line),
        WITH_FOLDER(lower_levels_are_left_out),
        WITH_FOLDER(long_message_is_cut_and_stays_one_line),
        WITH_FOLDER(lines_arrive_without_closing),
        WITH_FOLDER(reopen_follows_logrotate),
        WITH_FOLDER(without_a_log_lines_go_to_stderr),
        WITH_FOLDER(forked_child_is_heard),
        WITH_FOLDER(lines_of_threads_do_not_mix),
        WITH_FOLDER(what_a_slow_reader_misses_is_counted),
        WITH_FOLDER(stalled_reader_does_not_hold_up_the_end),
        WITH_FOLDER(closed_pipe_and_full_disk_do_no_harm),
        WITH_FOLDER(memory_of_a_burst_is_given_back_when_it_is_quiet),
        WITH_FOLDER(memory_of_a_burst_is_given_back_while_lines_go_on),
        cmocka_unit_test(escape_makes_the_inside_of_a_json_string),
        cmocka_unit_test(escape_never_passes_its_room_or_cuts_a_character),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
