/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fakellm - a model server that loads as slowly, crashes as often and eats as much memory as it is
 * told to. One static file, so that it runs in an empty container too. A thread for each
 * connection, one request after another on it.
 *
 *   GET  /health                 503 until loaded, then 200
 *   GET  /v1/models              the model, and adapters that were loaded (parent = the model)
 *   POST /v1/chat/completions    as a body, or as SSE with "stream":true
 *   POST /v1/completions         the same
 *   POST /v1/embeddings          of a text that begins with a digit: that one of ten numbers is 1
 *   POST /v1/load_lora_adapter, /load_lora_adapter, and unload: vLLM's and SGLang's
 *   GET  /lora-adapters          llama.cpp's: what --lora named
 *   POST /sleep, /wake_up, GET /is_sleeping      vLLM's
 *   GET  /stats                  {"pid","calls","in_flight","most"}: most at once; of the first
 * call "probes": how often /health had said 200 before it; "waited_us": since it first did
 *
 * Options: see `options` below. Whatever it does not know is ignored, so that command lines of real
 * servers work.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { REQUEST_MAX = 1 << 20, NAME_MAX_BYTES = 200, ADAPTERS_MAX = 32, STACK_BYTES = 128 * 1024 };

/* ------------------------------------------------------------------------------- options */

static char *opt_host, *opt_socket, *opt_model, *opt_say, *opt_fail_lora, *opt_print_env;
static long opt_port, opt_load_ms, opt_tps, opt_tokens, opt_crash_after_ms, opt_crash_after_calls,
    opt_exit_code, opt_segv, opt_hang_after_ms, opt_grow_mb, opt_load_mb, opt_exit_delay_ms,
    opt_ignore_term, opt_child, opt_log_every_ms, opt_log_bytes, opt_fail_permille, opt_first_ms,
    opt_lora_ms, opt_exit_at_once, opt_echo;

static const struct option {
    const char *name;
    long *number;
    char **word;
} options[] = {
    {"--host", NULL, &opt_host}, /* 127.0.0.1 */
    {"--port", &opt_port, NULL},
    {"--socket", NULL, &opt_socket},                       /* a unix socket instead */
    {"--model", NULL, &opt_model},                         /* its name: fake */
    {"--say", NULL, &opt_say},                             /* the first word of each answer */
    {"--echo", &opt_echo, NULL},                           /* 1: that word is the prompt */
    {"--load-ms", &opt_load_ms, NULL},                     /* not healthy until then */
    {"--load-mb", &opt_load_mb, NULL},                     /* memory that it takes to load */
    {"--grow-mb", &opt_grow_mb, NULL},                     /* and this much more each second */
    {"--first-ms", &opt_first_ms, NULL},                   /* to the first token */
    {"--tps", &opt_tps, NULL},                             /* tokens per second; 0 = at once */
    {"--tokens", &opt_tokens, NULL},                       /* of an answer: 8 */
    {"--exit-at-once", &opt_exit_at_once, NULL},           /* 1: before it listens */
    {"--crash-after-ms", &opt_crash_after_ms, NULL},       /* exits so long after it has loaded */
    {"--crash-after-calls", &opt_crash_after_calls, NULL}, /* within the call after so many */
    {"--exit-code", &opt_exit_code, NULL},                 /* of these */
    {"--segv", &opt_segv, NULL},                           /* 1: crashes end by SIGSEGV instead */
    {"--hang-after-ms", &opt_hang_after_ms, NULL},         /* answers nothing any more */
    {"--exit-delay-ms", &opt_exit_delay_ms, NULL},         /* between TERM and its end */
    {"--ignore-term", &opt_ignore_term, NULL},             /* 1: only KILL ends it */
    {"--child", &opt_child, NULL},                 /* 1: has a child that would outlive it; */
                                                   /* 2: which has a session of its own */
    {"--log-every-ms", &opt_log_every_ms, NULL},   /* a line on stdout */
    {"--log-bytes", &opt_log_bytes, NULL},         /* so much longer */
    {"--print-env", NULL, &opt_print_env},         /* the value of this variable, at start */
    {"--fail-permille", &opt_fail_permille, NULL}, /* calls that are answered 500 */
    {"--fail-lora", NULL, &opt_fail_lora},         /* this adapter's path cannot be loaded */
    {"--lora-ms", &opt_lora_ms, NULL},             /* to load an adapter */
};

