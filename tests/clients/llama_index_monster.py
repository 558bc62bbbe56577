# SPDX-License-Identifier: Apache-2.0
"""What test_monster.py runs with LlamaIndex' own Python: its OpenAI is another one than the tests'."""

import json
import sys

from llama_index.llms.monsterapi import MonsterLLM

base, key, model = sys.argv[1:]
llm = MonsterLLM(model=model, api_base=base, api_key=key)
print(json.dumps({"window": llm.metadata.context_window, "text": llm.complete("Say hello.").text,
                  "stream": "".join(piece.delta or "" for piece in llm.stream_complete("Say hello."))}))
