# SPDX-License-Identifier: Apache-2.0
"""llama.cpp's server of deploy/quickstart/model on the port that is given, for as long as nobody ends it: that one ends with its parent."""

import importlib.util
import signal
import sys
from pathlib import Path

import xllamacpp

file = Path(__file__).resolve().parents[2] / "deploy/quickstart/model_server.py"
spec = importlib.util.spec_from_file_location("model_server", file)
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
server = xllamacpp.Server(module.parameters(int(sys.argv[1])))
print(f"ready {server.listening_address}", flush=True)
while True:
    signal.pause()
