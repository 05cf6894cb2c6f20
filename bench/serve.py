#!/usr/bin/env python3
"""Loads an OpenAI-compatible server with Poisson arrivals and reports throughput and latencies.

Needs nothing but Python 3.9: it can be run beside any server, ours or a peer's. While the load lasts it only takes
times and keeps what arrived; JSON is read afterwards, so that on the server's own cores it takes little from it.

    bench/serve.py --url http://127.0.0.1:8080 --requests 200 --rate 10 --prompt-words 100 --max-tokens 64

`--rate 0` sends everything at once, at most --concurrency at a time. Times are taken at the arrival of events, so an
inter-token time is the gap between two pieces of text; tokens are counted by the server's own usage.
"""

import argparse
import asyncio
import json
import random
import statistics
import sys
import time
from urllib.parse import urlsplit

WORDS = ("the a of to and in that it was for on with as his they be at one have this from or had by word but not what "
         "all were we when your can said there use an each which she do how their if will up other about out many "
         "then them these so some her would make like him into time has look two more write go see number no way").split()


class Result:
    """One request's times, seconds since its arrival was due."""

    def __init__(self):
        self.events = []  # when each event came, and its data
        self.pieces = []  # arrival of each piece of text
        self.end = 0.0
        self.prompt_tokens = 0
        self.cached_tokens = 0
        self.generated_tokens = 0
        self.error = ""

    def read_events(self):
        """Finds pieces of text, usage and errors in the events."""
        try:
            for arrival, event in self.events:
                message = json.loads(event)
                if "error" in message:
                    self.error = message["error"]["message"]
                if message.get("usage"):
                    usage = message["usage"]
                    self.prompt_tokens = usage["prompt_tokens"]
                    self.generated_tokens = usage["completion_tokens"]
                    self.cached_tokens = (usage.get("prompt_tokens_details") or {}).get("cached_tokens", 0)
                if message.get("choices") and message["choices"][0].get("text"):
                    self.pieces.append(arrival)
        except (ValueError, KeyError) as error:
            self.error = self.error or type(error).__name__
        self.events = []
        if not self.pieces:
            self.pieces.append(self.end)  # tokens that make no text


class Stream(asyncio.Protocol):
    """Sends a request and takes the times of the server-sent events of the chunked response."""

    def __init__(self, request, due):
        self.request = request
        self.due = due
        self.result = Result()
        self.done = asyncio.get_running_loop().create_future()
        self.head = False  # has arrived
        self.bytes = b""   # not a whole head or chunk yet
        self.text = b""    # not a whole event yet

    def connection_made(self, transport):
        self.transport = transport
        transport.write(self.request)

    def connection_lost(self, error):
        self.finish("connection lost")

    def finish(self, error):
        if self.done.done():
            return
        self.result.error = error
        self.result.end = time.perf_counter() - self.due
        self.done.set_result(self.result)
        self.transport.close()

    def data_received(self, data):
        now = time.perf_counter() - self.due
        data = self.bytes + data
        position = 0
        try:
            if not self.head:
                position = data.find(b"\r\n\r\n") + 4
                if position < 4:
                    self.bytes = data
                    return
                self.head = True
                if (status := int(data.split(None, 2)[1])) != 200:
                    return self.finish(f"status {status}")
            while (line := data.find(b"\r\n", position)) >= 0:
                size = int(data[position:line].split(b";")[0], 16)
                if size == 0:
                    return self.finish("" if self.result.events else "no events")
                if len(data) < line + size + 4:
                    break
                self.read(data[line + 2:line + 2 + size], now)
                position = line + size + 4
            self.bytes = data[position:]
        except (ValueError, IndexError) as error:
            self.finish(type(error).__name__)

    def read(self, text, now):
        *events, self.text = (self.text + text).split(b"\n\n")
        for event in events:
            if event.startswith(b"data: ") and event != b"data: [DONE]":
                self.result.events.append((now, event[6:]))


async def request(args, body, due):
    url = urlsplit(args.url)
    data = json.dumps(body).encode()
    key = f"Authorization: Bearer {args.api_key}\r\n" if args.api_key else ""
    head = (f"POST {url.path.rstrip('/')}/v1/completions HTTP/1.1\r\nHost: {url.netloc}\r\n{key}"
            f"Content-Type: application/json\r\nContent-Length: {len(data)}\r\nConnection: close\r\n\r\n")
    try:
        _, stream = await asyncio.get_running_loop().create_connection(
            lambda: Stream(head.encode() + data, due), url.hostname, url.port or 80)
    except OSError as error:
        result = Result()
        result.error = type(error).__name__
        return result
    return await stream.done