static char *loras[ADAPTERS_MAX]; /* llama.cpp's: each --lora */
static size_t lora_count;

static void read_options(int argc, char **argv)
{
    opt_tokens = 8;
    opt_exit_code = 1;
    for (int i = 1; i + 1 < argc; i++) {
        if (strcmp(argv[i], "--lora") == 0 && lora_count < ADAPTERS_MAX)
            loras[lora_count++] = argv[++i];
        for (size_t k = 0; k < sizeof options / sizeof *options; k++) {
            if (strcmp(argv[i], options[k].name) != 0)
                continue;
            if (options[k].word)
                *options[k].word = argv[++i];
            else
                *options[k].number = strtol(argv[++i], NULL, 10);
            break;
        }
    }
    if (!opt_model)
        opt_model = strdup("fake");
}

/* --------------------------------------------------------------------------------- state */

static long started_ms;
static atomic_bool loaded, asleep;
static atomic_long calls, in_flight, most, fails;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct {
    char name[NAME_MAX_BYTES], path[NAME_MAX_BYTES];
} adapters[ADAPTERS_MAX];
static size_t adapter_count;

static long now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void pause_ms(long ms)
{
    struct timespec wait = {ms / 1000, ms % 1000 * 1000000};
    while (ms > 0 && nanosleep(&wait, &wait) != 0 && errno == EINTR)
        continue;
}

static void crash(const char *why)
{
    fprintf(stderr, "fakellm: crashing: %s\n", why);
    fflush(NULL);
    if (opt_segv) {
        signal(SIGSEGV, SIG_DFL);
        raise(SIGSEGV);
    }
    _exit((int)opt_exit_code);
}

/* Memory that counts: written to. */
static void take_memory(long megabytes)
{
    for (long i = 0; i < megabytes; i++) {
        char *at = malloc(1 << 20);
        if (!at)
            crash("out of memory");
        memset(at, (int)(i & 0xFF) | 1, 1 << 20);
        __asm__ volatile("" : : "r"(at) : "memory");
    }
}

static bool hangs(void)
{
    return opt_hang_after_ms > 0 && loaded && now_ms() - started_ms > opt_hang_after_ms;
}

/* Loads, grows, logs, crashes: as time goes by. */
static void *live(void *with)
{
    (void)with;
    long ready_at = started_ms + opt_load_ms, grown = 0, logged = 0;
    take_memory(opt_load_mb);
    for (;;) {
        long now = now_ms();
        if (!loaded && now >= ready_at) {
            loaded = true;
            printf("fakellm: model loaded after %ld ms\n", now - started_ms);
        }
        if (opt_log_every_ms > 0 && (now - started_ms) / opt_log_every_ms > logged)
            printf("fakellm: line %ld%*s\n", ++logged, (int)opt_log_bytes, "");
        if (loaded && opt_grow_mb > 0 && (now - ready_at) * opt_grow_mb / 1000 > grown) {
            take_memory(1);
            grown++;
        }
        if (loaded && opt_crash_after_ms > 0 && now >= ready_at + opt_crash_after_ms)
            crash("as told");
        pause_ms(5);
    }
    return NULL;
}

/* ------------------------------------------------------------------------------- requests */

struct request {
    int fd;
    char bytes[REQUEST_MAX + 1];
    size_t length, head, body;
    const char *method, *path;
};

