/* SPDX-License-Identifier: Apache-2.0 */
/* What a deployment wants of its pods, and which Deployment of Kubernetes it is. */
#include "gateway/config/document.h"
#include "gateway/config/label.h"

enum { POD_LIST_MAX = 64, POD_LABEL_MAX = 63, POD_PATH_MAX = 1024 };

static const char *const effects[] = {"", "NoSchedule", "PreferNoSchedule", "NoExecute"};

static const struct node *section_of(const struct deployment_draft *draft)
{
    return node_find(draft->node, "kubernetes");
}

/* --------------------------------------------------------------------------------- filling */

static size_t bounded(struct document *document, const struct deployment_draft *draft,
                      const char *name, size_t count)
{
    if (count > POD_LIST_MAX)
        problem_at_key(document, node_find(section_of(draft), name), SEVERITY_ERROR,
                       "more than %d of them", (int)POD_LIST_MAX);
    return count < POD_LIST_MAX ? count : POD_LIST_MAX;
}

static void fill_volumes(struct document *document, struct deployment_draft *draft)
{
    const struct volume_draft *list = draft->volumes.at;
    size_t count = bounded(document, draft, "volumes", draft->volumes.count);
    struct spec_volume *volumes = arena_new(&document->arena, (count + 1) * sizeof(*volumes));
    for (size_t i = 0; i < count; i++) {
        volumes[i] = list[i].spec;
        volumes[i].size_bytes = (int64_t)list[i].size;
        if (!volumes[i].claim.len && !volumes[i].host_path.len)
            volumes[i].read_only = false; /* nobody else fills it */
    }
    draft->spec.pod.volumes = volumes;
    draft->spec.pod.volume_count = count;
}

static void fill_selector(struct document *document, struct deployment_draft *draft)
{
    size_t count = bounded(document, draft, "node_selector", draft->node_selector.count);
    draft->spec.pod.selector = deploy_pairs(document, draft->node_selector.at, count);
    draft->spec.pod.selector_count = count;
}

static void fill_tolerations(struct document *document, struct deployment_draft *draft)
{
    const struct toleration_draft *list = draft->tolerations.at;
    size_t count = bounded(document, draft, "tolerations", draft->tolerations.count);
    struct spec_toleration *all = arena_new(&document->arena, (count + 1) * sizeof(*all));
    for (size_t i = 0; i < count; i++) {
        all[i] = list[i].spec;
        all[i].effect = text_of(effects[list[i].effect]);
    }
    draft->spec.pod.tolerations = all;
    draft->spec.pod.toleration_count = count;
}

void deploy_pod_fill(struct document *document, struct deployment_draft *draft)
{
    fill_volumes(document, draft);
    fill_selector(document, draft);
    fill_tolerations(document, draft);
}

/* -------------------------------------------------------------------------------- checking */

/* A path as Kubernetes takes them: from the root on, without ways back up, without ':'. */
static bool is_path(struct text path)
{
    return path.len > 0 && path.len <= POD_PATH_MAX && path.at[0] == '/' &&
           text_find(path, TEXT("..")) == SIZE_MAX && text_find_byte(path, ':') == SIZE_MAX;
}

static void check_volume(struct document *document, const struct volume_draft *volume)
{
    const struct spec_volume *spec = &volume->spec;
    if (!is_path(spec->path))
        problem_at_value(document, node_of(volume->node, "path"), SEVERITY_ERROR,
                         "a volume's \"path\" begins with /, without .. and :");
    else if (spec->path.len == 1 || text_equal(spec->path, TEXT("/dev/shm")))
        problem_at_value(document, node_of(volume->node, "path"), SEVERITY_ERROR,
                         "something else is there already");
    if (spec->claim.len && spec->host_path.len)
        problem_at_key(document, node_find(volume->node, "host_path"), SEVERITY_ERROR,
                       "a volume is a \"claim\" or a \"host_path\", not both");
    if (spec->claim.len && !is_subdomain(spec->claim))
        problem_at_value(document, node_of(volume->node, "claim"), SEVERITY_ERROR,
                         "no name of a claim");
    if (spec->host_path.len && !is_path(spec->host_path))
        problem_at_value(document, node_of(volume->node, "host_path"), SEVERITY_ERROR,
                         "a \"host_path\" begins with /, without .. and :");
    if (volume->size && (spec->claim.len || spec->host_path.len))
        problem_at_key(document, node_find(volume->node, "size"), SEVERITY_ERROR,
                       "a \"size\" is for an empty volume");
}