def bodies(args):
    """The requests' bodies: all begin with the same --prefix-words, then go their own way."""
    rng = random.Random(args.seed)
    prefix = rng.choices(WORDS, k=args.prefix_words)
    for i in range(args.requests):
        words = prefix + rng.choices(WORDS, k=args.prompt_words)
        yield {"model": args.model, "prompt": " ".join(words), "max_tokens": args.max_tokens, "stream": True,
               "stream_options": {"include_usage": True}, "ignore_eos": True, "temperature": 0.8, "seed": args.seed + i}


async def load(args):
    rng = random.Random(args.seed + 1)
    limit = asyncio.Semaphore(args.concurrency)
    start = time.perf_counter()
    tasks = []
    due = start

    async def run(body, at):
        async with limit:
            # Waiting for a place counts only when requests arrive by themselves.
            return await request(args, body, at if args.rate > 0 else time.perf_counter())

    for body in bodies(args):
        if args.rate > 0:
            due += rng.expovariate(args.rate)
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
        tasks.append(asyncio.create_task(run(body, due)))
    results = await asyncio.gather(*tasks)
    seconds = time.perf_counter() - start
    for result in results:
        if not result.error:
            result.read_events()
    return results, seconds


def percentiles(values):
    """p50, p90, p99 and the mean, in milliseconds."""
    if not values:
        return None
    ordered = sorted(values)
    pick = {f"p{p}": 1000 * ordered[min(len(ordered) - 1, int(len(ordered) * p / 100))] for p in (50, 90, 99)}
    return {**pick, "mean": 1000 * statistics.fmean(values)}


def summarize(args, results, seconds):
    good = [r for r in results if not r.error]
    errors = {}
    for r in results:
        if r.error:
            errors[r.error] = errors.get(r.error, 0) + 1
    generated = sum(r.generated_tokens for r in good)
    return {
        "requests": len(results), "errors": errors, "seconds": seconds, "rate": args.rate,
        "concurrency": args.concurrency,
        "requests_per_s": len(good) / seconds,
        "prompt_tokens": sum(r.prompt_tokens for r in good),
        "cached_tokens": sum(r.cached_tokens for r in good),
        "generated_tokens": generated,
        "generated_per_s": generated / seconds,
        "time_to_first_token_ms": percentiles([r.pieces[0] for r in good]),
        "inter_token_ms": percentiles([b - a for r in good for a, b in zip(r.pieces, r.pieces[1:])]),
        "end_to_end_ms": percentiles([r.end for r in good]),
    }


def show(summary):
    print(f"requests            {summary['requests']} in {summary['seconds']:.1f} s, {summary['requests_per_s']:.2f}/s")
    print(f"tokens              {summary['prompt_tokens']} prompt ({summary['cached_tokens']} cached), "
          f"{summary['generated_tokens']} generated, {summary['generated_per_s']:.1f}/s")
    for name in ("time_to_first_token_ms", "inter_token_ms", "end_to_end_ms"):
        values = summary[name]
        if values:
            label = name[:-3].replace("_", " ")
            print(f"{label:<20}" + "  ".join(f"{k} {v:.1f}" for k, v in values.items()) + "  ms")
    for error, count in summary["errors"].items():
        print(f"failed              {count}: {error}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", default="http://127.0.0.1:8080")
    parser.add_argument("--api-key", default="")
    parser.add_argument("--model", default="default", help="for servers that serve several")
    parser.add_argument("--requests", type=int, default=100)
    parser.add_argument("--rate", type=float, default=0, help="arrivals a second (Poisson); 0: all at once")
    parser.add_argument("--concurrency", type=int, default=16, help="most requests under way")
    parser.add_argument("--prompt-words", type=int, default=64)
    parser.add_argument("--prefix-words", type=int, default=0, help="words that all prompts begin with")
    parser.add_argument("--max-tokens", type=int, default=64)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    results, seconds = asyncio.run(load(args))
    summary = summarize(args, results, seconds)
    if args.json:
        print(json.dumps(summary))
    else:
        show(summary)
    return 1 if summary["errors"] else 0


if __name__ == "__main__":
    sys.exit(main())
