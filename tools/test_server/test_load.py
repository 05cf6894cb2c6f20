"""Many clients at once, clients that leave, and a server that is told to stop. FACET_LOAD_SECONDS: how long the streams
go on (default 20)."""

import concurrent.futures
import os
import random
import signal
import threading
import time

import openai
import pytest


PLACES = "a lighthouse", "a mill", "an old oak tree", "the last house of the village"
HERO = ("You tell stories to children. They are short and end well, and their hero is a fox who is always polite, never in "
        "a hurry, and afraid of nothing but thunder. He lives alone at {}, mends clocks, and has a goose for a friend. ")


def requests():
    """Of all kinds: plain and chats of several turns, long beginnings that some share, greedy and hot, stopped early."""
    for seed in range(48):
        place = PLACES[seed % len(PLACES)]
        options = {"max_tokens": 8 + seed % 41, "seed": seed, "temperature": (0, 0.7, 1.3)[seed % 3]}
        if seed % 2:
            yield {"prompt": f"Story {seed % 5}: once, at {place},", **options, "ignore_eos": True}
            continue
        turns = [{"role": "system", "content": 2 * HERO.format(place)}, {"role": "user", "content": "Tell me a story."}]
        if seed % 4 == 0:
            turns += [{"role": "assistant", "content": f"The fox of {place} wound the clock. It struck {seed}."},
                      {"role": "user", "content": "And then?"}]
        yield {"messages": turns, "stop": "fox" if seed % 8 == 0 else None, **options}


def stream(client, request):
    """Text, why it ended and how many tokens it had."""
    request = dict(request)
    extra = {"ignore_eos": request.pop("ignore_eos", False)}
    create = client.chat.completions.create if "messages" in request else client.completions.create
    text, finish, usage = "", [], []
    for chunk in create(model="any", stream=True, stream_options={"include_usage": True}, extra_body=extra, **request):
        if chunk.usage:
            usage.append(chunk.usage.completion_tokens)
        for choice in chunk.choices:
            text += choice.text if "prompt" in request else choice.delta.content or ""
            finish += [choice.finish_reason] if choice.finish_reason else []
    assert len(finish) == len(usage) == 1
    return text, finish[0], usage[0]


@pytest.mark.parametrize("cache", ["256", "0"], ids=["prefixes kept", "nothing kept"])
def test_64_streams(start_server, cache):
    seconds = float(os.environ.get("FACET_LOAD_SECONDS", "20")) / 2
    server = start_server("--parallel", "64", "--prefix-cache", cache)
    client = server.client()
    shapes = list(requests())
    alone = [stream(client, shape) for shape in shapes]
    assert len({text for text, _, _ in alone}) > 40
    for name in ("facet_requests_running", "facet_requests_waiting"):
        server.wait_for_metric(name, 0)
    memory, most = [], 0
    done = threading.Event()

    def run(number):
        rng = random.Random(number)
        count = 0
        while time.time() < end:
            at = rng.randrange(len(shapes))
            assert stream(client, shapes[at]) == alone[at], shapes[at]
            count += 1
        return count

    def watch():
        nonlocal most
        while not done.wait(0.5):
            memory.append(server.resident_kib())
            most = max(most, server.metric("facet_requests_running"))

    watcher = threading.Thread(target=watch)
    watcher.start()
    end = time.time() + seconds
    try:
        with concurrent.futures.ThreadPoolExecutor(64) as pool:
            answers = list(pool.map(run, range(64)))
    finally:
        done.set()
        watcher.join()
    assert min(answers) >= 1 and most > 32
    server.wait_for_metric("facet_requests_running", 0)
    assert server.metric("facet_kv_pages_used") == server.metric("facet_prefix_blocks")
    assert cache != "0" or server.metric("facet_kv_pages_used") == 0
    half = len(memory) // 2
    if seconds >= 10:
        assert max(memory[half:]) <= max(memory[:half]) * 1.05 + 4096, memory
    print(f"{sum(answers)} answers, at most {most:.0f} at once, {memory[half]} to {memory[-1]} KiB resident")
    assert server.stop() == 0, "".join(server.log_lines)


def test_clients_that_leave(server):
    client = server.client()

    def leave(number):
        rng = random.Random(number)
        answer = client.completions.create(model="any", prompt="Once", max_tokens=1000, seed=number, stream=True,
                                           extra_body={"ignore_eos": True})
        for _ in range(rng.randrange(4)):
            next(iter(answer), None)
        answer.close()

    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        list(pool.map(leave, range(100)))
    server.wait_for_metric("facet_requests_running", 0)
    server.wait_for_metric("facet_requests_waiting", 0)
    assert server.metric("facet_kv_pages_used") == server.metric("facet_prefix_blocks")


def test_sigterm_in_mid_stream(start_server):
    server = start_server()
    client = server.client()
    answer = client.completions.create(model="any", prompt="Once", max_tokens=100, seed=1, stream=True,
                                       extra_body={"ignore_eos": True})
    next(iter(answer))
    server.process.send_signal(signal.SIGTERM)
    rest = list(answer)
    assert rest[-1].choices[0].finish_reason == "length"
    assert server.process.wait(timeout=30) == 0
    with pytest.raises(openai.APIConnectionError):
        client.models.list()


def test_a_second_signal_ends_at_once(start_server):
    server = start_server()
    answer = server.client().completions.create(model="any", prompt="Once", max_tokens=5000, stream=True,
                                                extra_body={"ignore_eos": True})
    next(iter(answer))
    server.process.send_signal(signal.SIGINT)
    time.sleep(0.2)
    server.process.send_signal(signal.SIGINT)
    assert server.process.wait(timeout=10) == 130
