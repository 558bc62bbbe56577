#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Write the tables of OpenAI's tokenizers, which are built into the program (policy/bpe.h).

    pip install tiktoken==0.14.0; npm pack tiktoken@1.0.22 && tar xzf tiktoken-1.0.22.tgz
    python3 policy/bpe/pack.py package/encoders

The ranks are OpenAI's (github.com/openai/tiktoken, MIT licence, Copyright 2022 OpenAI), as the npm
package tiktoken (MIT) carries them; each is held against the digest that OpenAI's own library names
for the file that it downloads.

  <name>.bin   one zlib stream of the tokens in the order of their bytes, as columns: how many bytes
               each shares with the one before; how many follow; the ranks' lowest, middle and
               highest bytes; then the bytes that follow, one token behind the other
  letters.bin  what each code point is, in two steps: 4352 bytes, the block of each 256 code points;
               then the blocks, 128 bytes each, a code point in four bits, the first in the lower.
               It is what the regular expressions of the library say, so that splitting is the same
"""

import base64
import hashlib
import inspect
import json
import pathlib
import re
import sys
import zlib

import tiktoken
from tiktoken_ext import openai_public

HERE = pathlib.Path(__file__).parent
# In the order of enum letter_class in policy/bpe_letters.h; what is in none of them is 0.
CLASSES = [r"[\p{Lu}\p{Lt}]", r"\p{Ll}", r"[\p{Lm}\p{Lo}]", r"\p{M}", r"\p{N}", r"[\r\n]",
           r"[^\S\r\n]"]
CODE_POINTS = 0x110000


def read_ranks(path):
    """Lines of "! offset token token ...", which are base64."""
    ranks = {}
    for line in json.loads(path.read_text())["bpe_ranks"].splitlines():
        _, offset, *tokens = line.split(" ")
        for place, token in enumerate(tokens):
            ranks[base64.b64decode(token)] = int(offset) + place
    return ranks


def is_original(name, ranks):
    """The digest of the file that the library downloads: a token in base64 and its rank a line."""
    source = inspect.getsource(getattr(openai_public, name))
    expected = re.search(r'expected_hash="([0-9a-f]{64})"', source).group(1)
    lines = (base64.b64encode(token) + b" %d\n" % rank
             for token, rank in sorted(ranks.items(), key=lambda item: item[1]))
    return hashlib.sha256(b"".join(lines)).hexdigest() == expected


def pack(ranks):
    shared, rest, low, middle, high, tail = (bytearray() for _ in range(6))
    before = b""
    for token in sorted(ranks):
        same = 0
        while same < min(len(token), len(before)) and token[same] == before[same]:
            same += 1
        shared.append(same)
        rest.append(len(token) - same)
        tail += token[same:]
        rank = ranks[token]
        low.append(rank & 0xFF)
        middle.append(rank >> 8 & 0xFF)
        high.append(rank >> 16)
        before = token
    return zlib.compress(bytes(shared + rest + low + middle + high + tail), 9)


def matched(pattern, text):
    """All code points of <text> that the library's regular expressions find."""
    encoding = tiktoken.Encoding("bytes", pat_str=pattern, special_tokens={}, explicit_n_vocab=256,
                                 mergeable_ranks={bytes([byte]): byte for byte in range(256)})
    return bytes(encoding.encode_ordinary(text)).decode()


def letters():
    classes = bytearray(CODE_POINTS)
    everything = "".join(map(chr, [*range(0xD800), *range(0xE000, CODE_POINTS)]))
    for place, pattern in enumerate(CLASSES):
        for character in matched(pattern, everything):
            classes[ord(character)] = place + 1
    index, blocks = bytearray(), {}
    for begin in range(0, CODE_POINTS, 256):
        block = bytes(classes[k] | classes[k + 1] << 4 for k in range(begin, begin + 256, 2))
        index.append(blocks.setdefault(block, len(blocks)))
    return bytes(index) + b"".join(blocks)


def main():
    folder = pathlib.Path(sys.argv[1])
    for name in ("o200k_base", "cl100k_base"):
        ranks = read_ranks(folder / (name + ".json"))
        if not is_original(name, ranks):
            sys.exit(f"{name}: these are not OpenAI's ranks")
        (HERE / (name + ".bin")).write_bytes(pack(ranks))
        print(name, len(ranks), "tokens,", sum(map(len, ranks)), "bytes")
    (HERE / "letters.bin").write_bytes(letters())


main()