static bool put(int fd, const char *bytes, size_t length)
{
    while (length > 0) {
        ssize_t sent = send(fd, bytes, length, MSG_NOSIGNAL);
        if (sent <= 0)
            return false;
        bytes += sent;
        length -= (size_t)sent;
    }
    return true;
}

static bool answer(int fd, int status, const char *type, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

static bool answer(int fd, int status, const char *type, const char *format, ...)
{
    char body[16384], head[256];
    va_list args;
    va_start(args, format);
    int length = vsnprintf(body, sizeof body, format, args);
    va_end(args);
    int before = snprintf(head, sizeof head,
                          "HTTP/1.1 %d %s\r\nContent-Type: %s\r\nContent-Length: %d\r\n"
                          "x-fake-pid: %d\r\n\r\n",
                          status, status < 400 ? "OK" : "Error", type, length, (int)getpid());
    return put(fd, head, (size_t)before) && put(fd, body, (size_t)length);
}

#define JSON "application/json"

/* The text behind "<name>": in <json>, crudely: what tests send has no escapes there. */
static bool member(const char *json, const char *name, char into[NAME_MAX_BYTES])
{
    char key[64];
    snprintf(key, sizeof key, "\"%s\"", name);
    const char *at = strstr(json, key);
    if (!at)
        return false;
    at += strlen(key);
    while (*at == ' ' || *at == ':' || *at == '\n')
        at++;
    bool is_text = *at == '"';
    at += is_text;
    size_t length = 0;
    while (at[length] && length + 1 < NAME_MAX_BYTES &&
           (is_text ? at[length] != '"' : strchr(",} \n]", at[length]) == NULL))
        length++;
    memcpy(into, at, length);
    into[length] = 0;
    return true;
}

static bool knows(const char *name)
{
    bool found = strcmp(name, opt_model) == 0;
    pthread_mutex_lock(&lock);
    for (size_t i = 0; i < adapter_count; i++)
        found = found || strcmp(adapters[i].name, name) == 0;
    pthread_mutex_unlock(&lock);
    return found;
}

static bool stream_chunk(int fd, const char *model, bool is_chat, const char *content,
                         const char *finish)
{
    char event[1024], framed[1200], end[64];
    if (finish)
        snprintf(end, sizeof end, "\"%s\"", finish);
    else
        snprintf(end, sizeof end, "null");
    int length = snprintf(event, sizeof event,
                          "data: {\"id\":\"chatcmpl-fake\",\"object\":\"%s\","
                          "\"created\":1,\"model\":\"%s\",\"system_fingerprint\":\"fake-%d\","
                          "\"choices\":[{\"index\":0,%s\"%s\"%s,\"finish_reason\":%s}]}\n\n",
                          is_chat ? "chat.completion.chunk" : "text_completion", model,
                          (int)getpid(), is_chat ? "\"delta\":{\"content\":" : "\"text\":", content,
                          is_chat ? "}" : "", end);
    int whole = snprintf(framed, sizeof framed, "%x\r\n%s\r\n", length, event);
    return put(fd, framed, (size_t)whole);
}

static bool stream_raw(int fd, const char *event)
{
    char framed[1200];
    int whole = snprintf(framed, sizeof framed, "%zx\r\n%s\r\n", strlen(event), event);
    return put(fd, framed, (size_t)whole);
}

/* The prompt of the call that this thread answers, as JSON writes it. */
static _Thread_local char prompt[NAME_MAX_BYTES];

static void word_of(long i, char into[NAME_MAX_BYTES])
{
    if (i == 0 && opt_echo)
        memcpy(into, prompt, NAME_MAX_BYTES);
    else if (i == 0 && opt_say)
        snprintf(into, NAME_MAX_BYTES, "%.150s", opt_say);
    else
        snprintf(into, NAME_MAX_BYTES, "%sword%ld", i == 0 ? "" : " ", i);
}

static bool complete_stream(const struct request *request, const char *model, bool is_chat,
                            bool wants_usage)
{
    static const char head[] = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
                               "Transfer-Encoding: chunked\r\n\r\n";
    char word[NAME_MAX_BYTES];
    if (!put(request->fd, head, sizeof head - 1))
        return false;
    for (long i = 0; i < opt_tokens; i++) {
        word_of(i, word);
        if (!stream_chunk(request->fd, model, is_chat, word, NULL))
            return false;
        if (opt_tps > 0)
            pause_ms(1000 / opt_tps);
    }
    if (!stream_chunk(request->fd, model, is_chat, "", "stop"))
        return false;
    snprintf(word, sizeof word,
             "data: {\"id\":\"chatcmpl-fake\",\"object\":\"chat.completion.chunk\",\"created\":1,"
             "\"choices\":[],");
    char usage[400];
    snprintf(
        usage, sizeof usage,
        "%s\"usage\":{\"prompt_tokens\":5,\"completion_tokens\":%ld,\"total_tokens\":%ld}}\n\n",
        word, opt_tokens, opt_tokens + 5);
    if (wants_usage && !stream_raw(request->fd, usage))
        return false;
    return stream_raw(request->fd, "data: [DONE]\n\n") && put(request->fd, "0\r\n\r\n", 5);
}

static bool complete_body(const struct request *request, const char *model, bool is_chat)
{
    char text[8192] = "", word[NAME_MAX_BYTES];
    size_t length = 0;
    for (long i = 0; i < opt_tokens && length + NAME_MAX_BYTES < sizeof text; i++) {
        word_of(i, word);
        length += (size_t)snprintf(text + length, sizeof text - length, "%s", word);
    }
    if (opt_tps > 0)
        pause_ms(opt_tokens * 1000 / opt_tps);
    return answer(request->fd, 200, JSON,
                  "{\"id\":\"chatcmpl-fake\",\"object\":\"%s\",\"created\":1,\"model\":\"%s\","
                  "\"system_fingerprint\":\"fake-%d\",\"choices\":[{\"index\":0,%s%s%s,"
                  "\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":5,"
                  "\"completion_tokens\":%ld,\"total_tokens\":%ld}}",
                  is_chat ? "chat.completion" : "text_completion", model, (int)getpid(),
                  is_chat ? "\"message\":{\"role\":\"assistant\",\"content\":\"" : "\"text\":\"",
                  text, is_chat ? "\"}" : "\"", opt_tokens, opt_tokens + 5);
}

static bool complete(const struct request *request, bool is_chat)
{
    const char *body = request->bytes + request->head;
    char model[NAME_MAX_BYTES] = "", streams[NAME_MAX_BYTES] = "", usage[NAME_MAX_BYTES] = "";
    member(body, "model", model);
    member(body, "stream", streams);
    member(body, "include_usage", usage);
    prompt[0] = '\0';
    member(body, "prompt", prompt);
    if (!loaded)
        return answer(request->fd, 503, JSON, "{\"error\":{\"message\":\"Loading model\"}}");
    if (asleep)
        return answer(request->fd, 500, JSON, "{\"error\":{\"message\":\"it sleeps\"}}");
    if (model[0] && lora_count == 0 && !knows(model))
        return answer(request->fd, 404, JSON,
                      "{\"error\":{\"message\":\"The model `%s` does not exist.\","
                      "\"type\":\"NotFoundError\",\"code\":404}}",
                      model);
    if (opt_crash_after_calls > 0 && calls > opt_crash_after_calls)
        crash("after so many calls");
    if (opt_fail_permille > 0 && fails++ * 389 % 1000 < opt_fail_permille)
        return answer(request->fd, 500, JSON, "{\"error\":{\"message\":\"as told\"}}");
    pause_ms(opt_first_ms);
    return strcmp(streams, "true") == 0
               ? complete_stream(request, model, is_chat, strcmp(usage, "true") == 0)
               : complete_body(request, model, is_chat);
}

/* When it was first told to be well, and how often before the first call. */
static atomic_long probes, well_at_us, probes_at_call, waited_us;

static long now_in_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000L + now.tv_nsec / 1000;
}