static void check_volumes(struct document *document, const struct deployment_draft *draft)
{
    const struct volume_draft *list = draft->volumes.at;
    for (size_t i = 0; i < draft->volumes.count; i++) {
        check_volume(document, &list[i]);
        for (size_t k = 0; k < i; k++)
            if (text_equal(list[k].spec.path, list[i].spec.path))
                problem_at_value(document, node_of(list[i].node, "path"), SEVERITY_ERROR,
                                 "there is a volume at this path already");
    }
}

static void check_toleration(struct document *document, const struct toleration_draft *draft)
{
    struct text key = draft->spec.key, value = draft->spec.value;
    if (value.len && !key.len)
        problem_at_value(document, draft->node, SEVERITY_ERROR, "a \"value\" needs a \"key\"");
    if (key.len && !is_label_key(key))
        problem_at_value(document, node_of(draft->node, "key"), SEVERITY_ERROR,
                         "no key of a taint, such as nvidia.com/gpu");
    if (!is_label_value(value))
        problem_at_value(document, node_of(draft->node, "value"), SEVERITY_ERROR,
                         "no value of a taint: letters, digits, -, _ and ., at most %d",
                         (int)POD_LABEL_MAX);
}

static void check_machines(struct document *document, const struct deployment_draft *draft)
{
    const struct pair *labels = draft->node_selector.at;
    const struct toleration_draft *list = draft->tolerations.at;
    struct text gpus = draft->spec.pod.gpu_resource;
    for (size_t i = 0; i < draft->node_selector.count; i++)
        if (!is_label_key(labels[i].name) || !is_label_value(labels[i].value))
            problem_at_key(document, labels[i].node, SEVERITY_ERROR,
                           "no label, such as example.com/gpu: a100");
    for (size_t i = 0; i < draft->tolerations.count; i++)
        check_toleration(document, &list[i]);
    if (gpus.len && !is_label_key(gpus))
        problem_at_value(document, node_of(section_of(draft), "gpu_resource"), SEVERITY_ERROR,
                         "no name of a resource, such as amd.com/gpu");
}

/* What runs is the Deployment's own affair. */
static void check_workload(struct document *document, const struct deployment_draft *draft)
{
    static const char *const others[] = {"image", "command", "env", "registry"};
    const struct text name = draft->spec.pod.workload;
    if (!name.len)
        return;
    if (!is_subdomain(name) || name.len > POD_LABEL_MAX) /* its pods have it as a label */
        problem_at_value(document, node_of(section_of(draft), "workload"), SEVERITY_ERROR,
                         "no name of a Deployment");
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
        if (node_is_given(node_find(draft->node, others[i])))
            problem_at_key(document, node_find(draft->node, others[i]), SEVERITY_ERROR,
                           "with a \"workload\" its Deployment has the \"%s\"", others[i]);
    if (draft->volumes.count || draft->node_selector.count || draft->tolerations.count)
        problem_at_key(document, section_of(draft), SEVERITY_ERROR,
                       "with a \"workload\" its Deployment has volumes, node_selector and "
                       "tolerations");
    if (draft->adapters.count && draft->spec.engine == ENGINE_LLAMA_CPP)
        problem_at_key(document, node_find(draft->node, "adapters"), SEVERITY_ERROR,
                       "llama.cpp takes adapters only at its start, which is its Deployment's");
}

void deploy_pod_check(struct document *document, const struct deployment_draft *draft)
{
    const struct node *section = section_of(draft);
    if (!node_is_given(section))
        return;
    if (draft->spec.launcher != LAUNCH_BY_KUBERNETES)
        problem_at_key(document, section, SEVERITY_ERROR,
                       "\"kubernetes\" is for the launcher kubernetes");
    check_volumes(document, draft);
    check_machines(document, draft);
    check_workload(document, draft);
}
