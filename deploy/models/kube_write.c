/* SPDX-License-Identifier: Apache-2.0 */
#include "deploy/models/kube_write.h"

#include <inttypes.h>
#include <stdio.h>

#include "deploy/models/launch_words.h"
#include "gateway/base/hash.h"
#include "gateway/base/json.h"
#include "gateway/base/memory.h"

enum {
    CREDENTIAL_MAX = 16 * 1024,
    PROBE_SECONDS = 5,
    PROBE_TIMEOUT_SECONDS = 3,
    OWNER_IN_NAME = 63,
};

static void put(struct buffer *out, const char *words)
{
    buffer_append_text(out, text_of(words));
}

static void put_member(struct buffer *out, const char *name, struct text value)
{
    json_write_key(out, text_of(name));
    json_write_string(out, value);
}

/* --------------------------------------------------------------------------------- names */

static bool is_letter_or_digit(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

/* Lower case, digits, and '-' for everything else; neither first nor last. */
static size_t put_name_part(char *out, size_t room, struct text part)
{
    size_t len = 0;
    for (size_t i = 0; i < part.len && len + 1 < room; i++) {
        char c = part.at[i];
        if (c >= 'A' && c <= 'Z')
            c = (char)(c + ('a' - 'A'));
        out[len++] = is_letter_or_digit(c) ? c : '-';
    }
    while (len > 0 && out[len - 1] == '-')
        len--;
    out[len] = '\0';
    return len;
}

void kube_write_name(const char *owner, const struct launch_name *name, char out[KUBE_NAME_MAX + 1])
{
    char parts[3][SPEC_NAME_MAX + 1];
    put_name_part(parts[0], OWNER_IN_NAME + 1, text_of(owner));
    put_name_part(parts[1], sizeof(parts[1]), text_of(name->deployment));
    put_name_part(parts[2], sizeof(parts[2]), text_of(name->replica));
    snprintf(out, KUBE_NAME_MAX + 1, "sluice-%s-%s-%s", parts[0], parts[1], parts[2]);
}

void kube_write_label(struct text value, char out[KUBE_LABEL_MAX + 1])
{
    enum { HASH_DIGITS = 8, KEPT = KUBE_LABEL_MAX - HASH_DIGITS - 1 };
    bool is_whole = value.len <= KUBE_LABEL_MAX;
    size_t len = is_whole ? value.len : KEPT;
    for (size_t i = 0; i < len; i++) {
        char c = value.at[i];
        bool may =
            is_letter_or_digit(c) || (i > 0 && i + 1 < len && (c == '-' || c == '_' || c == '.'));
        out[i] = (char)(may ? c : i == 0 || i + 1 == len ? 'x' : '_');
    }
    out[len] = '\0';
    if (!is_whole)
        snprintf(out + len, HASH_DIGITS + 2, ".%08" PRIx32, hash_crc32(value));
}

void kube_write_selector(const char *owner, struct buffer *out)
{
    char label[KUBE_LABEL_MAX + 1];
    kube_write_label(text_of(owner), label); /* its bytes need no escapes */
    buffer_format(out, "labelSelector=sluice.owner%%3D%s", label);
}

static void put_label(struct buffer *out, const char *name, const char *value)
{
    char label[KUBE_LABEL_MAX + 1];
    kube_write_label(text_of(value), label);
    put_member(out, name, text_of(label));
    put(out, ",");
}

static void put_label_row(const struct kube_wish *wish, struct buffer *out)
{
    put_label(out, "sluice.owner", wish->owner);
    put_label(out, "sluice.deployment", wish->name->deployment);
    put_label(out, "sluice.replica", wish->name->replica);
    buffer_format(out,
                  "\"sluice.revision\":\"%u\",\"sluice.digest\":\"%016" PRIx64
                  "\",\"sluice.port\":\"%u\",",
                  wish->name->revision, wish->name->digest, wish->port);
}

static void put_labels(const struct kube_wish *wish, struct buffer *out)
{
    put(out, "\"labels\":{");
    put_label_row(wish, out);
    put(out, "\"app.kubernetes.io/managed-by\":\"sluice\"}");
}

static void put_metadata(const struct kube_wish *wish, struct buffer *out)
{
    char name[KUBE_NAME_MAX + 1];
    kube_write_name(wish->owner, wish->name, name);
    put(out, "\"metadata\":{");
    put_member(out, "name", text_of(name));
    put(out, ",");
    put_labels(wish, out);
    put(out, "}");
}

/* --------------------------------------------------------------------------------- a pod */

/* Without any, the image's own. */
static void put_arguments(char *const *arguments, struct buffer *out)
{
    if (!arguments[0])
        return;
    put(out, "\"args\":");
    launch_strings_write(arguments, out);
    put(out, ",");
}

static void put_environment(char *const *environment, struct buffer *out)
{
    put(out, "\"env\":[");
    for (size_t i = 0; environment[i]; i++) {
        struct text pair = text_of(environment[i]);
        size_t end = text_find_byte(pair, '=');
        put(out, i ? ",{" : "{");
        put_member(out, "name", text_head(pair, end));
        put(out, ",");
        put_member(out, "value", text_from(pair, end + 1));
        put(out, "}");
    }
    put(out, "],");
}

static void put_words(const struct kube_wish *wish, struct buffer *out)
{
    struct launch_facts facts = {
        .name = wish->name, .spec = wish->spec, .host = "0.0.0.0", .port = (uint16_t)wish->port};
    char **arguments = launch_arguments(&facts), **environment = launch_environment(&facts, NULL);
    put_arguments(arguments, out);
    put_environment(environment, out);
    launch_strings_free(arguments);
    launch_strings_free(environment);
}

/* Both requests and limits: the scheduler is to count what sluice counts. */
static void put_bounds(const struct resources *resources, struct text gpu, struct buffer *out)
{
    char bounds[160] = "";
    int len = 0;
    if (resources->memory_bytes > 0)
        len += snprintf(bounds + len, sizeof(bounds) - (size_t)len, "\"memory\":\"%" PRId64 "\"",
                        resources->memory_bytes);
    if (resources->cpus_milli > 0)
        len += snprintf(bounds + len, sizeof(bounds) - (size_t)len, "%s\"cpu\":\"%" PRId64 "m\"",
                        len ? "," : "", resources->cpus_milli);
    buffer_append_text(out, text_of(bounds));
    if (resources->gpus <= 0)
        return;
    put(out, len ? "," : "");
    json_write_key(out, gpu.len ? gpu : TEXT("nvidia.com/gpu"));
    buffer_format(out, "\"%" PRId64 "\"", resources->gpus);
}

static void put_resources(const struct deployment_spec *spec, struct buffer *out)
{
    put(out, "\"resources\":{\"limits\":{");
    put_bounds(&spec->resources, spec->pod.gpu_resource, out);
    put(out, "},\"requests\":{");
    put_bounds(&spec->resources, spec->pod.gpu_resource, out);
    put(out, "}},");
}

/* ------------------------------------------------------------------------------- volumes */

/* shm, and behind it those of the spec: v0, v1 … */
static void put_mounts(const struct deployment_spec *spec, struct buffer *out)
{
    put(out, "\"volumeMounts\":[{\"name\":\"shm\",\"mountPath\":\"/dev/shm\"}");
    for (size_t i = 0; i < spec->pod.volume_count; i++) {
        buffer_format(out, ",{\"name\":\"v%zu\",\"readOnly\":%s,", i,
                      spec->pod.volumes[i].read_only ? "true" : "false");
        put_member(out, "mountPath", spec->pod.volumes[i].path);
        put(out, "}");
    }
    put(out, "]");
}

static void put_volume(const struct spec_volume *volume, struct buffer *out)
{
    if (volume->claim.len) {
        put(out, "\"persistentVolumeClaim\":{");
        put_member(out, "claimName", volume->claim);
        buffer_format(out, ",\"readOnly\":%s}", volume->read_only ? "true" : "false");
    } else if (volume->host_path.len) {
        put(out, "\"hostPath\":{");
        put_member(out, "path", volume->host_path);
        put(out, "}");
    } else if (volume->size_bytes > 0) {
        buffer_format(out, "\"emptyDir\":{\"sizeLimit\":\"%" PRId64 "\"}", volume->size_bytes);
    } else {
        put(out, "\"emptyDir\":{}");
    }
}

static void put_volumes(const struct deployment_spec *spec, struct buffer *out)
{
    put(out, "\"volumes\":[{\"name\":\"shm\",\"emptyDir\":{\"medium\":\"Memory\"}}");
    for (size_t i = 0; i < spec->pod.volume_count; i++) {
        buffer_format(out, ",{\"name\":\"v%zu\",", i);
        put_volume(&spec->pod.volumes[i], out);
        put(out, "}");
    }
    put(out, "]");
}

/* Where it may go. */
static void put_machines(const struct deployment_spec *spec, struct buffer *out)
{
    if (spec->pod.selector_count) {
        put(out, "\"nodeSelector\":{");
        for (size_t i = 0; i < spec->pod.selector_count; i++) {
            put(out, i ? "," : "");
            json_write_key(out, spec->pod.selector[i].name);
            json_write_string(out, spec->pod.selector[i].value);
        }
        put(out, "},");
    }
    if (!spec->pod.toleration_count)
        return;
    put(out, "\"tolerations\":[");
    for (size_t i = 0; i < spec->pod.toleration_count; i++) {
        const struct spec_toleration *one = &spec->pod.tolerations[i];
        put(out, i ? ",{" : "{");
        put_member(out, "operator", one->value.len ? TEXT("Equal") : TEXT("Exists"));
        const struct spec_pair members[] = {
            {TEXT("key"), one->key}, {TEXT("value"), one->value}, {TEXT("effect"), one->effect}};
        for (size_t k = 0; k < sizeof(members) / sizeof(members[0]); k++)
            if (members[k].value.len) {
                put(out, ",");
                json_write_key(out, members[k].name);
                json_write_string(out, members[k].value);
            }
        put(out, "}");
    }
    put(out, "],");
}

static void put_container(const struct kube_wish *wish, struct buffer *out)
{
    put(out, "{\"name\":\"server\",");
    put_member(out, "image", wish->spec->image);
    put(out, ",");
    put_words(wish, out);
    put_resources(wish->spec, out);
    buffer_format(out, "\"ports\":[{\"containerPort\":%u}],", wish->port);
    put(out, "\"readinessProbe\":{\"httpGet\":{");
    put_member(out, "path", wish->spec->probe.path.len ? wish->spec->probe.path : TEXT("/health"));
    buffer_format(out, ",\"port\":%u},\"periodSeconds\":%d,\"timeoutSeconds\":%d},", wish->port,
                  (int)PROBE_SECONDS, (int)PROBE_TIMEOUT_SECONDS);
    put(out, "\"securityContext\":{\"allowPrivilegeEscalation\":false,"
             "\"capabilities\":{\"drop\":[\"ALL\"]}},");
    put_mounts(wish->spec, out);
    put(out, "}");
}

bool kube_wants_secret(const struct deployment_spec *spec)
{
    return spec->registry_user.len > 0 || spec->registry_password.len > 0;
}

void kube_write_pod(const struct kube_wish *wish, struct buffer *out)
{
    char name[KUBE_NAME_MAX + 1];
    put(out, "{\"apiVersion\":\"v1\",\"kind\":\"Pod\",");
    put_metadata(wish, out);
    buffer_format(out,
                  ",\"spec\":{\"restartPolicy\":\"Never\",\"automountServiceAccountToken\":false,"
                  "\"enableServiceLinks\":false,\"terminationGracePeriodSeconds\":%" PRId64 ",",
                  wish->grace_seconds);
    if (kube_wants_secret(wish->spec)) {
        kube_write_name(wish->owner, wish->name, name);
        put(out, "\"imagePullSecrets\":[{");
        put_member(out, "name", text_of(name));
        put(out, "}],");
    }
    put_machines(wish->spec, out);
    put(out, "\"containers\":[");
    put_container(wish, out);
    put(out, "],");
    put_volumes(wish->spec, out);
    put(out, "}}");
}

/* https://kubernetes.io/docs/tasks/configure-pod-container/pull-image-private-registry/ */
void kube_write_secret(const struct kube_wish *wish, struct buffer *out)
{
    struct buffer config;
    const struct deployment_spec *spec = wish->spec;
    buffer_init(&config, CREDENTIAL_MAX);
    put(&config, "{\"auths\":{");
    json_write_key(&config, launch_registry(spec->image));
    put(&config, "{");
    put_member(&config, "username", spec->registry_user);
    put(&config, ",");
    put_member(&config, "password", spec->registry_password);
    put(&config, "}}}");
    put(out, "{\"apiVersion\":\"v1\",\"kind\":\"Secret\","
             "\"type\":\"kubernetes.io/dockerconfigjson\",");
    put_metadata(wish, out);
    put(out, ",\"stringData\":{");
    put_member(out, ".dockerconfigjson", buffer_text(&config));
    put(out, "}}");
    if (config.data)
        memory_wipe(config.data, config.capacity);
    buffer_done(&config);
}

void kube_write_delete(int64_t grace_seconds, struct buffer *out)
{
    buffer_format(
        out,
        "{\"kind\":\"DeleteOptions\",\"apiVersion\":\"v1\",\"gracePeriodSeconds\":%" PRId64
        ",\"propagationPolicy\":\"Background\"}",
        grace_seconds);
}

/* --------------------------------------------------------------------------- Deployments */

#define COST "\"annotations\":{\"controller.kubernetes.io/pod-deletion-cost\":"

void kube_write_claim(const struct kube_wish *wish, const char *workload, struct buffer *out)
{
    put(out, "{\"metadata\":{\"labels\":{");
    put_label_row(wish, out);
    put_member(out, "sluice.workload", text_of(workload));
    put(out, "}," COST "\"100\"}}}");
}

void kube_write_release(struct buffer *out)
{
    put(out, "{\"metadata\":{" COST "\"-100\"}}}");
}

void kube_write_scale(unsigned replicas, struct buffer *out)
{
    buffer_format(out, "{\"spec\":{\"replicas\":%u}}", replicas);
}

void kube_write_selector_of(struct text selector, struct buffer *out)
{
    put(out, "labelSelector=");
    for (size_t i = 0; i < selector.len; i++) {
        if (is_letter_or_digit(selector.at[i]))
            buffer_append(out, &selector.at[i], 1);
        else
            buffer_format(out, "%%%02X", (unsigned)(unsigned char)selector.at[i]);
    }
}