static void note_call(void)
{
    long none = 0;
    if (calls++ != 0)
        return;
    probes_at_call = probes;
    atomic_compare_exchange_strong(&waited_us, &none, now_in_us() - well_at_us);
}

static bool chat(const struct request *request)
{
    long now = ++in_flight;
    for (long seen = most; now > seen && !atomic_compare_exchange_weak(&most, &seen, now);)
        continue;
    note_call();
    bool is_chat = strstr(request->path, "chat") != NULL;
    bool goes_on = complete(request, is_chat);
    in_flight--;
    return goes_on;
}

static bool embed(const struct request *request)
{
    char input[NAME_MAX_BYTES] = "", vector[64] = "";
    member(request->bytes + request->head, "input", input);
    if (!loaded)
        return answer(request->fd, 503, JSON, "{\"error\":{\"message\":\"Loading model\"}}");
    calls++;
    pause_ms(opt_first_ms);
    for (int i = 0; i < 10; i++)
        snprintf(vector + strlen(vector), sizeof vector - strlen(vector), "%s%d", i ? "," : "",
                 input[0] == '0' + i);
    return answer(request->fd, 200, JSON,
                  "{\"object\":\"list\",\"model\":\"%s\",\"data\":[{\"object\":\"embedding\","
                  "\"index\":0,\"embedding\":[%s]}],\"usage\":{\"prompt_tokens\":5,"
                  "\"total_tokens\":5}}",
                  opt_model, vector);
}

