# SPDX-License-Identifier: Apache-2.0
"""pydantic-ai, unchanged, over its models for four dialects: an agent with a tool and a typed answer."""

import pytest
from crossing import TARGETS, gate, recorded, replayed, root, second  # noqa: F401
from harness import KEY_ACME
from pydantic import BaseModel
from pydantic_ai import Agent, NativeOutput
from pydantic_ai.exceptions import ModelHTTPError, UnexpectedModelBehavior
from pydantic_ai.messages import ThinkingPart, ToolCallPart
from pydantic_ai.models.anthropic import AnthropicModel
from pydantic_ai.models.google import GoogleModel
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.anthropic import AnthropicProvider
from pydantic_ai.providers.google import GoogleProvider
from pydantic_ai.providers.openai import OpenAIProvider

DELFT = "What is the weather in Delft?"
WAYS = {
    "anthropic": lambda root, name: AnthropicModel(name, provider=AnthropicProvider(api_key=KEY_ACME, base_url=root)),
    "google": lambda root, name: GoogleModel(name, provider=GoogleProvider(api_key=KEY_ACME, base_url=root)),
    "chat": lambda root, name: OpenAIChatModel(name, provider=OpenAIProvider(api_key=KEY_ACME, base_url=f"{root}/v1")),
    "responses": lambda root, name: OpenAIResponsesModel(name, provider=OpenAIProvider(api_key=KEY_ACME, base_url=f"{root}/v1")),
}
everywhere = pytest.mark.parametrize("way, target", [(way, target) for way in WAYS for target in TARGETS])


class Forecast(BaseModel):
    city: str
    degrees: int


def agent_for(root, way, model, **fields):
    return Agent(WAYS[way](root, model), **fields)


@everywhere
def test_an_agent_calls_its_tool(root, way, target):
    asked = []
    agent = agent_for(root, way, f"{target}-fast", instructions="You keep a lock.")

    @agent.tool_plain
    def get_weather(city: str) -> str:
        """The weather in a city."""
        asked.append(city)
        return "12 degrees"

    result = agent.run_sync(DELFT)
    assert result.output and asked and result.usage.input_tokens > 0 and result.usage.output_tokens > 0


@everywhere
def test_an_answer_that_is_typed_by_a_tool(root, way, target):
    agent = agent_for(root, way, f"{target}-fast", output_type=Forecast)
    assert isinstance(agent.run_sync("Hello").output, Forecast)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("way", [way for way in WAYS if way != "anthropic"])  # there it goes by names of models
def test_an_answer_that_is_typed_by_a_schema(root, way, target):
    agent = agent_for(root, way, f"{target}-fast", output_type=NativeOutput(Forecast))
    assert isinstance(agent.run_sync("Hello").output, Forecast)


@everywhere
def test_a_stream_says_what_the_whole_answer_says(root, way, target):
    agent = agent_for(root, way, f"{target}-fast")
    whole = agent.run_sync("Hello").output
    assert agent.run_stream_sync("Hello").get_output() == whole


@pytest.mark.parametrize("way", WAYS)
def test_a_model_that_is_not_there(root, way):
    with pytest.raises(ModelHTTPError) as caught:
        agent_for(root, way, "nothing").run_sync("Hello")
    assert caught.value.status_code == 404


@pytest.mark.parametrize("way", WAYS)
def test_thinking_and_a_tool_call_of_anthropic(root, upstream, way):
    upstream.answer = replayed(recorded("anthropic-messages", "anthropic.anthropic-messages.0a5f9cf83b71ce"))
    agent = agent_for(root, way, "script-anthropic", output_type=[str])
    parts = []

    async def watch(context, events):
        parts.extend([event async for event in events])

    with pytest.raises(UnexpectedModelBehavior) as caught:  # the recorded call is of a tool that this agent has not
        agent.run_sync("Hello", event_stream_handler=watch)
    said = [getattr(event, "part", None) for event in parts]
    assert any(isinstance(part, ThinkingPart) for part in said), caught.value
    assert any(isinstance(part, ToolCallPart) for part in said), caught.value
