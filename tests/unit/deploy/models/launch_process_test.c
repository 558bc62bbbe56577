/* SPDX-License-Identifier: Apache-2.0 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "deploy/models/launch_cage.h"
#include "deploy/models/launch_mark.h"
#include "deploy/models/launch_process.h"
#include "tests/unit/child.h"
#include "tests/unit/deploy/models/models_bench.h"

/* ------------------------------------------------------------------------ what is heard */

enum { LINES_MAX = 4000, FOUND_MAX = 16 };

static struct {
    struct launch_report last;
    unsigned reports, lines, found, looked;
    char line[LAUNCH_LINE_MAX + 1], all[65536];
    struct launch_name name;
    struct launch *launch;
} heard;

static struct launcher *launcher;

static void on_report(void *with, struct launch *launch, const struct launch_report *report)
{
    (void)with;
    heard.last = *report;
    heard.launch = launch;
    heard.reports++;
    if (report->stage == LAUNCH_ENDED)
        launch_process.forget(launch); /* as a desk may, from within */
}

static void on_line(void *with, struct launch *launch, bool error, struct text line)
{
    (void)with;
    (void)launch;
    (void)error;
    heard.lines++;
    snprintf(heard.line, sizeof heard.line, "%.*s", TEXT_ARGS(line));
    size_t used = strlen(heard.all);
    snprintf(heard.all + used, sizeof heard.all - used, "%.*s\n", TEXT_ARGS(line));
}

static void on_found(void *with, struct launcher *from, const struct launch_name *name,
                     struct launch *launch)
{
    (void)with;
    assert_ptr_equal(from, launcher);
    heard.name = *name;
    heard.launch = launch;
    heard.found++;
}

static void on_looked(void *with, struct launcher *from, bool reachable)
{
    (void)with;
    (void)from;
    assert_true(reachable);
    heard.looked++;
}

static void open_launcher(bool leave)
{
    static const struct node_spec node = {.name = {"local", 5}};
    struct launcher_site site = {.loop = bench_loop,
                                 .state_dir = bench_state,
                                 .owner = "test",
                                 .leave = leave,
                                 .ears = {on_report, on_line, on_found, on_looked, NULL}};
    struct fault fault;
    memset(&heard, 0, sizeof heard);
    launcher = launch_process.open(&site, &node, &fault);
    assert_non_null(launcher);
}

static bool has_looked(void)
{
    return heard.looked > 0;
}

static bool is_running(void)
{
    return heard.last.stage == LAUNCH_RUNNING && heard.reports > 0;
}

static bool has_ended(void)
{
    return heard.last.stage == LAUNCH_ENDED && heard.reports > 0;
}

static bool is_loaded(void)
{
    return strstr(heard.all, "model loaded") != NULL;
}

static int open_bench(void **state)
{
    (void)state;
    bench_open();
    open_launcher(false);
    return bench_until(has_looked) ? 0 : -1;
}

static int close_bench(void **state)
{
    (void)state;
    launch_process.close(launcher);
    bench_close();
    return bench_has_no_children() ? 0 : -1;
}

static struct launch *start(const char *program, const char *const *words, int64_t memory)
{
    struct launch_name name = {"fake", "r1", 7, 99};
    struct deployment_spec *spec = bench_spec(program, words);
    spec->resources.memory_bytes = memory;
    struct launch *launch = launch_process.start(launcher, &name, spec, &heard);
    spec_unref(spec);
    assert_int_equal(heard.reports, 0); /* nothing is told from within the call */
    assert_ptr_equal(launch_process.owner(launch), &heard);
    return launch;
}

#define WORDS(...) ((const char *const[]){__VA_ARGS__, NULL})

