"""Trains one model: a teacher from the text alone, or Fable from the text and its teachers.

Fable's last steps run with its weights rounded as the file will round them (`quantise.straight_through`), so that the
4-bit file loses almost nothing.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, IterableDataset, get_worker_info
from transformers import Gemma4ForCausalLM

import corpus
import model as architecture
import quantise
from evaluate import HeldOut
from sequences import CONTEXT, EARLY, IGNORED, LATE, Sampler

WORKERS = 5  # each draws sequences of its own, so their number is part of the recipe


@dataclass(frozen=True)
class Recipe:
    """How one model is trained. Steps are optimiser steps of `batch` sequences of 1,024 tokens."""

    name: str
    shape: str  # "teacher" or "fable"
    steps: int
    seed: int
    batch: int = 16
    peak_rate: float = 2e-3
    weight_decay: float = 0.1
    dropout: float = 0.1
    warm_up: int = 100
    decay_from: float = 0.5  # part of the steps after which the rate falls, to nothing, along a cosine
    late_from: float = 0.6  # part of the steps after which tales are most of what is read
    distil: float = 0.0  # weight of the teachers' distributions in the loss
    quantise_from: float = 1.0  # part of the steps after which weights are rounded
    stop_after: int | None = None  # steps actually run, when the schedule's end is not reached
    validations: int = 10


class Stream(IterableDataset):
    """Sequences for one recipe; every worker draws its own."""

    def __init__(self, sampler: Sampler, seed: str) -> None:
        self._sampler, self._seed = sampler, seed

    def __iter__(self) -> Iterator[tuple]:
        worker = get_worker_info()
        self._sampler.reseed(f"{self._seed}-{worker.id if worker else 0}")
        return iter(self._sampler)


def batches(sampler: Sampler, recipe: Recipe, workers: int) -> Iterator[tuple[Tensor, Tensor]]:
    """The recipe's batches: its early mixture of texts, then its late one."""
    late = int(recipe.steps * recipe.late_from)
    for mixture, steps, label in ((EARLY, late, "early"), (LATE, recipe.steps - late, "late")):
        sampler.mix(mixture)
        stream = Stream(sampler, f"{recipe.seed}-{label}")
        loader = DataLoader(stream, recipe.batch, num_workers=workers, pin_memory=torch.cuda.is_available())
        for _, batch in zip(range(steps), loader, strict=False):
            yield batch


