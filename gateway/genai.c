/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/genai.h"

struct text genai_operation(struct text operation)
{
    static const struct {
        struct text ours, theirs;
    } names[] = {{{"completion", 10}, {"text_completion", 15}},
                 {{"embedding", 9}, {"embeddings", 10}},
                 {{"response", 8}, {"chat", 4}}};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (text_equal(operation, names[i].ours))
            return names[i].theirs;
    return operation;
}

/* gen_ai.provider.name has names of its own for some. */
struct text genai_provider(struct text type)
{
    static const struct {
        struct text ours, theirs;
    } names[] = {
        {{"gemini", 6}, {"gcp.gemini", 10}},    {{"vertex", 6}, {"gcp.vertex_ai", 13}},
        {{"bedrock", 7}, {"aws.bedrock", 11}},  {{"azure-openai", 12}, {"azure.ai.openai", 15}},
        {{"mistral", 7}, {"mistral_ai", 10}},   {{"xai", 3}, {"x_ai", 4}},
        {{"moonshot", 8}, {"moonshot_ai", 11}}, {{"llama-cpp", 9}, {"llama_cpp", 9}}};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (text_equal(type, names[i].ours))
            return names[i].theirs;
    return type;
}