static int connect_to(const struct launch_address *address)
{
    struct sockaddr_in inet = {.sin_family = AF_INET, .sin_port = htons(address->port)};
    struct sockaddr_un local = {.sun_family = AF_UNIX};
    int fd = socket(address->is_unix ? AF_UNIX : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (address->is_unix)
        snprintf(local.sun_path, sizeof local.sun_path, "%.100s", address->host);
    else
        assert_int_equal(inet_pton(AF_INET, address->host, &inet.sin_addr), 1);
    int error = address->is_unix ? connect(fd, (struct sockaddr *)&local, sizeof local)
                                 : connect(fd, (struct sockaddr *)&inet, sizeof inet);
    close(fd);
    return error;
}

/* ------------------------------------------------------------------------------- the tests */

static void a_server_runs_listens_writes_lines_and_ends(void **state)
{
    (void)state;
    struct launch *launch =
        start(bench_fakellm(), WORDS("--port", "{port}", "--log-every-ms", "10"), 0);
    assert_true(bench_until(is_running));
    assert_false(heard.last.address.is_unix);
    assert_true(bench_until(is_loaded));
    assert_int_equal(connect_to(&heard.last.address), 0);
    bench_for(100000);
    assert_non_null(strstr(heard.all, "line 3"));
    launch_process.stop(launch, 5 * BENCH_SECOND);
    assert_true(bench_until(has_ended));
    assert_int_equal(heard.last.exit_code, 0);
    assert_string_equal(heard.last.reason, "exit");
    assert_int_not_equal(connect_to(&heard.last.address), 0);
}

static void a_server_may_listen_at_a_unix_socket(void **state)
{
    (void)state;
    struct launch *launch = start(bench_fakellm(), WORDS("--socket", "{socket}"), 0);
    assert_true(bench_until(is_loaded));
    assert_true(heard.last.address.is_unix);
    assert_int_equal(connect_to(&heard.last.address), 0);
    launch_process.stop(launch, BENCH_SECOND);
    assert_true(bench_until(has_ended));
    assert_int_equal(access(heard.last.address.host, F_OK), -1);
}

static void what_cannot_be_started_says_why_and_that_it_is_final(void **state)
{
    (void)state;
    static const char *const programs[] = {"/nowhere/server", "no-such-program-at-all", "/etc",
                                           "/etc/passwd"};
    for (size_t i = 0; i < sizeof programs / sizeof *programs; i++) {
        memset(&heard, 0, sizeof heard);
        start(programs[i], WORDS("-x"), 0);
        assert_true(bench_until(has_ended));
        assert_string_equal(heard.last.reason, "exec_failed");
        assert_true(heard.last.is_final);
        assert_int_equal(heard.last.exit_code, -1);
        assert_non_null(strstr(heard.last.words, programs[i]));
    }
}

static void a_file_that_is_no_program_is_told_by_exec_itself(void **state)
{
    (void)state;
    char path[100];
    snprintf(path, sizeof path, "%s/garbage", bench_state);
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0700);
    assert_int_equal(write(fd, "\1\2\3\n", 4), 4);
    close(fd);
    unsigned before = bench_descriptors();
    start(path, WORDS("-x"), 0);
    assert_true(bench_until(has_ended));
    assert_string_equal(heard.last.reason, "exec_failed");
    assert_non_null(strstr(heard.last.words, strerror(ENOEXEC)));
    assert_true(heard.last.is_final);
    assert_int_equal(bench_descriptors(), before);
}

static void an_exit_code_and_the_last_line_are_told(void **state)
{
    (void)state;
    start(bench_fakellm(), WORDS("--port", "{port}", "--exit-at-once", "1", "--exit-code", "42"),
          0);
    assert_true(bench_until(has_ended));
    assert_int_equal(heard.last.exit_code, 42);
    assert_false(heard.last.is_final);
    assert_non_null(strstr(heard.last.words, "crashing: at once"));
}

static void a_crash_by_a_signal_is_told(void **state)
{
    (void)state;
    start(bench_fakellm(), WORDS("--port", "{port}", "--crash-after-ms", "50", "--segv", "1"), 0);
    assert_true(bench_until(has_ended));
    assert_int_equal(heard.last.signal, SIGSEGV);
    assert_string_equal(heard.last.reason, "signal");
    assert_false(heard.last.oom);
}

