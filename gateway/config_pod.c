/* SPDX-License-Identifier: Apache-2.0 */
/* From `pod` of a deployment to what its spec has of it. What an API server would refuse is refused
 * here, so that it is found before the first call. */
#include "gateway/config_document.h"

enum {
    LABEL_MAX = 63,      /* of a label's value, and of its name behind the prefix */
    SUBDOMAIN_MAX = 253, /* RFC 1123 */
    PATH_BYTES_MAX = 1023,
};

static bool is_alphanumeric(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

/* What a label may say: https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/
 */
static bool is_label_value(struct text value)
{
    for (size_t i = 0; i < value.len; i++) {
        char c = value.at[i];
        bool inner = i > 0 && i + 1 < value.len;
        if (!is_alphanumeric(c) && !(inner && (c == '-' || c == '_' || c == '.')))
            return false;
    }
    return value.len <= LABEL_MAX;
}

/* Names of RFC 1123 between dots. */
static bool is_subdomain(struct text name)
{
    char before = '.';
    for (size_t i = 0; i < name.len; i++) {
        char c = name.at[i];
        bool is_outer = before == '.' || i + 1 == name.len || name.at[i + 1] == '.';
        bool is_letter = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
        if (!is_letter && !(c == '-' && !is_outer) && !(c == '.' && before != '.'))
            return false;
        before = c;
    }
    return name.len > 0 && name.len <= SUBDOMAIN_MAX && before != '.';
}

/* NAME, or PREFIX/NAME. */
static bool is_label_key(struct text key)
{
    size_t slash = text_find_byte(key, '/');
    if (slash == SIZE_MAX)
        return key.len > 0 && is_label_value(key);
    struct text name = text_from(key, slash + 1);
    return is_subdomain(text_head(key, slash)) && name.len > 0 && is_label_value(name);
}

/* From the root on, without a way back. */
static bool is_whole_path(struct text path)
{
    for (size_t i = 0; i + 2 < path.len; i++)
        if (path.at[i] == '/' && path.at[i + 1] == '.' && path.at[i + 2] == '.' &&
            (i + 3 == path.len || path.at[i + 3] == '/'))
            return false;
    return path.len > 0 && path.at[0] == '/' && path.len <= PATH_BYTES_MAX &&
           text_find_byte(path, '\0') == SIZE_MAX;
}

/* How many of <count> are kept; more are reported at <name>. */
static size_t bounded(struct document *document, const struct deployment_draft *draft,
                      const char *name, size_t count, size_t most)
{
    if (count <= most)
        return count;
    problem_at_value(document, node_of(node_of(draft->node, "pod"), name), SEVERITY_ERROR,
                     "more than %zu of \"%s\"", most, name);
    return most;
}

static void fill_selector(struct document *document, struct deployment_draft *draft)
{
    const struct pair *pairs = draft->selector.at;
    struct pod_spec *pod = &draft->spec.pod;
    size_t count =
        bounded(document, draft, "node_selector", draft->selector.count, SPEC_SELECTOR_MAX);
    struct spec_pair *labels = arena_new(&document->arena, (count + 1) * sizeof(*labels));
    for (size_t i = 0; i < count; i++) {
        labels[i] = (struct spec_pair){pairs[i].name, pairs[i].value};
        if (!is_label_key(pairs[i].name) || !is_label_value(pairs[i].value))
            problem_at_key(document, pairs[i].node, SEVERITY_ERROR,
                           "this is no label of a node, such as example.com/gpu: a100");
    }
    pod->selector = labels;
    pod->selector_count = count;
}

static void check_toleration(struct document *document, const struct toleration_draft *draft)
{
    const struct toleration_spec *spec = &draft->spec;
    if (spec->key.len && !is_label_key(spec->key))
        problem_at_value(document, node_of(draft->node, "key"), SEVERITY_ERROR,
                         "this is no key of a taint, such as nvidia.com/gpu");
    if (!is_label_value(spec->value))
        problem_at_value(document, node_of(draft->node, "value"), SEVERITY_ERROR,
                         "a taint's value has at most %d letters, digits, -, _ and .", LABEL_MAX);
    if (spec->value.len && !spec->key.len)
        problem_at_value(document, node_of(draft->node, "value"), SEVERITY_ERROR,
                         "a \"value\" needs a \"key\"");
}

static void fill_tolerations(struct document *document, struct deployment_draft *draft)
{
    const struct toleration_draft *list = draft->tolerations.at;
    struct pod_spec *pod = &draft->spec.pod;
    size_t count =
        bounded(document, draft, "tolerations", draft->tolerations.count, SPEC_TOLERATIONS_MAX);
    struct toleration_spec *specs = arena_new(&document->arena, (count + 1) * sizeof(*specs));
    for (size_t i = 0; i < count; i++) {
        specs[i] = list[i].spec;
        specs[i].effect = (enum taint_effect)list[i].effect;
        check_toleration(document, &list[i]);
    }
    pod->tolerations = specs;
    pod->toleration_count = count;
}

static void check_mount(struct document *document, const struct volume_draft *list, size_t i)
{
    const struct node *at = node_of(list[i].node, "path");
    struct text path = list[i].spec.path;
    if (!is_whole_path(path) || path.len == 1 || text_find_byte(path, ':') != SIZE_MAX)
        problem_at_value(document, at, SEVERITY_ERROR,
                         "a \"path\" begins with /, and has neither .. nor :");
    if (text_equal(path, TEXT("/dev/shm")))
        problem_at_value(document, at, SEVERITY_ERROR, "/dev/shm is there already");
    for (size_t k = 0; k < i; k++)
        if (path.len && text_equal(list[k].spec.path, path))
            problem_at_value(document, at, SEVERITY_ERROR, "something else is mounted there in %s",
                             node_place(document, list[k].node, list[i].node));
}

static void check_source(struct document *document, const struct volume_draft *draft)
{
    const struct volume_spec *spec = &draft->spec;
    if (spec->claim.len && spec->host_path.len)
        problem_at_value(document, node_of(draft->node, "host_path"), SEVERITY_ERROR,
                         "it is either a \"claim\" or a \"host_path\"");
    if (spec->claim.len && !is_subdomain(spec->claim))
        problem_at_value(document, node_of(draft->node, "claim"), SEVERITY_ERROR,
                         "this is no name of a PersistentVolumeClaim");
    if (spec->host_path.len && !is_whole_path(spec->host_path))
        problem_at_value(document, node_of(draft->node, "host_path"), SEVERITY_ERROR,
                         "a \"host_path\" begins with /, and has no ..");
    if (draft->bytes && (spec->claim.len || spec->host_path.len))
        problem_at_value(document, node_of(draft->node, "size"), SEVERITY_ERROR,
                         "a \"size\" is for what begins empty");
}

static void fill_volumes(struct document *document, struct deployment_draft *draft)
{
    const struct volume_draft *list = draft->volumes.at;
    struct pod_spec *pod = &draft->spec.pod;
    size_t count = bounded(document, draft, "volumes", draft->volumes.count, SPEC_VOLUMES_MAX);
    struct volume_spec *specs = arena_new(&document->arena, (count + 1) * sizeof(*specs));
    for (size_t i = 0; i < count; i++) {
        specs[i] = list[i].spec;
        specs[i].bytes = (int64_t)list[i].bytes;
        specs[i].read_only &= specs[i].claim.len > 0 || specs[i].host_path.len > 0;
        check_mount(document, list, i);
        check_source(document, &list[i]);
    }
    pod->volumes = specs;
    pod->volume_count = count;
}

void resolve_pod(struct document *document, struct deployment_draft *draft)
{
    const struct node *at = node_find(draft->node, "pod");
    if (node_is_given(at) && draft->spec.launcher != LAUNCH_BY_KUBERNETES)
        problem_at_key(document, at, SEVERITY_ERROR, "a \"pod\" is for the launcher kubernetes");
    fill_selector(document, draft);
    fill_tolerations(document, draft);
    fill_volumes(document, draft);
}
