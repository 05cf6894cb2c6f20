"""Facet beside llama.cpp on the same weights: prints one table of prompt and decode speed.

The engines take turns, so that a machine that is shared or throttles slows both; the medians are compared.
usage: bench_peers.py MODEL.gguf [--facet PATH] [--threads N] [--repeat 3] [--tests pp512,tg128,pp2048]
"""

import argparse
import ctypes
import json
import os
import statistics
import subprocess
import sys
import time

CHUNK = 512  # tokens of a step, in both


def measure_llama(model: str, threads: int, kind: str, tokens: int) -> float:
    """Tokens a second of one run after a warm-up of the same kind."""
    import llama_cpp

    llama = llama_cpp.Llama(
        model,
        n_ctx=max(tokens, CHUNK) + 64,
        n_batch=CHUNK,
        n_ubatch=CHUNK,
        n_threads=threads,
        n_threads_batch=threads,
        verbose=False,
    )
    context = llama._ctx.ctx  # the library's own functions: the wrapper copies every token's logits

    def decode(ids: list[int]) -> None:
        array = (llama_cpp.llama_token * len(ids))(*ids)
        if llama_cpp.llama_decode(context, llama_cpp.llama_batch_get_one(array, len(ids))) != 0:
            raise RuntimeError("llama_decode failed")
        llama_cpp.llama_synchronize(context)
        assert ctypes.cast(llama_cpp.llama_get_logits_ith(context, -1), ctypes.c_void_p).value

    def run(count: int) -> float:
        llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(context), True)
        ids = [(7919 * (i + 1)) % 200000 + 256 for i in range(count)]
        step = CHUNK if kind == "pp" else 1
        start = time.perf_counter()
        for begin in range(0, count, step):
            decode(ids[begin : begin + step])
        return count / (time.perf_counter() - start)

    run(tokens if kind == "pp" else 8)
    return run(tokens)


def measure_facet(facet: str, model: str, threads: int, kind: str, tokens: int) -> float:
    prompt, decode = (tokens, 0) if kind == "pp" else (0, tokens)
    command = [facet, "bench", "-m", model, "-p", str(prompt), "-n", str(decode), "-r", "1", "--json"]
    command += ["--backend", "cpu", "--threads", str(threads), "--chunk", str(CHUNK)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"facet bench: {done.stdout.strip() or done.stderr.strip()}")
    return json.loads(done.stdout)["results"][0]["tokens_per_s"]["mean"]


def llama_in_a_process(arguments: argparse.Namespace, kind: str, tokens: int) -> float:
    """Each run in a process of its own, as facet's are: neither keeps its weights while the other runs."""
    command = [sys.executable, __file__, arguments.model, "--threads", str(arguments.threads)]
    command += ["--llama-worker", f"{kind}{tokens}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["nothing on stderr"])[-1]
        raise RuntimeError(f"llama.cpp: exit status {done.returncode} (negative: a signal): {last}")
    return float(done.stdout.strip().splitlines()[-1])


def parse() -> argparse.Namespace:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("model")
    parser.add_argument("--facet", default="build/release/bin/facet")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--tests", default="pp512,tg128,pp2048")
    parser.add_argument("--llama-worker", metavar="TEST", help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    arguments = parse()
    if arguments.llama_worker:
        test = arguments.llama_worker
        print(measure_llama(arguments.model, arguments.threads, test[:2], int(test[2:])))
        return
    print(f"{arguments.threads} threads; median of {arguments.repeat} alternating runs (lowest-highest)\n")
    print("| test | llama.cpp, tok/s | facet, tok/s | facet / llama.cpp |\n|---|---:|---:|---:|")
    for test in arguments.tests.split(","):
        kind, tokens = test[:2], int(test[2:])
        peer, own = [], []
        for _ in range(arguments.repeat):
            peer.append(llama_in_a_process(arguments, kind, tokens))
            own.append(measure_facet(arguments.facet, arguments.model, arguments.threads, kind, tokens))
        cells = [f"{statistics.median(x):.1f} ({min(x):.1f}-{max(x):.1f})" for x in (peer, own)]
        ratio = statistics.median(own) / statistics.median(peer)
        print(f"| {test} | {cells[0]} | {cells[1]} | {ratio:.2f} |", flush=True)


if __name__ == "__main__":
    main()