static void who_ignores_term_is_killed_after_its_grace(void **state)
{
    (void)state;
    struct launch *launch =
        start(bench_fakellm(), WORDS("--port", "{port}", "--ignore-term", "1"), 0);
    assert_true(bench_until(is_loaded));
    uint64_t begun = clock_now_us();
    launch_process.stop(launch, 20 * BENCH_SECOND);
    launch_process.stop(launch, 200000); /* the shorter grace counts */
    launch_process.stop(launch, 20 * BENCH_SECOND);
    assert_true(bench_until(has_ended));
    assert_true(clock_now_us() - begun >= 200000);
    assert_int_equal(heard.last.signal, SIGKILL);
    assert_false(heard.last.oom);
}

static bool is_alone(void)
{
    return strstr(heard.all, "listening") != NULL;
}

/* A pid that the group still has, from the cage or from /proc. */
static void a_child_that_outlives_its_server_is_ended(void **state)
{
    (void)state;
    start(bench_fakellm(), WORDS("--port", "{port}", "--child", "1", "--crash-after-ms", "1500"),
          0);
    assert_true(bench_until(is_alone));
    pid_t leader = (pid_t)strtol(strstr(heard.all, "process ") + 8, NULL, 10);
    assert_int_equal(kill(-leader, 0), 0);
    assert_true(bench_until(has_ended));
    struct footprint left;
    footprint_of_sessions(&leader, &left, 1);
    assert_int_equal(left.resident, 0);
}

static bool child_has_gone(void)
{
    return process_began((pid_t)strtol(strstr(heard.all, "child ") + 6, NULL, 10)) == 0;
}

/* Such a machine gives us no group of our own for memory, by which all of a server is known. Where
 * they cannot be hidden, there are none. */
static void hide_groups(void)
{
    if (unshare(CLONE_NEWNS) == 0 && mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0)
        mount("none", "/sys/fs/cgroup", "tmpfs", MS_RDONLY, NULL);
}

static void a_child_with_a_session_of_its_own_is_ended_too(void **state)
{
    (void)state;
    int before = open("/proc/thread-self/ns/mnt", O_RDONLY | O_CLOEXEC);
    hide_groups();
    struct launch *launch =
        start(bench_fakellm(), WORDS("--port", "{port}", "--child", "2"), 64 << 20);
    assert_true(bench_until(is_alone));
    assert_false(child_has_gone());
    launch_process.stop(launch, BENCH_SECOND);
    assert_true(bench_until(has_ended));
    assert_true(bench_until(child_has_gone));
    setns(before, CLONE_NEWNS);
    close(before);
}

static void memory_beyond_the_limit_ends_it_as_oom(void **state)
{
    (void)state;
    start(bench_fakellm(), WORDS("--port", "{port}", "--grow-mb", "200"), 64 << 20);
    assert_true(bench_until(has_ended));
    assert_true(heard.last.oom);
    assert_string_equal(heard.last.reason, "oom_killed");
    assert_int_equal(heard.last.signal, SIGKILL);
}

static bool memory_is_known(void)
{
    return heard.last.memory_bytes > (20 << 20);
}

static void what_it_uses_of_memory_is_told(void **state)
{
    (void)state;
    struct launch *launch = start(bench_fakellm(), WORDS("--port", "{port}", "--load-mb", "20"), 0);
    assert_true(bench_until(memory_is_known));
    assert_true(heard.last.memory_bytes < (60 << 20));
    launch_process.stop(launch, 0);
    assert_true(bench_until(has_ended));
}

static void a_port_that_is_taken_is_told(void **state)
{
    (void)state;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    char port[16];
    assert_int_equal(bind(fd, (struct sockaddr *)&address, length), 0);
    assert_int_equal(listen(fd, 1), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &length), 0);
    snprintf(port, sizeof port, "%u", ntohs(address.sin_port));
    start(bench_fakellm(), WORDS("--port", port), 0);
    assert_true(bench_until(has_ended));
    assert_string_equal(heard.last.reason, "port_taken");
    close(fd);
}