static bool health(const struct request *request)
{
    if (!loaded)
        return answer(request->fd, 503, JSON,
                      "{\"error\":{\"code\":503,\"message\":\"Loading model\"}}");
    if (probes++ == 0)
        well_at_us = now_in_us();
    return answer(request->fd, 200, JSON, "{\"status\":\"ok\"}");
}

static bool models(const struct request *request)
{
    char list[8192];
    size_t length = (size_t)snprintf(
        list, sizeof list, "{\"id\":\"%s\",\"object\":\"model\",\"owned_by\":\"fake\"}", opt_model);
    pthread_mutex_lock(&lock);
    for (size_t i = 0; i < adapter_count && length + 512 < sizeof list; i++)
        length += (size_t)snprintf(list + length, sizeof list - length,
                                   ",{\"id\":\"%s\",\"object\":\"model\",\"root\":\"%s\","
                                   "\"parent\":\"%s\"}",
                                   adapters[i].name, adapters[i].path, opt_model);
    pthread_mutex_unlock(&lock);
    if (!loaded)
        return answer(request->fd, 503, JSON, "{\"error\":{\"message\":\"Loading model\"}}");
    return answer(request->fd, 200, JSON, "{\"object\":\"list\",\"data\":[%s]}", list);
}

static size_t find_adapter(const char *name)
{
    size_t i = 0;
    while (i < adapter_count && strcmp(adapters[i].name, name) != 0)
        i++;
    return i;
}

static bool refuse(const struct request *request, const char *what)
{
    return answer(request->fd, 400, JSON,
                  "{\"object\":\"error\",\"message\":\"%s\",\"type\":\"InvalidUserInput\","
                  "\"code\":400}",
                  what);
}

static bool load_adapter(const struct request *request)
{
    char name[NAME_MAX_BYTES] = "", path[NAME_MAX_BYTES] = "";
    member(request->bytes + request->head, "lora_name", name);
    member(request->bytes + request->head, "lora_path", path);
    pause_ms(opt_lora_ms);
    if (!name[0] || !path[0] || (opt_fail_lora && strcmp(opt_fail_lora, path) == 0))
        return refuse(request, "Loading lora failed: No adapter found for it");
    pthread_mutex_lock(&lock);
    size_t at = find_adapter(name);
    bool is_new = at == adapter_count && at < ADAPTERS_MAX;
    if (is_new) {
        memcpy(adapters[at].name, name, sizeof name);
        memcpy(adapters[at].path, path, sizeof path);
        adapter_count++;
    }
    pthread_mutex_unlock(&lock);
    if (!is_new)
        return refuse(request, "The lora adapter has already been loaded.");
    printf("fakellm: adapter %s loaded\n", name);
    return answer(request->fd, 200, "text/plain", "Success: LoRA adapter '%s' added successfully.",
                  name);
}

