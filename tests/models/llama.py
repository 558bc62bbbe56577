# SPDX-License-Identifier: Apache-2.0
"""llama.cpp's server of deploy/quickstart/model on the port that is given, for as long as nobody ends it: that one ends with its parent.

Behind the port, as llama-server has them: --lora FILE, --lora-init-without-apply.
"""

import importlib.util
import signal
import sys
from pathlib import Path

import xllamacpp

file = Path(__file__).resolve().parents[2] / "deploy/quickstart/model_server.py"
spec = importlib.util.spec_from_file_location("model_server", file)
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
params = module.parameters(int(sys.argv[1]))
params.lora_adapters = [xllamacpp.CommonAdapterLoraInfo(file, 1.0) for word, file in zip(sys.argv, sys.argv[1:]) if word == "--lora"]
params.lora_init_without_apply = "--lora-init-without-apply" in sys.argv
server = xllamacpp.Server(params)
print(f"ready {server.listening_address}", flush=True)
while True:
    signal.pause()
