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


def stream_text(client, seed, tokens):
    text = ""
    for chunk in client.completions.create(model="any", prompt=f"Story {seed % 5}: once", max_tokens=tokens, seed=seed,
                                           stream=True, extra_body={"ignore_eos": True}):
        text += chunk.choices[0].text if chunk.choices else ""
    return text


def test_64_streams(server):
    seconds = float(os.environ.get("FACET_LOAD_SECONDS", "20"))
    client = server.client()
    shapes = [(seed, 8 + seed % 25) for seed in range(32)]
    alone = {shape: stream_text(client, *shape) for shape in shapes}
    for name in ("facet_requests_running", "facet_requests_waiting"):
        server.wait_for_metric(name, 0)
    end = time.time() + seconds
    memory = []

    def run(number):
        rng = random.Random(number)
        count = 0
        while time.time() < end:
            shape = rng.choice(shapes)
            assert stream_text(client, *shape) == alone[shape]
            count += 1
        return count

    def watch():
        while time.time() < end:
            memory.append(server.resident_kib())
            time.sleep(0.5)

    watcher = threading.Thread(target=watch)
    watcher.start()
    with concurrent.futures.ThreadPoolExecutor(64) as pool:
        answered = sum(pool.map(run, range(64)))
    watcher.join()
    assert answered >= 64
    server.wait_for_metric("facet_requests_running", 0)
    assert server.metric("facet_kv_pages_used") == server.metric("facet_prefix_blocks")
    half = len(memory) // 2
    if seconds >= 20:
        assert max(memory[half:]) <= max(memory[:half]) * 1.05 + 4096, memory
    print(f"{answered} answers, {memory[0]} to {memory[-1]} KiB")


def test_clients_that_leave(server):
    client = server.client()

    def leave(number):
        rng = random.Random(number)
        stream = client.completions.create(model="any", prompt="Once", max_tokens=1000, seed=number, stream=True,
                                           extra_body={"ignore_eos": True})
        for _ in range(rng.randrange(4)):
            next(iter(stream), None)
        stream.close()

    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        list(pool.map(leave, range(100)))
    server.wait_for_metric("facet_requests_running", 0)
    server.wait_for_metric("facet_requests_waiting", 0)
    assert server.metric("facet_kv_pages_used") == server.metric("facet_prefix_blocks")


def test_sigterm_in_mid_stream(start_server):
    server = start_server()
    client = server.client()
    stream = client.completions.create(model="any", prompt="Once", max_tokens=100, seed=1, stream=True,
                                       extra_body={"ignore_eos": True})
    next(iter(stream))
    server.process.send_signal(signal.SIGTERM)
    rest = list(stream)
    assert rest[-1].choices[0].finish_reason == "length"
    assert server.process.wait(timeout=30) == 0
    with pytest.raises(openai.APIConnectionError):
        client.models.list()


def test_a_second_signal_ends_at_once(start_server):
    server = start_server()
    stream = server.client().completions.create(model="any", prompt="Once", max_tokens=5000, stream=True,
                                                extra_body={"ignore_eos": True})
    next(iter(stream))
    server.process.send_signal(signal.SIGINT)
    time.sleep(0.2)
    server.process.send_signal(signal.SIGINT)
    assert server.process.wait(timeout=10) == 130
