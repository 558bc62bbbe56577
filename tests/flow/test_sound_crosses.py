# SPDX-License-Identifier: Apache-2.0
"""Sound that is sent along, and answers that are spoken, between OpenAI's dialect and Gemini's."""

import base64

import pytest
from harness import Sluice, config_for, model_for, provider_for
from raw_upstream import chat_body

SAMPLES = base64.b64encode(bytes(range(48))).decode()
L16 = "audio/L16;codec=pcm;rate=24000"
SPOKEN = {"audio": {"voice": "Kore", "format": "pcm16"}, "modalities": ["text", "audio"]}


def gate_for(upstream, kind, **changes):
    provider = provider_for(upstream, type=kind, **changes)
    if kind == "gemini":
        provider["base_url"] = provider["base_url"].removesuffix("/v1")
    return Sluice(config_for(upstream, providers=[provider], models=[model_for()]))


def gemini_body(*parts):
    return {"candidates": [{"content": {"role": "model", "parts": list(parts)}, "finishReason": "STOP"}], "modelVersion": "v",
            "usageMetadata": {"promptTokenCount": 5, "candidatesTokenCount": 7, "totalTokenCount": 12,
                              "candidatesTokensDetails": [{"modality": "AUDIO", "tokenCount": 7}]}}


@pytest.mark.parametrize("form, media", [("wav", "audio/wav"), ("mp3", "audio/mp3")])
def test_sound_is_heard_on_both_sides(upstream, form, media):
    with gate_for(upstream, "gemini") as gate:
        upstream.answer = lambda call: call.respond(200, gemini_body({"text": "yes"}))
        got = gate.chat(messages=[{"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": SAMPLES, "format": form}}]}])
        assert got.status == 200, got
        assert upstream.last().json["contents"][0]["parts"] == [{"inlineData": {"mimeType": media, "data": SAMPLES}}]
    with gate_for(upstream, "openai") as gate:
        upstream.answer = lambda call: call.respond(200, chat_body("yes"))
        got = gate.post("/v1beta/models/fast:generateContent", {"contents": [{"parts": [{"inlineData": {"mimeType": media, "data": SAMPLES}}]}]})
        assert got.status == 200, got
        assert upstream.last().json["messages"][0]["content"] == [{"type": "input_audio", "input_audio": {"data": SAMPLES, "format": form}}]


def test_gemini_speaks_to_openais_clients(upstream):
    upstream.answer = lambda call: call.respond(200, gemini_body({"inlineData": {"mimeType": L16, "data": SAMPLES}}))
    with gate_for(upstream, "gemini") as gate:
        got = gate.chat(**SPOKEN)
        config = upstream.last().json["generationConfig"]
        assert config["responseModalities"] == ["AUDIO"], config
        assert config["speechConfig"] == {"voiceConfig": {"prebuiltVoiceConfig": {"voiceName": "Kore"}}}, config
        audio = got.json["choices"][0]["message"]["audio"]
        assert audio["data"] == SAMPLES and isinstance(audio["id"], str) and isinstance(audio["expires_at"], int), got
        assert got.json["usage"]["completion_tokens_details"]["audio_tokens"] == 7, got
        assert got.header("x-sluice-dropped") == "modalities", got
        for audio, param in (({"voice": "alloy", "format": "pcm16"}, "audio.voice"), ({"voice": "Kore", "format": "mp3"}, "audio.format")):
            calls = len(upstream.calls)
            got = gate.chat(**{**SPOKEN, "audio": audio})
            assert got.status == 400 and got.json["error"]["param"] == param and len(upstream.calls) == calls, got


def test_openai_speaks_to_geminis_clients(upstream):
    body = chat_body(None)
    body["choices"][0]["message"] = {"role": "assistant", "content": None, "audio": {"id": "a", "data": SAMPLES, "transcript": "hello", "expires_at": 1}}
    upstream.answer = lambda call: call.respond(200, body)
    ask = {"contents": [{"parts": [{"text": "say hello"}]}], "generationConfig": {"responseModalities": ["AUDIO"]}}
    with gate_for(upstream, "openai") as gate:
        got = gate.post("/v1beta/models/fast:generateContent", ask)
        sent = upstream.last().json
        assert sent["modalities"] == ["text", "audio"] and sent["audio"] == {"voice": "alloy", "format": "pcm16"}, sent
        parts = got.json["candidates"][0]["content"]["parts"]
        assert parts == [{"text": "hello"}, {"inlineData": {"mimeType": L16, "data": SAMPLES}}], got
        for voice, status in (("sage", 200), ("Kore", 400)):
            speech = {"speechConfig": {"voiceConfig": {"prebuiltVoiceConfig": {"voiceName": voice}}}}
            got = gate.post("/v1beta/models/fast:generateContent", {**ask, "generationConfig": {**speech, **ask["generationConfig"]}})
            assert got.status == status, got
            if status == 200:
                assert upstream.last().json["audio"] == {"voice": voice, "format": "pcm16"} and not got.header("x-sluice-dropped"), got
            else:
                assert "audio.voice" in got.json["error"]["message"], got
    with gate_for(upstream, "openai", lenient=True) as gate:
        got = gate.post("/v1beta/models/fast:generateContent", {**ask, "generationConfig": {**speech, **ask["generationConfig"]}})
        assert got.status == 200 and got.header("x-sluice-dropped") == "audio.voice" and upstream.last().json["audio"]["voice"] == "alloy", got