static void it_has_its_variables_and_none_of_ours_and_secrets_are_blotted_out(void **state)
{
    (void)state;
    setenv("OUR_PRIVATE_KEY", "sk-our-own", 1);
    struct spec_pair pairs[] = {{TEXT("WISH"), TEXT("{name} at {port} {\"json\":1}")},
                                {TEXT("API_TOKEN"), TEXT("tell-nobody")}};
    static const char *const wanted[] = {"WISH", "OUR_PRIVATE_KEY", "API_TOKEN"};
    static const char *const expected[] = {"WISH=fake at ", "OUR_PRIVATE_KEY=(unset)",
                                           "API_TOKEN=***"};
    for (size_t i = 0; i < 3; i++) {
        memset(&heard, 0, sizeof heard);
        struct launch_name name = {"fake", "r1", 1, 1};
        struct deployment_spec *plain =
            bench_spec(bench_fakellm(), WORDS("--port", "{port}", "--print-env", wanted[i]));
        struct deployment_spec with = *plain;
        with.env = pairs;
        with.env_count = 2;
        struct deployment_spec *spec = spec_copy(&with);
        struct launch *launch = launch_process.start(launcher, &name, spec, NULL);
        assert_true(bench_until(is_loaded));
        assert_non_null(strstr(heard.all, expected[i]));
        assert_null(strstr(heard.all, "tell-nobody"));
        assert_true(i != 0 || strstr(heard.all, "{\"json\":1}"));
        launch_process.stop(launch, 0);
        assert_true(bench_until(has_ended));
        spec_unref(spec);
        spec_unref(plain);
    }
}

static bool has_many_lines(void)
{
    return heard.lines > 30000;
}

static void a_log_without_end_is_read_and_its_file_stays_bounded(void **state)
{
    (void)state;
    char path[100];
    struct stat file;
    struct launch *launch = start(
        "/usr/bin/yes", WORDS("a line of some length, again and again and again and again"), 0);
    assert_true(bench_until(has_many_lines));
    bench_for(2 * BENCH_SECOND);
    snprintf(path, sizeof path, "%s/deployments/fake/r1.log", bench_state);
    assert_int_equal(stat(path, &file), 0);
    assert_int_equal(file.st_mode & 0777, 0600);
    assert_true(file.st_size < (off_t)200 << 20);
    launch_process.stop(launch, 0);
    assert_true(bench_until(has_ended));
    snprintf(path, sizeof path, "%s/deployments/fake/r1.log.1", bench_state);
    assert_int_equal(stat(path, &file), 0);
    assert_true(file.st_size <= 4 << 20);
}

static void a_line_that_is_too_long_comes_in_pieces(void **state)
{
    (void)state;
    start("/usr/bin/printf", WORDS("%020000d\rprogress\rmore\nno end"), 0);
    assert_true(bench_until(has_ended));
    assert_int_equal(heard.lines, 6);
    assert_string_equal(heard.line, "no end");
}

static void two_hundred_starts_leave_nothing_behind(void **state)
{
    (void)state;
    unsigned before = bench_descriptors();
    for (unsigned i = 0; i < 200; i++) {
        memset(&heard, 0, sizeof heard);
        start("/bin/true", WORDS("x"), 0);
        assert_true(bench_until(has_ended));
        assert_int_equal(heard.last.exit_code, 0);
    }
    assert_int_equal(bench_descriptors(), before);
    assert_true(bench_has_no_children());
}

static void a_state_directory_that_cannot_be_written_is_told(void **state)
{
    (void)state;
    char path[100];
    snprintf(path, sizeof path, "%s/deployments", bench_state);
    rmdir(path);
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    close(fd);
    start(bench_fakellm(), WORDS("--port", "{port}"), 0);
    assert_true(bench_until(has_ended));
    assert_string_equal(heard.last.reason, "state_failed");
    assert_false(heard.last.is_final);
}

