#!/usr/bin/env python3
"""Loads an OpenAI-compatible server with Poisson arrivals and reports throughput and latencies.

Needs nothing but Python 3.9: it can be run beside any server, ours or a peer's. While the load lasts it only takes
times and keeps what arrived; all of it is read and checked afterwards, so that on the server's own cores it takes
little from it.

    bench/serve.py --url http://127.0.0.1:8080 --requests 200 --rate 10 --prompt-words 100 --max-tokens 64

`--rate 0` sends everything at once, at most --concurrency at a time. Times are taken at the arrival of events, so an
inter-token time is the gap between two pieces of text; tokens are counted by the server's own usage.
"""

import argparse
import gc
import json
import random
import selectors
import socket
import statistics
import sys
import time
from urllib.parse import urlsplit

WORDS = ("the a of to and in that it was for on with as his they be at one have this from or had by word but not what "
         "all were we when your can said there use an each which she do how their if will up other about out many "
         "then them these so some her would make like him into time has look two more write go see number no way").split()


class Result:
    """One request's times, seconds since its arrival was due."""

    def __init__(self, error=""):
        self.pieces = []  # arrival of each piece of text
        self.end = 0.0
        self.prompt_tokens = 0
        self.cached_tokens = 0
        self.generated_tokens = 0
        self.error = error

    def take(self, arrival, message):
        """One event's message."""
        if "error" in message:
            self.error = message["error"]["message"]
        if message.get("usage"):
            usage = message["usage"]
            self.prompt_tokens = usage["prompt_tokens"]
            self.generated_tokens = usage["completion_tokens"]
            self.cached_tokens = (usage.get("prompt_tokens_details") or {}).get("cached_tokens", 0)
        if message.get("choices") and message["choices"][0].get("text"):
            self.pieces.append(arrival)


def read_events(arrivals):
    """The server-sent events of a chunked response, each with the arrival of its last byte. `arrivals`: when bytes
    came, and those bytes. Raises ValueError for what is no such response, or not a whole one."""
    head, data, text = False, b"", b""
    for arrival, received in arrivals:
        data += received
        if not head:
            before, end, rest = data.partition(b"\r\n\r\n")
            if not end:
                continue
            head, data = True, rest
            if (status := int(before.split(None, 2)[1])) != 200:
                raise ValueError(f"status {status}")
        while (line := data.find(b"\r\n")) >= 0:
            size = int(data[:line].split(b";")[0], 16)
            if size == 0:
                return
            if len(data) < line + size + 4:
                break
            *events, text = (text + data[line + 2:line + 2 + size]).split(b"\n\n")
            data = data[line + size + 4:]
            for event in events:
                if event.startswith(b"data: ") and event != b"data: [DONE]":
                    yield arrival, event[6:]
    raise ValueError("connection lost")


class Stream:
    """A request under way: sends it, and keeps what comes and when."""

    def __init__(self, request, due, address):
        self.due = due
        self.unsent = request
        self.arrivals = []  # when bytes came, since the request was due, and those bytes
        self.error = ""
        self.socket = socket.socket(address[0], socket.SOCK_STREAM)
        self.socket.setblocking(False)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.connect_ex(address[4])

    def send(self):
        """Sends what the socket takes; true when that was all."""
        try:
            self.unsent = self.unsent[self.socket.send(self.unsent):]
        except BlockingIOError:
            pass
        return not self.unsent

    def receive(self):
        """Takes what has come; true when the server has ended the response."""
        received = self.socket.recv(65536)
        self.arrivals.append((time.perf_counter() - self.due, received))
        return not received

    def result(self):
        result = Result(self.error)
        result.end = self.arrivals[-1][0] if self.arrivals else 0.0
        events = 0
        try:
            if not result.error:
                for arrival, event in read_events(self.arrivals):
                    result.take(arrival, json.loads(event))
                    events += 1
                if events == 0:
                    result.error = "no events"
        except ValueError as error:
            result.error = result.error or str(error)
        except (KeyError, IndexError, TypeError) as error:
            result.error = result.error or type(error).__name__
        if not result.pieces:
            result.pieces.append(result.end)  # tokens that make no text
        return result


def message(args, body):
    url = urlsplit(args.url)
    data = json.dumps(body).encode()
    key = f"Authorization: Bearer {args.api_key}\r\n" if args.api_key else ""
    return (f"POST {url.path.rstrip('/')}/v1/completions HTTP/1.1\r\nHost: {url.netloc}\r\n{key}"
            f"Content-Type: application/json\r\nContent-Length: {len(data)}\r\nConnection: close\r\n\r\n"
            ).encode() + data


def bodies(args):
    """The requests' bodies: all begin with the same --prefix-words, then go their own way."""
    rng = random.Random(args.seed)
    prefix = rng.choices(WORDS, k=args.prefix_words)
    for i in range(args.requests):
        words = prefix + rng.choices(WORDS, k=args.prompt_words)
        yield {"model": args.model, "prompt": " ".join(words), "max_tokens": args.max_tokens, "stream": True,
               "stream_options": {"include_usage": True}, "ignore_eos": True, "temperature": 0.8, "seed": args.seed + i}


class Load:
    """Requests on their way, all on one thread."""

    def __init__(self, args):
        url = urlsplit(args.url)
        self.address = socket.getaddrinfo(url.hostname, url.port or 80, type=socket.SOCK_STREAM)[0]
        self.selector = selectors.DefaultSelector()
        self.streams = []

    def start(self, request, due):
        stream = Stream(request, due, self.address)
        self.streams.append(stream)
        self.selector.register(stream.socket, selectors.EVENT_WRITE, stream)

    def under_way(self):
        return len(self.selector.get_map())

    def serve(self, timeout):
        """Waits for something to do, at most `timeout` seconds (None: for ever), and does it."""
        for key, events in self.selector.select(timeout):
            stream = key.data
            try:
                if events & selectors.EVENT_READ:
                    if not stream.receive():
                        continue
                elif stream.send():
                    self.selector.modify(stream.socket, selectors.EVENT_READ, stream)
                    continue
                else:
                    continue
            except OSError as error:
                stream.error = type(error).__name__
            self.selector.unregister(stream.socket)
            stream.socket.close()


def load(args):
    rng = random.Random(args.seed + 1)
    requests = [message(args, body) for body in bodies(args)]
    run = Load(args)
    gc.disable()  # what arrives is kept: there is nothing to collect meanwhile
    start = time.perf_counter()
    due = start
    for request in requests:
        if args.rate > 0:
            due += rng.expovariate(args.rate)
            while (wait := due - time.perf_counter()) > 0:
                run.serve(wait)
        while run.under_way() >= args.concurrency:
            run.serve(None)
        # Waiting for a place counts only when requests arrive by themselves.
        run.start(request, due if args.rate > 0 else time.perf_counter())
    while run.under_way() > 0:
        run.serve(None)
    seconds = time.perf_counter() - start
    gc.enable()
    return [stream.result() for stream in run.streams], seconds


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
    results, seconds = load(args)
    summary = summarize(args, results, seconds)
    if args.json:
        print(json.dumps(summary))
    else:
        show(summary)
    return 1 if summary["errors"] else 0


if __name__ == "__main__":
    sys.exit(main())
