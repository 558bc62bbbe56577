/* SPDX-License-Identifier: Apache-2.0 */
#include "deploy/models/launch_words.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "gateway/base/buffer.h"
#include "gateway/base/json.h"
#include "gateway/base/memory.h"

enum { WORD_MAX = 128 * 1024, SECRET_MIN_BYTES = 6, ENGINE_WORDS_MAX = 2 * SPEC_ADAPTERS_MAX + 1 };

/* ---------------------------------------------------------------------------- placeholders */

static void put_number(struct buffer *out, uint64_t number)
{
    buffer_append_number(out, number);
}

static void put_port(struct buffer *out, const struct launch_facts *facts)
{
    put_number(out, facts->port);
}

static void put_socket(struct buffer *out, const struct launch_facts *facts)
{
    buffer_append_text(out, text_of(facts->socket ? facts->socket : ""));
}

static void put_host(struct buffer *out, const struct launch_facts *facts)
{
    buffer_append_text(out, text_of(facts->host));
}

static void put_parallel(struct buffer *out, const struct launch_facts *facts)
{
    put_number(out, facts->spec->scaling.parallel);
}

static void put_model(struct buffer *out, const struct launch_facts *facts)
{
    buffer_append_text(out, facts->spec->served_name.len > 0 ? facts->spec->served_name
                                                             : facts->spec->name);
}

static void put_name(struct buffer *out, const struct launch_facts *facts)
{
    buffer_append_text(out, facts->spec->name);
}

static void put_replica(struct buffer *out, const struct launch_facts *facts)
{
    buffer_append_text(out, text_of(facts->name->replica));
}

static void put_revision(struct buffer *out, const struct launch_facts *facts)
{
    put_number(out, facts->name->revision);
}

static const struct placeholder {
    struct text word;
    void (*put)(struct buffer *out, const struct launch_facts *facts);
} placeholders[] = {
    {TEXT("{port}"), put_port},       {TEXT("{socket}"), put_socket},
    {TEXT("{host}"), put_host},       {TEXT("{parallel}"), put_parallel},
    {TEXT("{model}"), put_model},     {TEXT("{name}"), put_name},
    {TEXT("{replica}"), put_replica}, {TEXT("{revision}"), put_revision},
};

static const struct placeholder *placeholder_at(struct text t)
{
    for (size_t i = 0; i < sizeof placeholders / sizeof *placeholders; i++)
        if (text_starts(t, placeholders[i].word))
            return &placeholders[i];
    return NULL;
}

static void put_filled(struct buffer *out, struct text from, const struct launch_facts *facts)
{
    while (from.len > 0) {
        size_t brace = text_find_byte(from, '{');
        buffer_append_text(out, text_head(from, brace));
        from = text_from(from, brace);
        const struct placeholder *found = placeholder_at(from);
        if (found)
            found->put(out, facts);
        else
            buffer_append_text(out, text_head(from, 1));
        from = text_from(from, found ? found->word.len : 1);
    }
}

static char *filled(struct text before, struct text from, const struct launch_facts *facts)
{
    struct buffer out;
    buffer_init(&out, WORD_MAX);
    buffer_append_text(&out, before);
    put_filled(&out, from, facts);
    char *string = memory_string(buffer_text(&out));
    buffer_done(&out);
    return string;
}

static bool has_socket(struct text t)
{
    return text_find(t, TEXT("{socket}")) != SIZE_MAX;
}

bool launch_wants_socket(const struct deployment_spec *spec)
{
    for (size_t i = 0; i < spec->command_count; i++)
        if (has_socket(spec->command[i]))
            return true;
    for (size_t i = 0; i < spec->env_count; i++)
        if (has_socket(spec->env[i].value))
            return true;
    return false;
}

/* ------------------------------------------------------------------------------- arguments */

/* llama.cpp takes adapters only when it starts, and applies none of them unless a call says so. */
static size_t put_adapters(char **into, const struct deployment_spec *spec)
{
    size_t count = 0;
    if (spec->engine != ENGINE_LLAMA_CPP || spec->adapter_count == 0)
        return 0;
    for (size_t i = 0; i < spec->adapter_count && i < SPEC_ADAPTERS_MAX; i++) {
        into[count++] = memory_string(TEXT("--lora"));
        into[count++] = memory_string(spec->adapters[i].source);
    }
    into[count++] = memory_string(TEXT("--lora-init-without-apply"));
    return count;
}

char **launch_arguments(const struct launch_facts *facts)
{
    const struct deployment_spec *spec = facts->spec;
    char **strings = memory_new((spec->command_count + ENGINE_WORDS_MAX + 1) * sizeof(*strings));
    size_t count = 0;
    for (size_t i = 0; i < spec->command_count; i++)
        strings[count++] = filled(TEXT(""), spec->command[i], facts);
    put_adapters(strings + count, spec);
    return strings;
}

/* ----------------------------------------------------------------------------- environment */

static const char *const passed_on[] = {
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "LANG",
    "LC_ALL",
    "LC_CTYPE",
    "TZ",
    "TMPDIR",
    "XDG_CACHE_HOME",
    "HF_HOME",
    "HF_HUB_OFFLINE",
    "LD_LIBRARY_PATH",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "CUDA_VISIBLE_DEVICES",
    "CUDA_HOME",
    "NVIDIA_VISIBLE_DEVICES",
    "NVIDIA_DRIVER_CAPABILITIES",
    "HIP_VISIBLE_DEVICES",
    "ROCR_VISIBLE_DEVICES",
};

