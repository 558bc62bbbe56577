/* SPDX-License-Identifier: Apache-2.0 */
#include "deploy/models/kube_mount.h"

#include <inttypes.h>

#include "gateway/base/json.h"

static void put(struct buffer *out, const char *words)
{
    buffer_append_text(out, text_of(words));
}

static void put_member(struct buffer *out, const char *name, struct text value)
{
    json_write_key(out, text_of(name));
    json_write_string(out, value);
}

static void put_selector(const struct pod_spec *pod, struct buffer *out)
{
    put(out, "\"nodeSelector\":{");
    for (size_t i = 0; i < pod->selector_count; i++) {
        put(out, i ? "," : "");
        json_write_key(out, pod->selector[i].name);
        json_write_string(out, pod->selector[i].value);
    }
    put(out, "},");
}

static void put_toleration(const struct toleration_spec *toleration, struct buffer *out)
{
    static const char *const effects[] = {
        [TAINT_NO_SCHEDULE] = "NoSchedule",
        [TAINT_PREFER_NO_SCHEDULE] = "PreferNoSchedule",
        [TAINT_NO_EXECUTE] = "NoExecute",
    };
    bool is_equal = toleration->value.len > 0;
    put(out, is_equal ? "{\"operator\":\"Equal\"," : "{\"operator\":\"Exists\"");
    if (is_equal)
        put_member(out, "value", toleration->value);
    if (toleration->key.len) {
        put(out, ",");
        put_member(out, "key", toleration->key);
    }
    if (toleration->effect != TAINT_ANY) {
        put(out, ",");
        put_member(out, "effect", text_of(effects[toleration->effect]));
    }
    put(out, "}");
}

void kube_write_place(const struct pod_spec *pod, struct buffer *out)
{
    if (pod->selector_count)
        put_selector(pod, out);
    if (!pod->toleration_count)
        return;
    put(out, "\"tolerations\":[");
    for (size_t i = 0; i < pod->toleration_count; i++) {
        put(out, i ? "," : "");
        put_toleration(&pod->tolerations[i], out);
    }
    put(out, "],");
}

static void put_source(const struct volume_spec *volume, struct buffer *out)
{
    if (volume->claim.len) {
        put(out, "\"persistentVolumeClaim\":{");
        put_member(out, "claimName", volume->claim);
        put(out, volume->read_only ? ",\"readOnly\":true}" : "}");
    } else if (volume->host_path.len) {
        put(out, "\"hostPath\":{");
        put_member(out, "path", volume->host_path);
        put(out, "}");
    } else if (volume->bytes > 0) {
        buffer_format(out, "\"emptyDir\":{\"sizeLimit\":\"%" PRId64 "\"}", volume->bytes);
    } else {
        put(out, "\"emptyDir\":{}");
    }
}

/* Called v0, v1 …: names that no path can spoil. */
void kube_write_volumes(const struct pod_spec *pod, struct buffer *out)
{
    put(out, "\"volumes\":[{\"name\":\"shm\",\"emptyDir\":{\"medium\":\"Memory\"}}");
    for (size_t i = 0; i < pod->volume_count; i++) {
        buffer_format(out, ",{\"name\":\"v%zu\",", i);
        put_source(&pod->volumes[i], out);
        put(out, "}");
    }
    put(out, "]");
}

void kube_write_mounts(const struct pod_spec *pod, struct buffer *out)
{
    put(out, "\"volumeMounts\":[{\"name\":\"shm\",\"mountPath\":\"/dev/shm\"}");
    for (size_t i = 0; i < pod->volume_count; i++) {
        const struct volume_spec *volume = &pod->volumes[i];
        bool is_lasting = volume->claim.len || volume->host_path.len;
        buffer_format(out, ",{\"name\":\"v%zu\",", i);
        put_member(out, "mountPath", volume->path);
        put(out, is_lasting && volume->read_only ? ",\"readOnly\":true}" : "}");
    }
    put(out, "]");
}
