# SPDX-License-Identifier: Apache-2.0
"""LangChain's classes for Anthropic and Google, unchanged, in front of targets of any dialect."""

import anthropic
import pytest
from crossing import TARGETS, gate, recorded, replayed, root, second  # noqa: F401
from harness import KEY_ACME
from langchain_anthropic import ChatAnthropic
from langchain_core.messages import HumanMessage, SystemMessage, ToolMessage
from langchain_core.tools import tool
from langchain_google_genai import ChatGoogleGenerativeAI
from langchain_google_genai.chat_models import ChatGoogleGenerativeAIError
from pydantic import BaseModel

DELFT = "What is the weather in Delft?"
CHATS = {
    "anthropic": lambda root, name: ChatAnthropic(model=name, base_url=root, api_key=KEY_ACME, max_retries=0, timeout=20,
                                                  max_tokens=200),
    "google": lambda root, name: ChatGoogleGenerativeAI(model=name, base_url=root, api_key=KEY_ACME, max_retries=1, timeout=20),
}
everywhere = pytest.mark.parametrize("way, target", [(way, target) for way in CHATS for target in TARGETS])


class Boat(BaseModel):
    """A boat in the lock."""

    name: str
    tons: int


@tool
def get_weather(city: str) -> str:
    """The weather in a city."""
    return f"12 degrees in {city}"


@everywhere
def test_a_stream_says_what_the_whole_answer_says(root, way, target):
    chat = CHATS[way](root, f"{target}-fast")
    whole = chat.invoke([SystemMessage("You keep a lock."), HumanMessage("Hello")])
    pieces = None
    for chunk in chat.stream([SystemMessage("You keep a lock."), HumanMessage("Hello")]):
        pieces = chunk if pieces is None else pieces + chunk
    assert pieces.text == whole.text != "" and pieces.usage_metadata["total_tokens"] == whole.usage_metadata["total_tokens"] > 0


@everywhere
def test_a_tool_and_its_result(root, way, target):
    chat = CHATS[way](root, f"{target}-fast").bind_tools([get_weather])
    said = chat.invoke(DELFT)
    [call] = said.tool_calls
    assert call["name"] == "get_weather" and "city" in call["args"]
    assert chat.invoke([HumanMessage(DELFT), said, ToolMessage("12 degrees", tool_call_id=call["id"])]).text


@everywhere
def test_structured_output(root, way, target):
    assert isinstance(CHATS[way](root, f"{target}-fast").with_structured_output(Boat).invoke("Which boat?"), Boat)


@pytest.mark.parametrize("way, error", [("anthropic", anthropic.NotFoundError), ("google", ChatGoogleGenerativeAIError)])
def test_a_model_that_is_not_there(root, way, error):
    with pytest.raises(error):
        CHATS[way](root, "nothing").invoke("Hello")


@pytest.mark.parametrize("way, other, file, identity", [
    ("anthropic", "gemini", "gemini-generate", "gemini.gemini-generate.fdfae8906d1f69"),
    ("google", "anthropic", "anthropic-messages", "anthropic.anthropic-messages.0a5f9cf83b71ce")])
def test_recorded_calls_of_the_other_dialect(root, upstream, way, other, file, identity):
    upstream.answer = replayed(recorded(file, identity))
    pieces = None
    for chunk in CHATS[way](root, f"script-{other}").bind_tools([get_weather]).stream(DELFT):
        pieces = chunk if pieces is None else pieces + chunk
    assert pieces.tool_calls and all(call["name"] and call["id"] for call in pieces.tool_calls)
