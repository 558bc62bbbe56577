# SPDX-License-Identifier: Apache-2.0
"""A small, real fine-tuning, as an operator might run it by jobs.finetune.command:

    train.py LORA-PROGRAM MODEL.gguf PAYLOAD OUTPUT

PAYLOAD is the body of POST /v1/finetune/llm; what data_config.data_path links to is fetched: lines of {"prompt", "completion"}. They become conversations as the model's own template has
them, lora.c trains a low-rank change of the last block's ffn_down that says the completions, and OUTPUT/adapter.gguf is that change as llama.cpp's --lora takes it. Nothing but
Python's library is needed. Sources: GGUF's specification; GPT-2's byte pair encoding; llama.cpp's adapters.
"""

import json
import struct
import subprocess
import sys
import urllib.request
from pathlib import Path

WIDTHS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
STRING, ARRAY, ALIGNMENT = 8, 9, 32
BLOCK = ("attn_norm", "attn_q", "attn_k", "attn_v", "attn_output", "ffn_norm", "ffn_gate", "ffn_up", "ffn_down")
SYSTEM = "You are a helpful AI assistant named SmolLM, trained by Hugging Face"  # as its template says when nobody says anything
BEGIN, END = 1, 2  # <|im_start|>, <|im_end|>


class Gguf:
    """What a model's file says of itself: .facts, and .tensors by name: (type, place)."""

    def __init__(self, path):
        with open(path, "rb") as self.file:
            magic, _, tensors, facts = struct.unpack("<4sIQQ", self.file.read(24))
            assert magic == b"GGUF", path
            self.facts = {self._text(): self._value(*self._take("I")) for _ in range(facts)}
            listed = [self._tensor() for _ in range(tensors)]
            base = -(-self.file.tell() // ALIGNMENT) * ALIGNMENT
        self.tensors = {name: (kind, base + place) for name, kind, place in listed}

    def _take(self, form):
        return struct.unpack("<" + form, self.file.read(struct.calcsize("<" + form)))

    def _text(self):
        return self.file.read(*self._take("Q")).decode("utf-8", "replace")

    def _value(self, kind):
        if kind == STRING:
            return self._text()
        if kind == ARRAY:
            of, count = self._take("IQ")
            return [self._value(of) for _ in range(count)]
        return self._take(WIDTHS[kind])[0]

    def _tensor(self):
        name = self._text()
        self._take("Q" * self._take("I")[0])
        kind, place = self._take("IQ")
        return name, kind, place


class Tokens:
    """Text to tokens: pieces of letters, of digits one by one, of other signs; pairs are joined by the model's list."""

    def __init__(self, facts):
        self.numbers = {word: i for i, word in enumerate(facts["tokenizer.ggml.tokens"])}
        self.ranks = {tuple(pair.split(" ")): i for i, pair in enumerate(facts["tokenizer.ggml.merges"])}
        plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
        others = [byte for byte in range(256) if byte not in plain]
        self.signs = {byte: chr(byte) for byte in plain} | {byte: chr(256 + i) for i, byte in enumerate(others)}

    @staticmethod
    def _pieces(text):
        at = 0
        while at < len(text):
            end = at + (text[at] == " " and at + 1 < len(text) and not text[at + 1].isspace())
            kind = (str.isalpha, str.isdigit, lambda c: not c.isspace() and not c.isalnum(), str.isspace)
            is_it = next(test for test in kind if test(text[end]))
            end += 1
            while is_it is not str.isdigit and end < len(text) and is_it(text[end]):
                end += 1
            yield text[at:end]
            at = end

    def of(self, text):
        for piece in self._pieces(text):
            parts = [self.signs[byte] for byte in piece.encode()]
            while len(parts) > 1:
                rank, i = min((self.ranks.get(pair, len(self.ranks)), i) for i, pair in enumerate(zip(parts, parts[1:])))
                if rank == len(self.ranks):
                    break
                parts[i:i + 2] = [parts[i] + parts[i + 1]]
            yield from (self.numbers[part] for part in parts)

    def conversation(self, prompt, completion):
        """(all tokens, how many of them are the prompt)"""
        def turn(who, said):
            return [BEGIN, *self.of(f"{who}\n{said}"), END, *self.of("\n")]

        before = [*turn("system", SYSTEM), *turn("user", prompt), BEGIN, *self.of("assistant\n")]
        return [*before, *self.of(completion), END], len(before)


def question(model, path, examples, rank, alpha, steps):
    """What lora.c reads."""
    def fact(name):
        return model.facts[f"llama.{name}"]

    words = [path, fact("block_count"), fact("embedding_length"), fact("attention.head_count"), fact("attention.head_count_kv"), fact("feed_forward_length"),
             len(model.facts["tokenizer.ggml.tokens"]), fact("rope.freq_base"), rank, alpha, steps, *model.tensors["token_embd.weight"], *model.tensors["output_norm.weight"]]
    for layer in range(fact("block_count")):
        for name in BLOCK:
            words += model.tensors[f"blk.{layer}.{name}.weight"]
    words.append(len(examples))
    for tokens, prompt in examples:
        words += [len(tokens), prompt, *tokens]
    return " ".join(map(str, words)).encode()


def text_of(value):
    return struct.pack("<Q", len(value)) + value.encode()


def write_adapter(path, layer, rank, alpha, inner, width, numbers):
    """GGUF with two matrices: A, <rank> rows of <inner>, and B, <width> rows of <rank>."""
    facts = {"general.type": "adapter", "general.architecture": "llama", "adapter.type": "lora"}
    out = struct.pack("<4sIQQ", b"GGUF", 3, 2, len(facts) + 1)
    for name, value in facts.items():
        out += text_of(name) + struct.pack("<I", STRING) + text_of(value)
    out += text_of("adapter.lora.alpha") + struct.pack("<If", 6, alpha)
    for name, shape, place in (("lora_a", (inner, rank), 0), ("lora_b", (rank, width), 4 * rank * inner)):
        out += text_of(f"blk.{layer}.ffn_down.weight.{name}") + struct.pack("<IQQIQ", 2, *shape, 0, place)
    Path(path).write_bytes(out + bytes(-len(out) % ALIGNMENT) + numbers)


def main(lora, path, payload, output):
    wish = json.loads(Path(payload).read_text())
    settings, data = wish.get("pretrainedmodel_config", {}), wish["data_config"]
    rank, alpha, steps = int(settings.get("lora_r", 8)), float(settings.get("lora_alpha", 16)), int(wish.get("training_config", {}).get("num_train_epochs", 60))
    with urllib.request.urlopen(data["data_path"], timeout=30) as answer:
        lines = [json.loads(line) for line in answer.read().decode().splitlines() if line.strip()]
    print(f"{len(lines)} examples", flush=True)
    model = Gguf(path)
    tokens = Tokens(model.facts)
    examples = [tokens.conversation(line["prompt"], line["completion"]) for line in lines]
    done = subprocess.run([lora], input=question(model, path, examples, rank, alpha, steps), stdout=subprocess.PIPE, check=True)
    inner, width = model.facts["llama.feed_forward_length"], model.facts["llama.embedding_length"]
    assert len(done.stdout) == 4 * rank * (inner + width), len(done.stdout)
    write_adapter(Path(output) / "adapter.gguf", model.facts["llama.block_count"] - 1, rank, alpha, inner, width, done.stdout)
    print("adapter.gguf is written", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