static bool unload_adapter(const struct request *request)
{
    char name[NAME_MAX_BYTES] = "";
    member(request->bytes + request->head, "lora_name", name);
    pthread_mutex_lock(&lock);
    size_t at = find_adapter(name);
    bool was_there = at < adapter_count;
    if (was_there)
        adapters[at] = adapters[--adapter_count];
    pthread_mutex_unlock(&lock);
    if (!was_there)
        return refuse(request, "The lora adapter cannot be found.");
    return answer(request->fd, 200, "text/plain", "Success: removed.");
}

static bool list_loras(const struct request *request)
{
    char list[8192] = "";
    size_t length = 0;
    for (size_t i = 0; i < lora_count && length + 512 < sizeof list; i++)
        length += (size_t)snprintf(list + length, sizeof list - length,
                                   "%s{\"id\":%zu,\"path\":\"%.300s\",\"scale\":0.0}", i ? "," : "",
                                   i, loras[i]);
    return answer(request->fd, 200, JSON, "[%s]", list);
}

static bool go_to_sleep(const struct request *request)
{
    asleep = true;
    return answer(request->fd, 200, "text/plain", "%s", "");
}

static bool wake_up(const struct request *request)
{
    asleep = false;
    return answer(request->fd, 200, "text/plain", "%s", "");
}

static bool is_sleeping(const struct request *request)
{
    return answer(request->fd, 200, JSON, "{\"is_sleeping\":%s}", asleep ? "true" : "false");
}

static bool stats(const struct request *request)
{
    return answer(request->fd, 200, JSON,
                  "{\"pid\":%d,\"calls\":%ld,\"in_flight\":%ld,\"most\":%ld,\"probes\":%ld,"
                  "\"waited_us\":%ld}",
                  (int)getpid(), calls, in_flight, most, probes_at_call, waited_us);
}

static const struct {
    const char *method, *path;
    bool (*answer)(const struct request *request);
} routes[] = {
    {"GET", "/health", health},
    {"GET", "/v1/models", models},
    {"POST", "/v1/chat/completions", chat},
    {"POST", "/v1/completions", chat},
    {"POST", "/v1/embeddings", embed},
    {"POST", "/v1/load_lora_adapter", load_adapter},
    {"POST", "/load_lora_adapter", load_adapter},
    {"POST", "/v1/unload_lora_adapter", unload_adapter},
    {"POST", "/unload_lora_adapter", unload_adapter},
    {"GET", "/lora-adapters", list_loras},
    {"POST", "/sleep", go_to_sleep},
    {"POST", "/wake_up", wake_up},
    {"GET", "/is_sleeping", is_sleeping},
    {"GET", "/stats", stats},
};

static bool serve(const struct request *request)
{
    while (hangs())
        pause_ms(1000);
    for (size_t i = 0; i < sizeof routes / sizeof *routes; i++)
        if (strcmp(routes[i].method, request->method) == 0 &&
            strcmp(routes[i].path, request->path) == 0)
            return routes[i].answer(request);
    return answer(request->fd, 404, JSON, "{\"error\":{\"message\":\"there is no %s\"}}",
                  request->path);
}

/* --------------------------------------------------------------------------------- sockets */

