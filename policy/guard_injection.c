/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What prompts say that try to undo earlier instructions (OWASP LLM01). A list of phrasings finds
 * those who do not try hard; docs/GUARDRAILS.md says so.
 */

#include "policy/guard_inside.h"

const char *const injection_patterns[] = {
    "\\b(?:ignore|disregard|forget|override|bypass)\\s+(?:\\w+\\s+){0,3}?"
    "(?:previous|prior|above|earlier|preceding|foregoing|system|initial|original|your)\\s+"
    "(?:\\w+\\s+){0,2}?(?:instructions?|prompts?|rules?|directions?|guidelines?|directives?|"
    "commands?|context|constraints?)\\b",
    "\\b(?:ignore|disregard|forget)\\s+(?:everything|all|anything)\\s+(?:\\w+\\s+){0,2}?"
    "(?:above|before|prior|previously|said|told|instructed)\\b",
    "\\b(?:reveal|show|print|repeat|output|display|leak|disclose|tell\\s+me)\\s+(?:\\w+\\s+){0,3}?"
    "(?:system|hidden|initial|original|secret)\\s+(?:prompts?|instructions?|messages?)\\b",
    "\\b(?:what|which)\\s+(?:is|are|was|were)\\s+your\\s+(?:system|hidden|initial|original|secret)"
    "\\s+"
    "(?:prompts?|instructions?)\\b",
    "\\byou\\s+are\\s+(?:now|no\\s+longer)\\s+(?:in\\s+)?(?:\\w+\\s+){0,3}?"
    "(?:dan|jailbroken|unrestricted|unfiltered|uncensored|developer\\s+mode|god\\s+mode|bound)\\b",
    "\\b(?:enable|enter|activate|switch\\s+to)\\s+(?:\\w+\\s+){0,2}?"
    "(?:developer|dan|jailbreak|god|debug|unrestricted)\\s+mode\\b",
    "\\bdo\\s+anything\\s+now\\b",
    "\\b(?:pretend|act|behave|respond)\\s+(?:\\w+\\s+){0,4}?(?:no|without|free\\s+(?:of|from))\\s+"
    "(?:any\\s+)?(?:\\w+\\s+){0,2}?(?:restrictions?|rules?|guidelines?|filters?|limitations?|"
    "censorship)\\b",
    "\\bnew\\s+(?:system\\s+)?(?:instructions?|directives?)\\s*:",
    "<\\|(?:im_start|im_end|system|endoftext|start_header_id|eot_id)\\|>",
    "\\[/?INST\\]|<</?SYS>>",
    "(?:^|\\n)\\s*#{2,}\\s*(?:system|new\\s+instructions?)\\s*:?\\s*(?:\\n|$)",
    NULL,
};
