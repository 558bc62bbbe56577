/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/cli/convert.h"

/* The names that LiteLLM, Bifrost and Portkey have for vendors. Those that this program has the
 * same name for are in the table too: a vendor without a row is unknown. */

struct vendor {
    const char *theirs, *type;
};

static const struct vendor vendors[] = {
    {"ai21", "ai21"},
    {"ai21_chat", "ai21"},
    {"anthropic", "anthropic"},
    {"azure", "azure-openai"},
    {"azure_ai", "azure-openai"},
    {"azure-ai", "azure-openai"},
    {"azure-openai", "azure-openai"},
    {"azure_text", "azure-openai"},
    {"bedrock", "bedrock"},
    {"cerebras", "cerebras"},
    {"cloudflare", "cloudflare"},
    {"cohere", "cohere"},
    {"cohere_chat", "cohere"},
    {"custom_openai", "openai"},
    {"dashscope", "dashscope"},
    {"databricks", "databricks"},
    {"deepinfra", "deepinfra"},
    {"deepseek", "deepseek"},
    {"fireworks", "fireworks"},
    {"fireworks-ai", "fireworks"},
    {"fireworks_ai", "fireworks"},
    {"gemini", "gemini"},
    {"google", "gemini"},
    {"groq", "groq"},
    {"hosted_vllm", "vllm"},
    {"huggingface", "huggingface"},
    {"hyperbolic", "hyperbolic"},
    {"infinity", "vllm"},
    {"jina", "jina"},
    {"jina_ai", "jina"},
    {"litellm_proxy", "vllm"},
    {"llamafile", "llama-cpp"},
    {"lm_studio", "llama-cpp"},
    {"minimax", "minimax"},
    {"mistral", "mistral"},
    {"mistral-ai", "mistral"},
    {"monsterapi", "monster"},
    {"moonshot", "moonshot"},
    {"novita", "novita"},
    {"novita-ai", "novita"},
    {"nvidia_nim", "nvidia"},
    {"ollama", "ollama"},
    {"ollama_chat", "ollama"},
    {"openai", "openai"},
    {"openai_like", "openai"},
    {"openrouter", "openrouter"},
    {"perplexity", "perplexity"},
    {"perplexity-ai", "perplexity"},
    {"sambanova", "sambanova"},
    {"sgl", "sglang"},
    {"sglang", "sglang"},
    {"text-completion-openai", "openai"},
    {"together-ai", "together"},
    {"together_ai", "together"},
    {"vertex", "vertex"},
    {"vertex-ai", "vertex"},
    {"vertex_ai", "vertex"},
    {"vertex_ai_beta", "vertex"},
    {"vllm", "vllm"},
    {"voyage", "voyage"},
    {"x-ai", "xai"},
    {"xai", "xai"},
    {"zai", "zhipu"},
    {"zhipu", "zhipu"},
};

/* What models are called by those whom everybody knows. */
static const struct vendor families[] = {
    {"gpt-*", "openai"},
    {"chatgpt-*", "openai"},
    {"o1*", "openai"},
    {"o3*", "openai"},
    {"o4*", "openai"},
    {"text-embedding-*", "openai"},
    {"text-moderation-*", "openai"},
    {"omni-moderation-*", "openai"},
    {"dall-e-*", "openai"},
    {"whisper-*", "openai"},
    {"tts-*", "openai"},
    {"claude-*", "anthropic"},
    {"gemini-*", "gemini"},
    {"command-*", "cohere"},
    {"mistral-*", "mistral"},
    {"codestral-*", "mistral"},
    {"deepseek-*", "deepseek"},
    {"grok-*", "xai"},
};

const char *convert_vendor(struct text name)
{
    for (size_t i = 0; i < sizeof(vendors) / sizeof(*vendors); i++)
        if (text_equal(name, text_of(vendors[i].theirs)))
            return vendors[i].type;
    return NULL;
}

const char *convert_vendor_of(struct text model)
{
    for (size_t i = 0; i < sizeof(families) / sizeof(*families); i++)
        if (text_matches(model, text_of(families[i].theirs)))
            return families[i].type;
    return NULL;
}