/* ---------------------------------------------------------------------------- taking over */

static void start_and_be_killed(const char *const *words)
{
    pid_t child = child_fork();
    if (child == 0) {
        open_launcher(false);
        bench_until(has_looked);
        start(bench_fakellm(), words, 0);
        bench_until(is_loaded);
        kill(getpid(), SIGKILL);
    }
    assert_int_equal(waitpid(child, NULL, 0), child);
}

static int open_nothing(void **state)
{
    (void)state;
    bench_open();
    launcher = NULL;
    return 0;
}

static void after_a_kill_the_next_one_takes_over(void **state)
{
    (void)state;
    start_and_be_killed(WORDS("--port", "{port}", "--log-every-ms", "20"));
    open_launcher(false);
    assert_true(bench_until(has_looked));
    assert_int_equal(heard.found, 1);
    assert_string_equal(heard.name.deployment, "fake");
    assert_string_equal(heard.name.replica, "r1");
    assert_int_equal(heard.name.revision, 7);
    assert_int_equal(heard.name.digest, 99);
    assert_int_equal(heard.reports, 0);
    struct deployment_spec *spec = bench_spec(bench_fakellm(), WORDS("x"));
    struct launch *launch = heard.launch;
    launch_process.adopt(launch, spec, &heard);
    spec_unref(spec);
    assert_true(bench_until(is_running));
    assert_int_equal(connect_to(&heard.last.address), 0);
    assert_true(bench_until(is_loaded)); /* its history, and it goes on: */
    unsigned lines = heard.lines;
    bench_for(200000);
    assert_true(heard.lines > lines);
    launch_process.stop(launch, BENCH_SECOND);
    assert_true(bench_until(has_ended));
}

static void one_that_is_not_wanted_is_ended(void **state)
{
    (void)state;
    start_and_be_killed(WORDS("--port", "{port}"));
    open_launcher(false);
    assert_true(bench_until(has_looked));
    assert_int_equal(heard.found, 1);
    launch_process.stop(heard.launch, BENCH_SECOND);
    assert_true(bench_until(has_ended));
}

static void another_nodes_is_left_to_it_and_a_strangers_is_ended(void **state)
{
    (void)state;
    start_and_be_killed(WORDS("--port", "{port}"));
    static const struct text same = {"local", 5}, other = {"gone", 4};
    launch_process_end_strangers(bench_state, "test", &same, 1);
    open_launcher(false);
    assert_true(bench_until(has_looked));
    assert_int_equal(heard.found, 1);
    launch_process_end_strangers(bench_state, "test", &other, 1);
    assert_true(bench_until(has_ended));
}

static pid_t leader_of_lost;

/* Or dead, and not buried yet by whoever has to: we are not its parent. */
static bool lost_is_gone(void)
{
    char path[40], words[512] = "";
    snprintf(path, sizeof path, "/proc/%d/stat", (int)leader_of_lost);
    FILE *stat = fopen(path, "re");
    if (!stat)
        return true;
    size_t len = fread(words, 1, sizeof words - 1, stat);
    fclose(stat);
    char *name_end = strrchr(words, ')');
    return len == 0 || (name_end && name_end[1] == ' ' && name_end[2] == 'Z');
}

static void what_was_started_and_not_written_down_is_ended(void **state)
{
    (void)state;
    char path[100], line[400] = "";
    start_and_be_killed(WORDS("--port", "{port}"));
    snprintf(path, sizeof path, "%s/deployments/fake/r1.log", bench_state);
    FILE *log = fopen(path, "re");
    assert_non_null(log);
    assert_true(fread(line, 1, sizeof line - 1, log) > 0);
    fclose(log);
    const char *told = strstr(line, "process ");
    assert_non_null(told);
    leader_of_lost = (pid_t)strtol(told + 8, NULL, 10);
    assert_int_equal(kill(leader_of_lost, 0), 0);
    snprintf(path, sizeof path, "%s/deployments/fake/r1.run", bench_state);
    assert_int_equal(unlink(path), 0);
    open_launcher(false);
    assert_true(bench_until(has_looked));
    assert_int_equal(heard.found, 0);
    assert_true(bench_until(lost_is_gone));
}