/* Read one whole request; false at the end. */
static bool take(struct request *request)
{
    char *end;
    request->bytes[request->length] = 0;
    while ((end = strstr(request->bytes, "\r\n\r\n")) == NULL) {
        ssize_t got =
            recv(request->fd, request->bytes + request->length, REQUEST_MAX - request->length, 0);
        if (got <= 0)
            return false;
        request->length += (size_t)got;
        request->bytes[request->length] = 0;
    }
    request->head = (size_t)(end - request->bytes) + 4;
    request->body = 0;
    for (char *line = request->bytes; line < end; line = strstr(line, "\r\n") + 2)
        if (strncasecmp(line, "content-length:", 15) == 0)
            request->body = strtoul(line + 15, NULL, 10);
    if (request->body > REQUEST_MAX - request->head)
        return false;
    while (request->length < request->head + request->body) {
        ssize_t got = recv(request->fd, request->bytes + request->length,
                           request->head + request->body - request->length, 0);
        if (got <= 0)
            return false;
        request->length += (size_t)got;
    }
    request->bytes[request->length] = 0;
    return true;
}

/* METHOD SP path[?query] SP: cut in place. */
static bool split(struct request *request)
{
    char *space = strchr(request->bytes, ' ');
    if (!space)
        return false;
    *space = 0;
    request->method = request->bytes;
    request->path = space + 1;
    char *end = strpbrk(space + 1, " ?\r");
    if (!end)
        return false;
    *end = 0;
    return true;
}

static void *converse(void *with)
{
    struct request *request = with;
    while (take(request) && split(request) && serve(request))
        request->length = 0;
    close(request->fd);
    free(request);
    return NULL;
}

static int listen_unix(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    snprintf(address.sun_path, sizeof address.sun_path, "%s", opt_socket);
    unlink(opt_socket);
    return bind(fd, (struct sockaddr *)&address, sizeof address) == 0 ? fd : -1;
}

static int listen_port(void)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)opt_port)};
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    inet_pton(AF_INET, opt_host ? opt_host : "127.0.0.1", &address.sin_addr);
    return bind(fd, (struct sockaddr *)&address, sizeof address) == 0 ? fd : -1;
}

static void on_term(int signal_number)
{
    (void)signal_number;
    if (opt_ignore_term)
        return;
    pause_ms(opt_exit_delay_ms);
    _exit(0);
}

static void go_on(int listener)
{
    pthread_attr_t small;
    pthread_t thread;
    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, STACK_BYTES);
    pthread_attr_setdetachstate(&small, PTHREAD_CREATE_DETACHED);
    pthread_create(&thread, &small, live, NULL);
    for (;;) {
        int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC), on = 1;
        if (fd < 0) {
            pause_ms(5);
            continue;
        }
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        struct request *request = calloc(1, sizeof *request);
        if (request)
            request->fd = fd;
        if (!request || pthread_create(&thread, &small, converse, request) != 0) {
            close(fd);
            free(request);
        }
    }
}

int main(int argc, char **argv)
{
    read_options(argc, argv);
    setvbuf(stdout, NULL, _IOLBF, 0);
    started_ms = now_ms();
    struct sigaction term = {.sa_handler = on_term};
    sigaction(SIGTERM, &term, NULL);
    sigaction(SIGINT, &term, NULL);
    if (opt_print_env)
        printf("fakellm: %s=%s\n", opt_print_env,
               getenv(opt_print_env) ? getenv(opt_print_env) : "(unset)");
    if (opt_exit_at_once)
        crash("at once, as told");
    pid_t child = opt_child ? fork() : -1;
    if (child > 0)
        printf("fakellm: child %d\n", (int)child);
    if (child == 0) {
        signal(SIGTERM, SIG_IGN);
        if (opt_child == 2)
            setsid();
        for (;;)
            pause();
    }
    int listener = opt_socket ? listen_unix() : listen_port();
    if (listener < 0 || listen(listener, 4096) != 0) {
        fprintf(stderr, "fakellm: cannot listen: %s\n", strerror(errno));
        return 1;
    }
    printf("fakellm: listening, process %d\n", (int)getpid());
    go_on(listener);
}