def optimiser(net: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """AdamW, without decay for the norms' weights."""
    norms = [parameter for name, parameter in net.named_parameters() if "norm" in name]
    others = [parameter for name, parameter in net.named_parameters() if "norm" not in name]
    groups = [{"params": others, "weight_decay": recipe.weight_decay}, {"params": norms, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=recipe.peak_rate, betas=(0.9, 0.98), fused=torch.cuda.is_available())


def rate(recipe: Recipe, step: int) -> float:
    """Learning rate at `step`: linear warm-up, constant, cosine to zero."""
    decay = int(recipe.steps * recipe.decay_from)
    if step < recipe.warm_up:
        return recipe.peak_rate * (step + 1) / recipe.warm_up
    if step < decay:
        return recipe.peak_rate
    return recipe.peak_rate * 0.5 * (1 + math.cos(math.pi * (step - decay) / (recipe.steps - decay)))


def train(recipe: Recipe, work: Path, teachers: list[str], workers: int = WORKERS) -> float:
    """Trains by `recipe` and saves the best weights by held-out bits per byte as WORK/NAME.safetensors.

    Returns those bits per byte; the log, one JSON line for each validation, is WORK/NAME.log.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    architecture.fuse_norms()
    torch.set_float32_matmul_precision("high")
    documents = corpus.load(work / "corpus.jsonl")
    tokenizer = Tokenizer.from_file(str(work / "tokenizer.json"))
    held_out = HeldOut(corpus.held_out(documents), tokenizer)
    sampler = Sampler(corpus.training(documents), tokenizer, recipe.seed, EARLY)

    shape = getattr(architecture, recipe.shape)
    net = architecture.create(shape(recipe.dropout), recipe.seed, recipe.dropout).to(device)
    ensemble = [load(work / f"{name}.safetensors", "teacher").to(device).eval() for name in teachers]
    stepper = optimiser(net, recipe)
    best, began = math.inf, time.monotonic()
    log = (work / f"{recipe.name}.log").open("w", encoding="utf-8")
    log.write(json.dumps(asdict(recipe)) + "\n")
    running = torch.zeros((), device=device)
    every = max(1, recipe.steps // recipe.validations)
    last = recipe.stop_after or recipe.steps
    for step, (inputs, labels) in zip(range(last), batches(sampler, recipe, workers), strict=False):
        net.train()
        for group in stepper.param_groups:
            group["lr"] = rate(recipe, step)
        rounded = step >= recipe.steps * recipe.quantise_from
        loss = _loss(net, ensemble, inputs.to(device), labels.to(device), recipe.distil, rounded)
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        stepper.step()
        stepper.zero_grad(set_to_none=True)
        running += loss.detach()
        if (step + 1) % every == 0 or step + 1 == last:
            found = held_out.bits_per_byte(_stored(net, rounded))
            entry = {
                "step": step + 1,
                "loss": running.item() / every,
                "held_out_bits_per_byte": found,
                "rounded": rounded,
                "tokens_per_second": (step + 1) * recipe.batch * CONTEXT / (time.monotonic() - began),
            }
            running.zero_()
            print(recipe.name, json.dumps(entry), flush=True)
            log.write(json.dumps(entry) + "\n")
            log.flush()
            # once weights are rounded only rounded ones count
            if found < best or (rounded and step + 1 - every < recipe.steps * recipe.quantise_from):
                best = found
                save(net, work / f"{recipe.name}.safetensors")
    log.close()
    return best


def _loss(
    net: Gemma4ForCausalLM,
    teachers: list[Gemma4ForCausalLM],
    inputs: Tensor,
    labels: Tensor,
    distil: float,
    rounded: bool,
) -> Tensor:
    """Cross-entropy against the text, mixed with that against the teachers' mean distribution."""
    base = net.model
    weights = dict(base.named_parameters())
    if rounded:
        weights = {name: quantise.straight_through(name, weight) for name, weight in weights.items()}
    keep = labels.flatten() != IGNORED
    targets = labels.flatten()[keep]
    with _mixed_precision(inputs):
        out = torch.func.functional_call(base, weights, (inputs,), {"use_cache": False})
        hidden = out.last_hidden_state.flatten(0, 1)[keep]
        log_p = functional.log_softmax(architecture.logits(base, hidden, weights["embed_tokens.weight"]), -1)
    loss = functional.nll_loss(log_p, targets)
    if not teachers:
        return loss
    wanted = torch.zeros_like(log_p)
    with torch.no_grad(), _mixed_precision(inputs):
        for teacher in teachers:
            seen = teacher.model(inputs, use_cache=False).last_hidden_state.flatten(0, 1)[keep]
            wanted += architecture.logits(teacher.model, seen, teacher.model.embed_tokens.weight).softmax(-1)
    wanted /= len(teachers)
    return (1 - distil) * loss - distil * (wanted * log_p).sum(-1).mean()


def _mixed_precision(inputs: Tensor) -> torch.autocast:
    """bfloat16 matrix products on a GPU; float32 on a CPU, where most have no fast bfloat16."""
    return torch.autocast(inputs.device.type, dtype=torch.bfloat16, enabled=inputs.is_cuda)


def _stored(net: Gemma4ForCausalLM, rounded: bool) -> nn.Module:
    """`net`, or a copy of it with its weights as the file will hold them."""
    if not rounded:
        return net
    copy = architecture.create(net.config, 0).to(net.device)
    with torch.no_grad():
        ours = dict(net.named_parameters())
        for name, parameter in copy.named_parameters():
            parameter.copy_(quantise.straight_through(name, ours[name]))
    return copy


def save(net: Gemma4ForCausalLM, path: Path) -> None:
    """Writes the trained parameters, float32, under transformers' names."""
    save_file({name: p.detach().float().cpu().contiguous() for name, p in net.named_parameters()}, path)


def load(path: Path, shape: str) -> Gemma4ForCausalLM:
    """A model of `shape` with the weights that `save` wrote."""
    net = architecture.create(getattr(architecture, shape)(), 0)
    missing, unexpected = net.load_state_dict(load_file(path), strict=False)
    if unexpected or set(missing) - {"lm_head.weight"}:
        raise RuntimeError(f"{path}: expected the parameters of a {shape}, missing {missing}, also {unexpected}")
    return net
