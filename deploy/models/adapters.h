/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * adapters - keeps the adapters (LoRA) of one replica as its spec wants them: loads what is
 * missing, unloads what is not wanted any more, and looks afterwards whether it is so.
 *
 * Each engine has its way:
 *   vLLM, SGLang  loaded and unloaded while they run (/v1/load_lora_adapter, /load_lora_adapter);
 *                 a call names the adapter as its model
 *   llama.cpp     taken only at the start (--lora); a call names its number ("lora":[{"id":…}])
 *   LoRAX         loaded by the call that names it (adapter_id)
 * An adapter that cannot be had is tried a few times and then left alone; the others, and the model
 * itself, are not touched by that.
 *
 * On the wire an adapter's name has a digest of its source in it, so that a new source is never
 * answered with the old weights.
 */

#include "deploy/models/launcher.h"
#include "deploy/models/remote_call.h"

enum adapter_state { ADAPTER_ABSENT, ADAPTER_LOADING, ADAPTER_READY, ADAPTER_FAILED };

enum { ADAPTER_WIRE_MAX = 160, ADAPTER_WORDS_MAX = 200, ADAPTER_TRIES = 3 };

/* How a call says which adapter it wants. */
struct adapter_wire {
    enum { ADAPTER_AS_MODEL, ADAPTER_AS_NUMBER, ADAPTER_AS_ID } kind;
    char name[ADAPTER_WIRE_MAX]; /* "model" (as model), or "adapter_id" (as id) */
    unsigned number;             /* of llama.cpp's "lora":[{"id":number,"scale":1.0}] */
};
/* False: there is no such adapter, or its engine takes none. */
bool adapter_wire_of(const struct deployment_spec *spec, struct text adapter,
                     struct adapter_wire *wire);

struct adapter {
    char name[64];
    enum adapter_state state;
    char words[ADAPTER_WORDS_MAX]; /* why it failed */
};

struct adapters; /* of one replica */

/* <remote> must live as long. <on_change> comes from the loop. */
struct adapters *adapters_new(struct loop *loop, struct remote *remote,
                              void (*on_change)(void *with), void *with);
void adapters_free(struct adapters *adapters);
/* What is wanted from now on: of this spec. When that is another set, what had failed is tried
 * again. */
void adapters_want(struct adapters *adapters, const struct deployment_spec *spec);
/* What is so now; at most <max>. */
size_t adapters_look(const struct adapters *adapters, struct adapter *into, size_t max);