static void a_mark_of_another_process_or_of_garbage_is_not_believed(void **state)
{
    (void)state;
    static const char *const marks[] = {
        "", "sluice launch 1\n", "garbage\nend\n",
        ("sluice launch 1\nboot x\npid 1\nbegan 1\nnode local\nrevision 1\ndigest 1\nhost h\nport "
         "1\ncage \nend\n"),
        "sluice launch 1\npid 99999999999999999999999\nend\n"};
    char path[100];
    for (size_t i = 0; i < sizeof marks / sizeof *marks; i++) {
        snprintf(path, sizeof path, "%s/deployments", bench_state);
        mkdir(path, 0700);
        snprintf(path, sizeof path, "%s/deployments/fake", bench_state);
        mkdir(path, 0700);
        snprintf(path, sizeof path, "%s/deployments/fake/r1.run", bench_state);
        int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        assert_true(write(fd, marks[i], strlen(marks[i])) >= 0);
        close(fd);
        open_launcher(false);
        assert_true(bench_until(has_looked));
        assert_int_equal(heard.found, 0);
        assert_int_equal(access(path, F_OK), -1);
        launch_process.close(launcher);
    }
    open_launcher(false);
}

static void with_leave_it_stays_and_is_found_again(void **state)
{
    (void)state;
    open_launcher(true);
    start(bench_fakellm(), WORDS("--port", "{port}"), 0);
    assert_true(bench_until(is_loaded));
    struct launch_address address = heard.last.address;
    launch_process.close(launcher);
    bench_for(50000);
    assert_int_equal(connect_to(&address), 0);
    open_launcher(false);
    assert_true(bench_until(has_looked));
    assert_int_equal(heard.found, 1);
    launch_process.stop(heard.launch, 0);
    assert_true(bench_until(has_ended));
    while (waitpid(-1, NULL, WNOHANG) > 0) /* it was our own child all the time */
        continue;
}

#define TEST(name)  cmocka_unit_test_setup_teardown(name, open_bench, close_bench)
#define AFTER(name) cmocka_unit_test_setup_teardown(name, open_nothing, close_bench)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_server_runs_listens_writes_lines_and_ends),
        TEST(a_server_may_listen_at_a_unix_socket),
        TEST(what_cannot_be_started_says_why_and_that_it_is_final),
        TEST(a_file_that_is_no_program_is_told_by_exec_itself),
        TEST(an_exit_code_and_the_last_line_are_told),
        TEST(a_crash_by_a_signal_is_told),
        TEST(who_ignores_term_is_killed_after_its_grace),
        TEST(a_child_that_outlives_its_server_is_ended),
        TEST(a_child_with_a_session_of_its_own_is_ended_too),
        TEST(memory_beyond_the_limit_ends_it_as_oom),
        TEST(what_it_uses_of_memory_is_told),
        TEST(a_port_that_is_taken_is_told),
        TEST(it_has_its_variables_and_none_of_ours_and_secrets_are_blotted_out),
        TEST(a_log_without_end_is_read_and_its_file_stays_bounded),
        TEST(a_line_that_is_too_long_comes_in_pieces),
        TEST(two_hundred_starts_leave_nothing_behind),
        TEST(a_state_directory_that_cannot_be_written_is_told),
        AFTER(after_a_kill_the_next_one_takes_over),
        AFTER(one_that_is_not_wanted_is_ended),
        AFTER(another_nodes_is_left_to_it_and_a_strangers_is_ended),
        AFTER(what_was_started_and_not_written_down_is_ended),
        AFTER(a_mark_of_another_process_or_of_garbage_is_not_believed),
        AFTER(with_leave_it_stays_and_is_found_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
