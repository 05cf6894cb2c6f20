"""The official client against the server."""

import json
from typing import Annotated, Literal, Optional

import openai
import pydantic
import pytest

USER = [{"role": "user", "content": "Tell me a story about a cat."}]


def test_models(client):
    models = client.models.list().data
    assert len(models) == 1
    assert models[0].object == "model"


def test_completion(client):
    answer = client.completions.create(model="any", prompt="Once upon a time", max_tokens=12, seed=1)
    assert answer.object == "text_completion"
    assert answer.choices[0].finish_reason in ("length", "stop")
    assert answer.choices[0].text
    assert 1 <= answer.usage.completion_tokens <= 12
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


def test_chat(client):
    answer = client.chat.completions.create(model="any", messages=USER, max_tokens=24, seed=1)
    assert answer.choices[0].message.role == "assistant"
    assert isinstance(answer.choices[0].message.content, str)
    assert answer.usage.completion_tokens <= 24


def test_same_seed_same_text(client):
    texts = {client.chat.completions.create(model="any", messages=USER, max_tokens=24, seed=7).choices[0].message.content
             for _ in range(3)}
    assert len(texts) == 1
    others = {client.chat.completions.create(model="any", messages=USER, max_tokens=24, seed=s, temperature=1.5)
              .choices[0].message.content for s in range(4)}
    assert len(others) > 1


def test_stream_is_the_same_as_whole(client):
    whole = client.chat.completions.create(model="any", messages=USER, max_tokens=40, seed=3)
    text, reasons, usages = "", [], []
    for chunk in client.chat.completions.create(model="any", messages=USER, max_tokens=40, seed=3, stream=True,
                                                stream_options={"include_usage": True}):
        if chunk.usage:
            usages.append(chunk.usage)
        for choice in chunk.choices:
            text += choice.delta.content or ""
            if choice.finish_reason:
                reasons.append(choice.finish_reason)
    assert text == whole.choices[0].message.content
    assert reasons == [whole.choices[0].finish_reason]
    assert len(usages) == 1
    assert usages[0].completion_tokens == whole.usage.completion_tokens


def test_cached_tokens(client):
    prompt = "A long beginning, never seen before: " + " ".join(f"word{i}" for i in range(60))
    first = client.completions.create(model="any", prompt=prompt, max_tokens=2).usage
    second = client.completions.create(model="any", prompt=prompt, max_tokens=2).usage
    assert first.prompt_tokens_details.cached_tokens < 16
    assert second.prompt_tokens_details.cached_tokens == second.prompt_tokens - 1


def test_stop_strings(client):
    options = {"model": "any", "prompt": "Once upon a time", "max_tokens": 60, "seed": 5}
    text = client.completions.create(**options).choices[0].text
    assert len(text) > 24
    stop = text[10:18]
    stopped = client.completions.create(**options, stop=["never in there", stop]).choices[0]
    assert stopped.text == text[:text.index(stop)]
    assert stopped.finish_reason == "stop"


def test_n_choices(client):
    answer = client.chat.completions.create(model="any", messages=USER, max_tokens=16, n=4, seed=1, temperature=1.5)
    assert [c.index for c in answer.choices] == [0, 1, 2, 3]
    assert len({c.message.content for c in answer.choices}) > 1
    streams = {}
    for chunk in client.chat.completions.create(model="any", messages=USER, max_tokens=16, n=4, seed=1, temperature=1.5,
                                                stream=True):
        for choice in chunk.choices:
            streams[choice.index] = streams.get(choice.index, "") + (choice.delta.content or "")
    assert streams == {c.index: c.message.content for c in answer.choices}


def test_chat_logprobs(client):
    answer = client.chat.completions.create(model="any", messages=USER, max_tokens=8, logprobs=True, top_logprobs=4,
                                            temperature=0)
    tokens = answer.choices[0].logprobs.content
    for token in tokens:
        assert len(token.top_logprobs) == 4
        assert token.logprob == token.top_logprobs[0].logprob, "greedy takes the likeliest"
        assert token.logprob <= 0
    joined = b"".join(bytes(t.bytes) for t in tokens).decode(errors="replace")
    assert joined.startswith(answer.choices[0].message.content)


def test_completion_logprobs(client):
    logprobs = client.completions.create(model="any", prompt="Once", max_tokens=5, logprobs=2).choices[0].logprobs
    assert len(logprobs.tokens) == len(logprobs.token_logprobs) == len(logprobs.top_logprobs) <= 5


