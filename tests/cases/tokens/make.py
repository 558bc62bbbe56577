#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Write counted.jsonl: texts, and how many tokens OpenAI's own library says they are.

    pip install tiktoken==0.14.0; npm pack tiktoken@1.0.22 && tar xzf tiktoken-1.0.22.tgz
    python3 tests/cases/tokens/make.py package/encoders > tests/cases/tokens/counted.jsonl

One line is one text: {"o200k": tokens, "cl100k": tokens, "text": …} or, where a text is one short
one many times, {…, "times": n}.
"""

import base64
import json
import pathlib
import random
import sys

import tiktoken
from tiktoken_ext import openai_public

WRITTEN = [
    "", " ", "a", "Hello, world!", "hello world", "HELLO WORLD", "tiktoken is great!",
    "I'm sure you're right, they've said he'd go; it's what we'll do. DON'T! I'LL, WE'VE, YOU'RE",
    "l\u2019apostrophe d\u2019hier", "'\u017f long s 'S 'LL 'Ll 'lL 'Ve 'rE ''s '''ll", "camelCaseAndPascalCase XMLHttpRequest",
    "snake_case_name kebab-case-name SCREAMING_CASE", "1 12 123 1234 12345 1,234,567.89 2026-11-26T12:00:00Z",
    "  two  spaces   three\n\n\nlines\r\n\r\n  indented\n\tdone\t", "trailing \n ", "trailing  \n\n  \t", "\n", "\r", "\n \n", " \n x",
    "x = {'a': [1, 2, 3], \"b\": null}; // done\n/* c */ #include <stdio.h>\n", "https://example.com/a/b?c=d&e=%20#f",
    "{\"name\":\"get_weather\",\"parameters\":{\"type\":\"object\",\"properties\":{\"city\":{\"type\":\"string\"}}}}",
    "!!!??? ... --- === *** ///\n//\n", "\u00a0no-break\u00a0space \u3000wide\u3000", "\u2028line\u2029paragraph\u0085next",
    "Größe, naïve café, Straße, ÜBER, ǅungla, ŁÓDŹ", "cafe\u0301 e\u0301 \u0301\u0301 \u0301AB \u0301Ab A\u0301B", "Привет, как дела? ПРИВЕТ",
    "Γειά σου Κόσμε", "שלום עולם", "مرحبا بالعالم ١٢٣", "हिन्दी में लिखा हुआ पाठ", "สวัสดีชาวโลก", "今日はいい天気ですね。カタカナとABC",
    "你好,世界!这是一个测试。", "안녕하세요 세계", "Ⅷ ² ½ ٣٤٥٦ 一二三", "😀 👩‍👩‍👧 🏽 🇩🇪 ❤️", "\U0001d400\U0001d401 \U00010400\U00010428",
    "\u0000\u0001\u007f", "<|endoftext|><|im_start|>system", "ABकCD कAB ʰAB Aʰb", "\ufffd\ue000\U000f0000", "ꟲ ꟳ \u1c89\u1c8a \ua7da",
    "base64: SGVsbG8sIHdvcmxkISBUaGlzIGlzIGEgdGVzdC4=", "0x1f 1e-9 3.14159 v1.2.3-rc.1+build.5", "a/b/c /usr/local/bin ./x ../y C:\\Temp\\new",
]
REPEATED = [("a", 1000), ("ab", 700), (" ", 300), (" ", 2000), ("\n", 77), ("!", 500), ("=", 1024), ("1", 100), ("A", 333), ("é", 400),
            ("漢", 200), ("\u0301", 60), ("Aa", 500), ("xyzzy", 300), (" \n", 40), ("'s", 100), ("qz", 24), ("qz", 25), ("q", 49)]
LETTERS = ["aAbBzZ", "'sSdDmMtTlLvVrReE\u017f\u2019", " \t\n\r\u00a0\u3000\u0085", "0123456789٣Ⅷ²", ".,/!?-_{}[]\"\\:;#",
           "éÀßДдčĞǅʰªकिाあ漢字ก็ำ\u0301\u0302҃한글", "😀👩👧🏽\u200d\ufe0f"]


def invented(count):
    pick = random.Random(20261126)
    for _ in range(count):
        pools = pick.sample(LETTERS, pick.randint(1, len(LETTERS)))
        yield "".join(pick.choice(pick.choice(pools)) for _ in range(pick.choice([4, 8, 16, 40])))


def encoding_of(name, folder):
    def read(_, expected_hash=None):
        ranks = {}
        for line in json.loads((folder / (name + ".json")).read_text())["bpe_ranks"].splitlines():
            _, offset, *tokens = line.split(" ")
            ranks.update((base64.b64decode(t), int(offset) + i) for i, t in enumerate(tokens))
        return ranks
    openai_public.load_tiktoken_bpe = read
    return tiktoken.Encoding(**getattr(openai_public, name)())


def main():
    folder = pathlib.Path(sys.argv[1])
    o200k, cl100k = encoding_of("o200k_base", folder), encoding_of("cl100k_base", folder)
    for text, times in [*((t, 1) for t in WRITTEN), *REPEATED, *((t, 1) for t in invented(400))]:
        case = {"o200k": len(o200k.encode_ordinary(text * times)),
                "cl100k": len(cl100k.encode_ordinary(text * times)), "text": text}
        print(json.dumps(case | ({"times": times} if times > 1 else {}), ensure_ascii=True))


main()