static const struct engine_variable {
    enum engine engine;
    const char *name, *value;
    bool for_adapters, for_sleep;
} engine_variables[] = {
    /* vLLM, "LoRA Adapters": dynamically serving them; and "Sleep Mode": its endpoints. */
    {ENGINE_VLLM, "VLLM_ALLOW_RUNTIME_LORA_UPDATING", "True", true, false},
    {ENGINE_VLLM, "VLLM_SERVER_DEV_MODE", "1", false, true},
};

enum {
    PASSED_ON = sizeof passed_on / sizeof *passed_on,
    ENGINE_VARIABLES = sizeof engine_variables / sizeof *engine_variables,
};

static bool spec_sets(const struct deployment_spec *spec, const char *name)
{
    for (size_t i = 0; i < spec->env_count; i++)
        if (text_equal(spec->env[i].name, text_of(name)))
            return true;
    return false;
}

static size_t put_engine_variables(char **into, const struct deployment_spec *spec)
{
    size_t count = 0;
    for (size_t i = 0; i < ENGINE_VARIABLES; i++) {
        const struct engine_variable *one = &engine_variables[i];
        bool is_needed =
            (one->for_adapters && spec->adapter_count > 0) || (one->for_sleep && spec->sleep_first);
        if (spec->engine == one->engine && is_needed && !spec_sets(spec, one->name))
            into[count++] = memory_format("%s=%s", one->name, one->value);
    }
    return count;
}

static size_t put_ours(char **into, const struct deployment_spec *spec)
{
    size_t count = 0;
    for (size_t i = 0; i < PASSED_ON; i++) {
        const char *value = getenv(passed_on[i]);
        if (value && !spec_sets(spec, passed_on[i]))
            into[count++] = memory_format("%s=%s", passed_on[i], value);
    }
    return count;
}

char **launch_environment(const struct launch_facts *facts, const char *mark)
{
    const struct deployment_spec *spec = facts->spec;
    char **strings =
        memory_new((spec->env_count + PASSED_ON + ENGINE_VARIABLES + 2) * sizeof(*strings));
    size_t count = mark ? put_ours(strings, spec) : 0;
    count += put_engine_variables(strings + count, spec);
    for (size_t i = 0; i < spec->env_count; i++) {
        char *name = memory_format("%.*s=", TEXT_ARGS(spec->env[i].name));
        strings[count++] = filled(text_of(name), spec->env[i].value, facts);
        memory_free(name);
    }
    if (mark)
        strings[count] = memory_string(text_of(mark));
    return strings;
}

void launch_strings_free(char **strings)
{
    if (!strings)
        return;
    for (size_t i = 0; strings[i]; i++) {
        memory_wipe(strings[i], strlen(strings[i]));
        memory_free(strings[i]);
    }
    memory_free(strings);
}

const char *launch_variable(char *const *environment, const char *name)
{
    size_t length = strlen(name);
    for (size_t i = 0; environment[i]; i++)
        if (strncmp(environment[i], name, length) == 0 && environment[i][length] == '=')
            return environment[i] + length + 1;
    return NULL;
}

void launch_strings_write(char *const *strings, struct buffer *out)
{
    buffer_append_text(out, TEXT("["));
    for (size_t i = 0; strings[i]; i++) {
        buffer_append_text(out, i ? TEXT(",") : TEXT(""));
        json_write_string(out, text_of(strings[i]));
    }
    buffer_append_text(out, TEXT("]"));
}

/* ------------------------------------------------------------------------------- the image */

struct text launch_registry(struct text image)
{
    size_t slash = text_find_byte(image, '/');
    struct text host = text_head(image, slash == SIZE_MAX ? 0 : slash);
    bool is_host = text_find_byte(host, '.') != SIZE_MAX || text_find_byte(host, ':') != SIZE_MAX ||
                   text_equal(host, TEXT("localhost"));
    return is_host ? host : TEXT("https://index.docker.io/v1/");
}

/* --------------------------------------------------------------------------------- secrets */

static bool speaks_of_secrets(struct text name)
{
    static const struct text signs[] = {TEXT("KEY"),  TEXT("TOKEN"),  TEXT("SECRET"),
                                        TEXT("PASS"), TEXT("CREDEN"), TEXT("AUTH")};
    for (size_t i = 0; i < sizeof signs / sizeof *signs; i++)
        for (size_t at = 0; at + signs[i].len <= name.len; at++)
            if (text_starts_nocase(text_from(name, at), signs[i]))
                return true;
    return false;
}

static size_t blot_out(char *line, size_t length, struct text secret)
{
    static const struct text blot = TEXT("***");
    size_t at, from = 0;
    while ((at = text_find((struct text){line + from, length - from}, secret)) != SIZE_MAX) {
        at += from;
        memcpy(line + at, blot.at, blot.len);
        memmove(line + at + blot.len, line + at + secret.len, length - at - secret.len);
        length -= secret.len - blot.len;
        from = at + blot.len;
    }
    return length;
}

size_t launch_redact(const struct deployment_spec *spec, char *line, size_t length)
{
    for (size_t i = 0; i < spec->env_count; i++)
        if (spec->env[i].value.len >= SECRET_MIN_BYTES && speaks_of_secrets(spec->env[i].name))
            length = blot_out(line, length, spec->env[i].value);
    if (spec->token.len >= SECRET_MIN_BYTES)
        length = blot_out(line, length, spec->token);
    return length;
}