def test_logit_bias_decides(client):
    answer = client.completions.create(model="any", prompt="Once", max_tokens=6, temperature=0, logit_bias={"100": 100})
    one = client.completions.create(model="any", prompt="Once", max_tokens=1, temperature=0, logit_bias={"100": 100})
    assert answer.choices[0].text.startswith(one.choices[0].text)


class Animal(pydantic.BaseModel):
    kind: Literal["cat", "dog", "fox"]
    legs: Optional[int] = None


class Scene(pydantic.BaseModel):
    quiet: bool
    animals: Annotated[list[Animal], pydantic.Field(max_length=3)]
    place: Annotated[str, pydantic.Field(max_length=20)]


def test_answers_follow_a_schema(client):
    for seed in range(5):
        answer = client.chat.completions.parse(model="any", messages=USER, max_tokens=400, seed=seed, temperature=1.5,
                                               response_format=Scene)
        assert answer.choices[0].finish_reason == "stop"
        scene = answer.choices[0].message.parsed
        assert isinstance(scene, Scene) and len(scene.animals) <= 3


def test_json_objects(client):
    answer = client.chat.completions.create(model="any", messages=USER, max_tokens=400, seed=2,
                                            response_format={"type": "json_object"})
    content = answer.choices[0].message.content
    assert content.lstrip().startswith("{")
    if answer.choices[0].finish_reason == "stop":
        assert isinstance(json.loads(content), dict)


def test_tools_round_trip(client):
    """The model of the tests need not know tools: what is tested is that definitions, calls and results are taken."""
    if not client.models.list().data[0].model_extra.get("tools"):
        pytest.skip("the model has no tokens for tools")
    tools = [{"type": "function", "function": {"name": "weather", "description": "The weather in a town.",
              "parameters": {"type": "object", "properties": {"town": {"type": "string"}}, "required": ["town"]}}}]
    first = client.chat.completions.create(model="any", messages=USER, tools=tools, max_tokens=16)
    plain = client.chat.completions.create(model="any", messages=USER, max_tokens=16)
    assert first.usage.prompt_tokens > plain.usage.prompt_tokens
    none = client.chat.completions.create(model="any", messages=USER, tools=tools, tool_choice="none", max_tokens=16)
    assert none.usage.prompt_tokens == plain.usage.prompt_tokens
    messages = USER + [
        {"role": "assistant", "content": None, "tool_calls": [
            {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": json.dumps({"town": "Bern"})}}]},
        {"role": "tool", "tool_call_id": "call_1", "content": "rain"}]
    after = client.chat.completions.create(model="any", messages=messages, tools=tools, max_tokens=16)
    assert after.usage.prompt_tokens > first.usage.prompt_tokens


def test_thinking_is_asked_for(client):
    if not client.models.list().data[0].model_extra.get("thinking"):
        pytest.skip("the model has no tokens for thinking")
    plain = client.chat.completions.create(model="any", messages=USER, max_tokens=4)
    thinking = client.chat.completions.create(model="any", messages=USER, max_tokens=4,
                                              extra_body={"chat_template_kwargs": {"enable_thinking": True}})
    assert thinking.usage.prompt_tokens > plain.usage.prompt_tokens


@pytest.mark.parametrize("options, param", [
    ({"temperature": -1}, "temperature"),
    ({"n": 9}, "n"),
    ({"stop": [""]}, "stop[0]"),
    ({"response_format": {"type": "no such"}}, "response_format.type"),
    ({"response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": {"format": "date"}}}},
     "response_format.json_schema.schema"),
    ({"messages": []}, "messages"),
    ({"logit_bias": {"99999999": 1}}, "logit_bias"),
])
def test_bad_requests(client, options, param):
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(**{"model": "any", "messages": USER, "max_tokens": 1, **options})
    assert caught.value.param == param


def test_too_long_a_prompt(client):
    with pytest.raises(openai.BadRequestError) as caught:
        client.completions.create(model="any", prompt=[100] * 200_000)
    assert caught.value.code == "context_length_exceeded"


def test_keys(start_server):
    server = start_server("--api-key", "right")
    with pytest.raises(openai.AuthenticationError):
        server.client(api_key="wrong").models.list()
    assert server.client(api_key="right").models.list().data
