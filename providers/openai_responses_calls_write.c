/* SPDX-License-Identifier: Apache-2.0 */
/*
 * openai_responses_events.h: calls of tools, as the client declared them.
 */
#include "gateway/base/member.h"
#include "providers/openai_responses_events.h"

/* The call is looked at once: it may be long, and the answer may have many calls. */
static void find_tool(struct responses_writer *w, struct text name, struct responses_tool *tool)
{
    struct text input = w->input, none, item;
    if (!w->knows_declared)
        responses_add_declared(&w->base.arena, w->tools, &w->declared);
    bool goes_on = !w->knows_declared && input.len && input.at[0] == '[';
    while (goes_on && member_next(&input, &none, &item)) {
        struct text type = member_string(member_find(item, TEXT("type")));
        if (inner_is(type, "additional_tools"))
            responses_add_declared(&w->base.arena, member_find(item, TEXT("tools")), &w->declared);
    }
    w->knows_declared = true;
    responses_find_tool(&w->declared, name, tool);
}

/* What is known of the item that a call is: what a target of this dialect says, or what the client
 * declared the tool as. */
static struct response_item call_item(struct responses_writer *w, struct text name,
                                      struct text said)
{
    struct responses_tool tool = {.name = name};
    struct text id = {NULL, 0};
    if (responses_is_own(w) && said.at) {
        tool.is_custom =
            inner_is(member_string(member_find(said, TEXT("type"))), "custom_tool_call");
        tool.space = member_string(member_find(said, TEXT("namespace")));
        id = member_string(member_find(said, TEXT("id")));
    } else {
        find_tool(w, name, &tool);
    }
    return (struct response_item){.is_custom = tool.is_custom,
                                  .id = id,
                                  .name = tool.name.at ? tool.name : TEXT(""),
                                  .space = responses_keep(w, tool.space)};
}

void responses_call_begin(struct responses_writer *w, struct response_place *place,
                          struct text said)
{
    struct response_item like = call_item(w, place->name, said);
    responses_leave_message(w);
    place->item = responses_item_begin(w, PART_CALL, like.id, like.is_custom ? "ctc" : "fc");
    struct response_item *item = &w->items[place->item];
    item->is_custom = like.is_custom;
    item->name = like.name;
    item->space = like.space;
    item->call_id = place->id;
    if (!item->call_id.len)
        item->call_id = arena_format(&w->base.arena, "call_%.*s_%zu", TEXT_ARGS(w->seed),
                                     (size_t)(place - w->places));
    place->is_known = true;
    responses_event_tell_item(w, place->item, false);
}

static void tell_arguments(struct responses_writer *w, size_t item, struct text more)
{
    if (!w->out)
        return;
    responses_event_open_delta(w, "response.function_call_arguments.delta", item, NULL, 0, more);
    responses_event_close(w);
}

/* Those of a tool that takes free text wait until they are whole. */
void responses_call_add(struct responses_writer *w, struct response_place *place, struct text more)
{
    struct response_item *item = &w->items[place->item];
    rope_add(&item->text, &w->base.arena, more);
    if (!item->is_custom)
        tell_arguments(w, place->item, more);
}

/* Free text again; what has not the one argument that it should is given as it is. */
static void end_custom(struct responses_writer *w, size_t number)
{
    struct response_item *item = &w->items[number];
    struct text whole = rope_text(&item->text, &w->base.arena);
    struct text object = object_of_inner(&w->base.arena, whole);
    struct text input = member_string(member_find(object, TEXT("input")));
    item->text = (struct rope){NULL, NULL, 0};
    rope_add(&item->text, &w->base.arena, input.at ? input : whole);
    if (!w->out)
        return;
    responses_event_open_delta(w, "response.custom_tool_call_input.delta", number, NULL, 0,
                               input.at ? input : whole);
    responses_event_close(w);
    responses_event_open_about(w, "response.custom_tool_call_input.done", number);
    responses_event_put_rope(w, "input", &item->text);
    responses_event_close(w);
}

static void end_function(struct responses_writer *w, size_t number)
{
    struct response_item *item = &w->items[number];
    if (item->text.len == 0) {
        rope_add(&item->text, &w->base.arena, TEXT("{}"));
        tell_arguments(w, number, TEXT("{}"));
    }
    if (!w->out)
        return;
    responses_event_open_about(w, "response.function_call_arguments.done", number);
    put_inner(w->out, "name", item->name);
    responses_event_put_rope(w, "arguments", &item->text);
    responses_event_close(w);
}

void responses_call_end(struct responses_writer *w, struct response_place *place)
{
    struct responses_proof proof = {.from = w->base.way->from,
                                    .of = PROOF_OF_CALL,
                                    .call_id = w->items[place->item].call_id,
                                    .signature = place->signature};
    if (w->items[place->item].is_custom)
        end_custom(w, place->item);
    else
        end_function(w, place->item);
    responses_item_end(w, place->item);
    if (place->signature.len)
        responses_add_proof(w, &proof);
}
