/* SPDX-License-Identifier: Apache-2.0 */
#include "deploy/models/docker_write.h"

#include <inttypes.h>
#include <stdio.h>

#include "deploy/models/launch_words.h"
#include "gateway/base/hash.h"
#include "gateway/base/json.h"
#include "gateway/base/memory.h"

enum {
    PIDS_MAX = 4096,
    SHM_BYTES = 1 << 30, /* at most; engines on many GPUs talk through it */
    CREDENTIAL_MAX = 4096,
};

/* ------------------------------------------------------------------------------- images */

static bool is_plain(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

bool docker_image_is_name(struct text image)
{
    if (image.len == 0 || image.len > DOCKER_IMAGE_MAX || !is_plain(image.at[0]) ||
        !is_plain(image.at[image.len - 1]) || text_find(image, TEXT("..")) != SIZE_MAX ||
        text_find(image, TEXT("//")) != SIZE_MAX)
        return false;
    for (size_t i = 0; i < image.len; i++)
        if (!is_plain(image.at[i]) && !memchr("._-/:@", image.at[i], 6))
            return false;
    return true;
}

/* Where the tag begins, or SIZE_MAX: a colon behind the last slash. */
static size_t find_tag(struct text image)
{
    for (size_t i = image.len; i > 0 && image.at[i - 1] != '/'; i--)
        if (image.at[i - 1] == ':')
            return i;
    return SIZE_MAX;
}

/* Its bytes need no escapes. */
void docker_write_pull(struct text image, struct buffer *out)
{
    size_t tag = find_tag(image);
    if (text_find_byte(image, '@') != SIZE_MAX)
        buffer_format(out, "fromImage=%.*s", TEXT_ARGS(image));
    else if (tag == SIZE_MAX)
        buffer_format(out, "fromImage=%.*s&tag=latest", TEXT_ARGS(image));
    else
        buffer_format(out, "fromImage=%.*s&tag=%.*s", TEXT_ARGS(text_head(image, tag - 1)),
                      TEXT_ARGS(text_from(image, tag)));
}

void docker_write_auth(struct text image, struct text user, struct text password,
                       struct buffer *out)
{
    struct buffer words;
    buffer_init(&words, CREDENTIAL_MAX);
    buffer_append_text(&words, TEXT("{\"username\":"));
    json_write_string(&words, user);
    buffer_append_text(&words, TEXT(",\"password\":"));
    json_write_string(&words, password);
    buffer_append_text(&words, TEXT(",\"serveraddress\":"));
    json_write_string(&words, launch_registry(image));
    buffer_append_text(&words, TEXT("}"));
    char *room = buffer_room(out, 4 * ((buffer_length(&words) + 2) / 3) + 1);
    size_t len = room ? hash_base64(buffer_text(&words).at, buffer_length(&words), room) : 0;
    for (size_t i = 0; i < len; i++)
        room[i] = room[i] == '+' ? '-' : room[i] == '/' ? '_' : room[i];
    buffer_grow(out, len);
    if (words.data)
        memory_wipe(words.data, words.capacity);
    buffer_done(&words);
}

/* --------------------------------------------------------------------------- containers */

static void put(struct buffer *out, const char *words)
{
    buffer_append_text(out, text_of(words));
}

/* Without any, the image's own. */
static void put_arguments(char *const *arguments, struct buffer *out)
{
    if (!arguments[0])
        return;
    put(out, "\"Cmd\":");
    launch_strings_write(arguments, out);
    put(out, ",");
}

/* As for every launcher; all its addresses are inside, unless its network is the machine's. */
static void put_words(const struct docker_wish *wish, struct buffer *out)
{
    struct launch_facts facts = {.name = wish->name,
                                 .spec = wish->spec,
                                 .host = wish->host ? wish->host : "0.0.0.0",
                                 .port = (uint16_t)wish->port};
    char **arguments = launch_arguments(&facts), **environment = launch_environment(&facts, NULL);
    put_arguments(arguments, out);
    put(out, "\"Env\":");
    launch_strings_write(environment, out);
    put(out, ",");
    launch_strings_free(arguments);
    launch_strings_free(environment);
}

static void put_labels(const struct docker_wish *wish, struct buffer *out)
{
    put(out, "\"Labels\":{\"sluice.owner\":");
    json_write_string(out, text_of(wish->owner));
    put(out, ",\"sluice.deployment\":");
    json_write_string(out, text_of(wish->name->deployment));
    put(out, ",\"sluice.replica\":");
    json_write_string(out, text_of(wish->name->replica));
    buffer_format(out,
                  ",\"sluice.revision\":\"%u\",\"sluice.digest\":\"%016" PRIx64
                  "\",\"sluice.port\":\"%u\"},",
                  wish->name->revision, wish->name->digest, wish->port);
}

/* What the engine may see of the GPUs: as many as are wanted, or those that the environment names
 * in the way of NVIDIA's container toolkit. */
static void put_gpus(const struct docker_wish *wish, struct buffer *out)
{
    struct text ids = {NULL, 0}, id;
    if (wish->spec->resources.gpus <= 0)
        return;
    for (size_t i = 0; i < wish->spec->env_count; i++)
        if (text_equal(wish->spec->env[i].name, TEXT("NVIDIA_VISIBLE_DEVICES")) &&
            !text_equal(wish->spec->env[i].value, TEXT("all")))
            ids = wish->spec->env[i].value;
    put(out, ",\"DeviceRequests\":[{\"Driver\":\"nvidia\",");
    if (ids.len) {
        const char *comma = "";
        put(out, "\"DeviceIDs\":[");
        for (; text_next(&ids, ',', &id); comma = ",") {
            put(out, comma);
            json_write_string(out, id);
        }
        put(out, "],");
    } else {
        buffer_format(out, "\"Count\":%" PRId64 ",", wish->spec->resources.gpus);
    }
    put(out, "\"Capabilities\":[[\"gpu\"]]}]");
}

/* Sources of adapters that are files, read-only, at the same path. As mounts, not as binds: a bind
 * of what is not there makes an empty folder. */
static void put_mounts(const struct docker_wish *wish, struct buffer *out)
{
    const char *comma = "";
    put(out, ",\"Mounts\":[");
    for (size_t i = 0; i < wish->spec->adapter_count; i++) {
        struct text source = wish->spec->adapters[i].source;
        if (source.len == 0 || source.at[0] != '/')
            continue;
        put(out, comma);
        put(out, "{\"Type\":\"bind\",\"ReadOnly\":true,\"Source\":");
        json_write_string(out, source);
        put(out, ",\"Target\":");
        json_write_string(out, source);
        put(out, "}");
        comma = ",";
    }
    put(out, "]");
}

static void put_bounds(const struct resources *resources, struct buffer *out)
{
    int64_t shm = SHM_BYTES;
    if (resources->memory_bytes > 0) {
        /* No swap beyond it: a model that swaps is as good as dead. */
        buffer_format(out, "\"Memory\":%" PRId64 ",\"MemorySwap\":%" PRId64 ",",
                      resources->memory_bytes, resources->memory_bytes);
        if (shm > resources->memory_bytes / 2)
            shm = resources->memory_bytes / 2;
    }
    if (resources->cpus_milli > 0)
        buffer_format(out, "\"NanoCpus\":%" PRId64 ",", resources->cpus_milli * 1000000);
    buffer_format(out, "\"PidsLimit\":%d,\"ShmSize\":%" PRId64 ",", (int)PIDS_MAX, shm);
}

static void put_host_config(const struct docker_wish *wish, struct buffer *out)
{
    put(out, "\"HostConfig\":{");
    put_bounds(&wish->spec->resources, out);
    if (wish->network.len) {
        put(out, "\"NetworkMode\":");
        json_write_string(out, wish->network);
        put(out, ",");
    }
    if (wish->publish)
        buffer_format(out,
                      "\"PortBindings\":{\"%u/tcp\":[{\"HostIp\":\"%s\",\"HostPort\":\"0\"}]},",
                      wish->port, wish->publish);
    put(out, wish->with_init ? "\"Init\":true," : "");
    put(out, "\"RestartPolicy\":{\"Name\":\"no\"},\"AutoRemove\":false,"
             "\"SecurityOpt\":[\"no-new-privileges\"],\"CapDrop\":[\"ALL\"],"
             "\"LogConfig\":{\"Type\":\"json-file\",\"Config\":{\"max-size\":\"10m\"}}");
    put_gpus(wish, out);
    put_mounts(wish, out);
    put(out, "}");
}

void docker_write_container(const struct docker_wish *wish, struct buffer *out)
{
    put(out, "{\"Image\":");
    json_write_string(out, wish->spec->image);
    put(out, ",");
    put_words(wish, out);
    put_labels(wish, out);
    if (wish->publish)
        buffer_format(out, "\"ExposedPorts\":{\"%u/tcp\":{}},", wish->port);
    put_host_config(wish, out);
    put(out, "}");
}

void docker_write_name(const char *owner, const struct launch_name *name, char out[DOCKER_NAME_MAX])
{
    snprintf(out, DOCKER_NAME_MAX, "sluice-%.100s-%s-%s", owner, name->deployment, name->replica);
    for (char *c = out; *c; c++)
        if (!is_plain(*c) && *c != '-' && *c != '_' && *c != '.')
            *c = '_';
}

static void put_escaped(struct text t, struct buffer *out)
{
    for (size_t i = 0; i < t.len; i++) {
        if (is_plain(t.at[i]))
            buffer_append(out, &t.at[i], 1);
        else
            buffer_format(out, "%%%02X", (unsigned)(unsigned char)t.at[i]);
    }
}

void docker_write_filter(const char *owner, bool for_events, struct buffer *out)
{
    struct buffer json;
    buffer_init(&json, CREDENTIAL_MAX);
    char *label = memory_format("sluice.owner=%s", owner);
    put(&json, for_events ? "{\"type\":[\"container\"],\"label\":[" : "{\"label\":[");
    json_write_string(&json, text_of(label));
    put(&json, "]}");
    put(out, "filters=");
    put_escaped(buffer_text(&json), out);
    memory_free(label);
    buffer_done(&json);
}
