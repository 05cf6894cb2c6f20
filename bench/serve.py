#!/usr/bin/env python3
"""Loads an OpenAI-compatible server with Poisson arrivals and reports throughput and latencies.

Needs nothing but Python 3.9: it can be run beside any server, ours or a peer's. Python is fast enough for this: a
client only waits and takes times, and at the rates a machine of this size reaches it is idle most of the time.

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
        self.pieces = []  # arrival of each piece of text
        self.end = 0.0
        self.prompt_tokens = 0
        self.cached_tokens = 0
        self.generated_tokens = 0
        self.error = ""


async def stream_events(reader):
    """Yields the data of server-sent events of a chunked response."""
    text = b""
    while True:
        size = int((await reader.readuntil(b"\r\n")).split(b";")[0], 16)
        chunk = await reader.readexactly(size + 2)
        if size == 0:
            return
        text += chunk[:-2]
        *events, text = text.split(b"\n\n")
        for event in events:
            if event.startswith(b"data: "):
                yield event[6:]


async def request(args, body, due):
    result = Result()
    url = urlsplit(args.url)
    writer = None
    try:
        reader, writer = await asyncio.open_connection(url.hostname, url.port or 80)
        data = json.dumps(body).encode()
        key = f"Authorization: Bearer {args.api_key}\r\n" if args.api_key else ""
        writer.write(f"POST {url.path.rstrip('/')}/v1/completions HTTP/1.1\r\nHost: {url.netloc}\r\n{key}"
                     f"Content-Type: application/json\r\nContent-Length: {len(data)}\r\nConnection: close\r\n\r\n"
                     .encode() + data)
        await writer.drain()
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        status = int(head.split()[1])
        if status != 200:
            result.error = f"status {status}"
            return result
        async for event in stream_events(reader):
            now = time.perf_counter() - due
            if event == b"[DONE]":
                continue
            message = json.loads(event)
            if "error" in message:
                result.error = message["error"]["message"]
                return result
            if message.get("usage"):
                usage = message["usage"]
                result.prompt_tokens = usage["prompt_tokens"]
                result.generated_tokens = usage["completion_tokens"]
                result.cached_tokens = (usage.get("prompt_tokens_details") or {}).get("cached_tokens", 0)
            if message["choices"] and message["choices"][0].get("text"):
                result.pieces.append(now)
        result.end = time.perf_counter() - due
        if not result.pieces:
            result.pieces.append(result.end)  # tokens that make no text
    except (OSError, asyncio.IncompleteReadError, ValueError, KeyError) as error:
        result.error = type(error).__name__
    finally:
        if writer is not None:
            writer.close()
    return result


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
    return results, time.perf_counter() - start


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
