"""Compares Facet with llama.cpp on one GGUF file: tokenizer, perplexity, greedy continuations.

usage: pip install -r tools/compare_llama_cpp.requirements.txt
       python tools/compare_llama_cpp.py MODEL.gguf [--text FILE] [--tokenizer-texts FILE.jsonl] [--ids 2,3,4]

Prints a Markdown table and exits with 1 when something differs more than it may:
  tokenizer     every text of the JSON lines ({"text": …}) gives the same ids
  perplexity    of --text, in windows of --ctx tokens that each begin with <bos>, within --tolerance percent
  continuations --tokens greedy ids after each prompt are the same up to a place where llama.cpp's own two best
                logits lie closer than --gap
Prompts are the beginnings of paragraphs of --text, or --ids for a model without a tokenizer.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import llama_cpp
import numpy as np

BATCH = 128


class Facet:
    """The program, by its command line."""

    def __init__(self, binary: str, model: str, options: list[str]) -> None:
        self._binary, self._model, self._options = binary, model, options

    def _run(self, *arguments: str, stdin: str | None = None) -> str:
        command = [self._binary, *arguments, "-m", self._model]
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"{' '.join(command)}: exit code {done.returncode}: {done.stderr.strip()}")
        return done.stdout

    def tokenize(self, texts: list[str]) -> list[list[int]]:
        lines = "".join(json.dumps({"text": text}) + "\n" for text in texts)
        return [json.loads(line)["ids"] for line in self._run("tokenize", "--jsonl", stdin=lines).splitlines()]

    def perplexity(self, text: Path, context: int) -> float:
        out = self._run("perplexity", str(text), "--ctx", str(context), "--json", *self._options)
        return json.loads(out)["perplexity"]

    def greedy(self, ids: list[int], count: int) -> list[int]:
        prompt = ",".join(map(str, ids))
        arguments = ["run", "--ids", prompt, "-n", str(count), "--greedy", "--ignore-eos", "--json"]
        return json.loads(self._run(*arguments, *self._options))["ids"]


class LlamaCpp:
    """llama.cpp by its C interface, on the CPU."""

    def __init__(self, model: str, context: int, *, exact: bool) -> None:
        self._log = llama_cpp.llama_log_callback(lambda *_: None)  # kept: C holds a pointer to it
        llama_cpp.llama_log_set(self._log, ctypes.c_void_p(0))
        parameters = llama_cpp.llama_model_default_params()
        parameters.n_gpu_layers = 0
        self._model = llama_cpp.llama_model_load_from_file(model.encode(), parameters)
        if not self._model:
            raise RuntimeError(f"llama.cpp does not load {model}")
        parameters = llama_cpp.llama_context_default_params()
        parameters.n_ctx, parameters.n_batch, parameters.n_ubatch = context, BATCH, BATCH
        parameters.n_threads = parameters.n_threads_batch = len(os.sched_getaffinity(0))
        if exact:
            parameters.type_k = parameters.type_v = llama_cpp.GGML_TYPE_F32
            parameters.flash_attn_type = 0  # which rounds to f16
        self._context = llama_cpp.llama_init_from_model(self._model, parameters)
        self._vocab = llama_cpp.llama_model_get_vocab(self._model)
        self.vocab_size = llama_cpp.llama_vocab_n_tokens(self._vocab)
        self._batch = llama_cpp.llama_batch_init(BATCH, 0, 1)
        self._past = 0

    def tokenize(self, text: str) -> list[int]:
        data = text.encode()
        ids = (llama_cpp.llama_token * (len(data) + 8))()
        count = llama_cpp.llama_tokenize(self._vocab, data, len(data), ids, len(ids), True, True)
        return list(ids[:count])

    def clear(self) -> None:
        llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(self._context), True)
        self._past = 0

    def feed(self, ids: list[int], *, every: bool) -> np.ndarray:
        """Appends at most BATCH tokens; logits [len(ids), vocabulary] of each, or [1, vocabulary] of the last."""
        batch = self._batch
        batch.n_tokens = len(ids)
        for i, token in enumerate(ids):
            batch.token[i], batch.pos[i] = token, self._past + i
            batch.n_seq_id[i], batch.seq_id[i][0] = 1, 0
            batch.logits[i] = every or i == len(ids) - 1
        if llama_cpp.llama_decode(self._context, batch) != 0:
            raise RuntimeError("llama.cpp: llama_decode failed")
        self._past += len(ids)
        rows = len(ids) if every else 1
        logits = llama_cpp.llama_get_logits(self._context)
        return np.ctypeslib.as_array(logits, (rows, self.vocab_size)).copy()

    def last_logits(self, ids: list[int]) -> np.ndarray:
        """Logits [vocabulary] after `ids`, from an empty cache."""
        self.clear()
        for at in range(0, len(ids), BATCH):
            logits = self.feed(ids[at : at + BATCH], every=False)
        return logits[-1]

    def perplexity(self, ids: list[int], context: int) -> float:
        """Every token of `ids` but the first, which is <bos>, in windows as `facet perplexity` makes them."""
        bos, text = ids[0], ids[1:]
        nll, step = 0.0, context - 1
        for begin in range(0, len(text), step):
            window = [bos, *text[begin : begin + step]]
            self.clear()
            for at in range(0, len(window) - 1, BATCH):
                part = window[at : min(at + BATCH, len(window) - 1)]
                logits = self.feed(part, every=True).astype(np.float64)
                logits -= logits.max(axis=1, keepdims=True)
                wanted = window[at + 1 : at + 1 + len(part)]
                nll += np.log(np.exp(logits).sum(axis=1)).sum() - logits[np.arange(len(part)), wanted].sum()
        return math.exp(nll / len(text))

    def greedy(self, ids: list[int], count: int) -> list[int]:
        made = [int(self.last_logits(ids).argmax())]
        while len(made) < count:
            made.append(int(self.feed(made[-1:], every=False)[-1].argmax()))
        return made


def prompts_of(text: str, count: int) -> list[str]:
    """The first sixteen words of paragraphs spread over the text."""
    paragraphs = [p for p in text.split("\n\n") if len(p.split()) >= 16]
    step = max(1, len(paragraphs) // count)
    return [" ".join(p.split()[:16]) for p in paragraphs[::step][:count]]


def first_difference(a: list[int], b: list[int]) -> int:
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=True)) if x != y), len(a))


class Comparison:
    def __init__(self) -> None:
        self.failed = False
        print("| check | llama.cpp | Facet | |\n|---|---:|---:|---|")

    def row(self, check: str, theirs: str, ours: str, verdict: str, *, good: bool) -> None:
        self.failed |= not good
        print(f"| {check} | {theirs} | {ours} | {verdict if good else '**' + verdict + '**'} |", flush=True)


def compare_tokenizers(facet: Facet, llama: LlamaCpp, path: Path, report: Comparison) -> None:
    texts = [json.loads(line)["text"] for line in path.read_text(encoding="utf-8").splitlines()]
    ours = facet.tokenize(texts)
    differing = [i for i, text in enumerate(texts) if llama.tokenize(text) != ours[i]]
    verdict = "the same ids" if not differing else f"{len(differing)} differ, first in text {differing[0]}"
    report.row("tokenizer", f"{len(texts)} texts", f"{len(texts)} texts", verdict, good=not differing)


def compare_perplexity(
    facet: Facet, llama: LlamaCpp, text: Path, context: int, tolerance: float, report: Comparison
) -> None:
    theirs = llama.perplexity(llama.tokenize(text.read_text(encoding="utf-8")), context)
    ours = facet.perplexity(text, context)
    percent = 100 * (ours / theirs - 1)
    size = text.stat().st_size
    report.row(
        f"perplexity, {size:,} bytes", f"{theirs:.4f}", f"{ours:.4f}", f"{percent:+.3f} %",
        good=abs(percent) <= tolerance,
    )


def compare_greedy(
    facet: Facet, llama: LlamaCpp, prompts: list[list[int]], count: int, gap: float, report: Comparison
) -> None:
    same, excused, wrong = 0, [], []
    for number, prompt in enumerate(prompts):
        theirs, ours = llama.greedy(prompt, count), facet.greedy(prompt, count)
        at = first_difference(theirs, ours)
        if at == count:
            same += 1
            continue
        second, best = np.sort(llama.last_logits(prompt + theirs[:at]))[-2:]
        (excused if best - second < gap else wrong).append((number, at, float(best - second)))
    verdict = f"{same} of {len(prompts)} the same"
    if excused:
        verdict += f"; {len(excused)} part where the gap is at most {max(g for _, _, g in excused):.3f}"
    if wrong:
        verdict += "; too far apart: " + ", ".join(f"prompt {n} at {at}, gap {g:.3f}" for n, at, g in wrong)
    report.row("greedy continuations", f"{len(prompts)} × {count} ids", "", verdict, good=not wrong)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="a GGUF file")
    parser.add_argument("--facet", default="build/release/bin/facet")
    parser.add_argument("--facet-options", default="", help="for facet run and perplexity, as '--kv f32'")
    parser.add_argument("--exact", action="store_true", help="f32 keys and values in llama.cpp, no flash attention")
    parser.add_argument("--text", type=Path, help="English for the perplexity and the prompts")
    parser.add_argument("--tokenizer-texts", type=Path)
    parser.add_argument("--ids", help="a prompt of ids, instead of --text's")
    parser.add_argument("--ctx", type=int, default=1024)
    parser.add_argument("--tolerance", type=float, default=0.5)
    parser.add_argument("--prompts", type=int, default=20)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--gap", type=float, default=0.05)
    arguments = parser.parse_args()

    facet = Facet(arguments.facet, arguments.model, arguments.facet_options.split())
    llama = LlamaCpp(arguments.model, arguments.ctx, exact=arguments.exact)
    report = Comparison()
    prompts: list[list[int]] = []
    if arguments.tokenizer_texts:
        compare_tokenizers(facet, llama, arguments.tokenizer_texts, report)
    if arguments.text:
        compare_perplexity(facet, llama, arguments.text, arguments.ctx, arguments.tolerance, report)
        text = arguments.text.read_text(encoding="utf-8")
        prompts = [llama.tokenize(prompt) for prompt in prompts_of(text, arguments.prompts)]
    if arguments.ids:
        prompts = [[int(token) for token in arguments.ids.split(",")]]
    if prompts:
        compare_greedy(facet, llama, prompts, arguments.tokens, arguments.gap, report)
    sys.exit(report.failed)


if __name__ == "__main__":
    main()
