# SPDX-License-Identifier: Apache-2.0
"""What several of the client tests ask, and what they hand over."""

import io
import wave

HELLO = [{"role": "user", "content": "Say hello to the lock keeper."}]
WEATHER = [{"role": "user", "content": "What is the weather in Delft?"}]

WEATHER_PARAMETERS = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]}},
    "required": ["city", "unit"],
    "additionalProperties": False,
}
WEATHER_TOOL = {
    "type": "function",
    "function": {"name": "get_weather", "description": "The weather in a city", "parameters": WEATHER_PARAMETERS},
}
# The same in the words of the Responses API.
WEATHER_FUNCTION = {"type": "function", "name": "get_weather", "description": "The weather in a city",
                    "parameters": WEATHER_PARAMETERS, "strict": True}


def text_of(chunks):
    """The words of a streamed chat's first choice."""
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)


def sound(seconds=1):
    """A WAV file of silence, as the SDKs take it: a name and bytes."""
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(b"\0\0" * 8000 * seconds)
    return "silence.wav", out.getvalue()
