#!/usr/bin/env python3
"""Facet beside Hugging Face transformers on one NVIDIA GPU: prints one table of prompt and decode speed.

    python3 -m venv .venv && .venv/bin/pip install -r tools/bench_transformers.requirements.txt
    .venv/bin/python tools/bench_transformers.py --facet build/cuda/bin/facet

Both run a model of E2B's sizes with random weights: transformers in bf16, with a static cache and torch.compile for
decoding, as its documentation recommends; Facet with bf16 weights and with 4-bit ones. They take turns on the same card,
and the medians are compared. Prompts end with the logits of the last token; decoding is greedy and starts at an
almost empty cache. Compiling takes a minute or two.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time

PROMPT_OF_DECODING = 16
FACET_WEIGHTS = ("bf16", "4")


def e2b_config(tiny: bool):
    """The published sizes, as `facet bench --synthetic e2b` has them; `tiny`: to try this program without a GPU."""
    from transformers import Gemma4TextConfig

    layers = 10 if tiny else 35
    return Gemma4TextConfig(
        vocab_size=512 if tiny else 262144,
        vocab_size_per_layer_input=512 if tiny else 262144,
        hidden_size=64 if tiny else 1536,
        hidden_size_per_layer_input=256,
        intermediate_size=128 if tiny else 6144,
        use_double_wide_mlp=True,
        num_hidden_layers=layers,
        num_kv_shared_layers=5 if tiny else 20,
        num_attention_heads=8,
        num_key_value_heads=1,
        head_dim=256,
        global_head_dim=512,
        sliding_window=512,
        max_position_embeddings=131072,
        final_logit_softcapping=30.0,
        tie_word_embeddings=True,
        layer_types=["full_attention" if i % 5 == 0 else "sliding_attention" for i in range(1, layers + 1)],
        eos_token_id=None,  # random weights may draw any token: all are to be generated
    )


class Transformers:
    """A random model, and how fast it is."""

    def __init__(self, tiny: bool) -> None:
        import torch
        from transformers import Gemma4ForCausalLM

        self.torch = torch
        self.device = "cpu" if tiny else "cuda"
        torch.manual_seed(1)
        torch.set_default_dtype(torch.bfloat16)
        with torch.device(self.device):
            self.model = Gemma4ForCausalLM(e2b_config(tiny)).eval()
        self.warm: set[str] = set()

    def wait(self) -> float:
        if self.device == "cuda":
            self.torch.cuda.synchronize()
        return time.perf_counter()

    def random_ids(self, count: int):
        return self.torch.randint(2, self.model.config.vocab_size, (1, count), device=self.device)

    def prompt(self, tokens: int) -> float:
        """Tokens a second."""
        ids = self.random_ids(tokens)
        start = self.wait()
        self.model(ids, use_cache=True, logits_to_keep=1).logits.float().cpu()
        return tokens / (self.wait() - start)

    def decode(self, tokens: int) -> float:
        """Tokens a second after the first one."""
        from transformers import StoppingCriteria, StoppingCriteriaList

        outer = self

        class Clock(StoppingCriteria):
            """Hears of every token; stops nothing."""

            def __init__(self) -> None:
                self.seen = 0
                self.start = 0.0

            def __call__(self, input_ids, scores, **_unused):
                self.seen += 1
                if self.seen == 1:
                    self.start = outer.wait()
                return outer.torch.zeros(input_ids.shape[0], dtype=outer.torch.bool, device=input_ids.device)

        clock = Clock()
        self.model.generate(
            self.random_ids(PROMPT_OF_DECODING),
            max_new_tokens=tokens + 1,
            do_sample=False,
            cache_implementation="static",
            stopping_criteria=StoppingCriteriaList([clock]),
        )
        seconds = self.wait() - clock.start
        if clock.seen != tokens + 1:
            raise RuntimeError(f"{clock.seen} tokens were generated, {tokens + 1} expected")
        return tokens / seconds

    def measure(self, test: str) -> float:
        run = self.prompt if test.startswith("pp") else self.decode
        tokens = int(test[2:])
        with self.torch.inference_mode():
            if test not in self.warm:  # kernels are chosen and compiled in the first runs
                for _ in range(2):
                    run(tokens)
                self.warm.add(test)
            return run(tokens)


def serve_transformers(tiny: bool) -> None:
    """Answers each line with a test's name by its tokens a second, so that the model is compiled once."""
    engine = Transformers(tiny)
    print("ready", flush=True)
    for line in sys.stdin:
        print(engine.measure(line.strip()), flush=True)


class Worker:
    """The process that runs serve_transformers()."""

    def __init__(self, tiny: bool) -> None:
        command = [sys.executable, __file__, "--worker"] + (["--tiny"] if tiny else [])
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.answer()

    def answer(self) -> str:
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError("transformers: the process ended; its error is above")
        return line.strip()

    def measure(self, test: str) -> float:
        self.process.stdin.write(test + "\n")
        self.process.stdin.flush()
        return float(self.answer())


def measure_facet(facet: str, weights: str, tests: list[str], tiny: bool) -> dict:
    """One run of `facet bench` over all tests: its JSON."""
    of_kind = {kind: ",".join(t[2:] for t in tests if t.startswith(kind)) or "0" for kind in ("pp", "tg")}
    command = [facet, "bench", "-p", of_kind["pp"], "-n", of_kind["tg"], "-r", "1", "--json"]
    command += ["--backend", "cpu"] if tiny else ["--backend", "cuda", "--synthetic", "e2b", "--quant", weights]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"facet bench: {done.stdout.strip() or done.stderr.strip()}")
    return json.loads(done.stdout)


def parse() -> argparse.Namespace:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--facet", default="build/cuda/bin/facet")
    parser.add_argument("--repeat", type=int, default=3, help="alternating runs (default: %(default)s)")
    parser.add_argument("--tests", default="tg128,pp2048,pp8192", help="default: %(default)s")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--tiny", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def cell(samples: list[float]) -> str:
    return f"{statistics.median(samples):,.0f} ({min(samples):,.0f}-{max(samples):,.0f})"


def main() -> None:
    arguments = parse()
    if arguments.worker:
        serve_transformers(arguments.tiny)
        return
    import torch
    import transformers

    tests = arguments.tests.split(",")
    worker = Worker(arguments.tiny)
    samples: dict[tuple[str, str], list[float]] = {}
    card = ""
    for turn in range(arguments.repeat):
        for test in tests:
            samples.setdefault((test, "transformers"), []).append(worker.measure(test))
        for weights in FACET_WEIGHTS:
            run = measure_facet(arguments.facet, weights, tests, arguments.tiny)
            for result in run["results"]:
                samples.setdefault((result["test"], weights), []).append(result["tokens_per_s"]["mean"])
            if run["bandwidth_gbs"]:
                card = f"{run['gpu']}: read {run['bandwidth_gbs']:.0f} GB/s; facet {run['build']}"
        print(f"turn {turn + 1} of {arguments.repeat} done", file=sys.stderr)

    print(f"{card}; transformers {transformers.__version__}, torch {torch.__version__}")
    print(f"tokens/s, median of {arguments.repeat} alternating runs (lowest-highest)\n")
    print("| test | transformers, bf16 | facet, bf16 | | facet, 4-bit | |\n|---|---:|---:|---:|---:|---:|")
    for test in tests:
        peer = samples[test, "transformers"]
        cells = [cell(peer)]
        for weights in FACET_WEIGHTS:
            own = samples[test, weights]
            cells += [cell(own), f"{statistics.median(own) / statistics.median(peer):.1f} ×"]
        print(f"| {test} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
