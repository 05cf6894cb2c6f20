"""Trains Fable.

The optimiser works on float32 masters; what the model computes with is a copy of them, which in the last steps is
rounded as the file will round it, so that the 4-bit file loses almost nothing. Gradients pass as if it were not.
"""

from __future__ import annotations

import json
import math
import os
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

import attention
import corpus
import model as architecture
import quantise
from evaluate import HeldOut
from sequences import EARLY, IGNORED, LATE, Sampler

WORKERS = 11  # for each of the two mixtures; each draws sequences of its own, so their number is part of the recipe


@dataclass(frozen=True)
class Recipe:
    """How the model is trained. Steps are optimiser steps of `batch` sequences of 1,024 tokens."""

    name: str
    steps: int
    seed: int
    batch: int = 32
    peak_rate: float = 2e-3
    weight_decay: float = 0.1
    dropout: float = 0.05
    warm_up: int = 100
    decay_from: float = 0.5  # part of the schedule after which the rate falls, to nothing, along a cosine
    late_from: float = 0.6  # part of the schedule after which the late mixture is read
    quantise_from: float = 1.0  # part of the schedule after which weights are rounded
    validations: int = 10
    compiled: bool = True


class Stream(IterableDataset):
    """Sequences for one recipe; every worker draws its own."""

    def __init__(self, sampler: Sampler, seed: str) -> None:
        self._sampler, self._seed = sampler, seed

    def __iter__(self) -> Iterator[tuple]:
        os.environ["TOKENIZERS_PARALLELISM"] = "false"  # the workers share the cores already
        worker = get_worker_info()
        self._sampler.reseed(f"{self._seed}-{worker.id if worker else 0}")
        return iter(self._sampler)


def batches(sampler: Sampler, recipe: Recipe, workers: int) -> tuple[Iterator, Iterator]:
    """The recipe's batches of its early and of its late mixture; both sets of workers start at once."""
    streams = []
    for mixture, label in ((EARLY, "early"), (LATE, "late")):
        sampler.mix(mixture)
        loader = DataLoader(
            Stream(sampler, f"{recipe.seed}-{label}"),
            recipe.batch,
            num_workers=workers,
            pin_memory=torch.cuda.is_available(),
            prefetch_factor=4 if workers else None,
        )
        streams.append(iter(loader))
    return streams[0], streams[1]


def optimiser(masters: dict[str, Tensor], recipe: Recipe) -> torch.optim.Optimizer:
    """AdamW, without decay for the norms' weights and layer scalars."""
    plain = [master for name, master in masters.items() if quantise.bits(name) is None]
    others = [master for name, master in masters.items() if quantise.bits(name) is not None]
    groups = [{"params": others, "weight_decay": recipe.weight_decay}, {"params": plain, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=recipe.peak_rate, betas=(0.9, 0.98), fused=torch.cuda.is_available())


def rate(recipe: Recipe, step: int, done: float) -> float:
    """Learning rate at `step`, when `done` of the schedule is over: linear warm-up, constant, cosine to zero."""
    if step < recipe.warm_up:
        return recipe.peak_rate * (step + 1) / recipe.warm_up
    if done < recipe.decay_from:
        return recipe.peak_rate
    return recipe.peak_rate * 0.5 * (1 + math.cos(math.pi * (done - recipe.decay_from) / (1 - recipe.decay_from)))


def train(recipe: Recipe, work: Path, workers: int = WORKERS) -> None:
    """Trains by `recipe` and saves the weights as WORK/NAME.safetensors.

    The log, one JSON line for each validation, is WORK/NAME.log.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    architecture.fuse_norms()
    torch.set_float32_matmul_precision("high")
    documents = corpus.load(work / "corpus.jsonl")
    tokenizer = Tokenizer.from_file(str(work / "tokenizer.json"))
    held_out = HeldOut(corpus.held_out(documents), tokenizer)
    began = time.monotonic()
    early, late = batches(Sampler(corpus.training(documents), tokenizer, recipe.seed, EARLY), recipe, workers)

    net = architecture.create(architecture.fable(), recipe.seed, recipe.dropout).to(device).train()
    net.config._attn_implementation = attention.NAME
    measured = architecture.create(architecture.fable(), recipe.seed).to(device)
    masters = {name: parameter.detach().clone() for name, parameter in net.named_parameters()}
    stepper = optimiser(masters, recipe)
    loss_of = torch.compile(_loss) if recipe.compiled else _loss
    log = (work / f"{recipe.name}.log").open("w", encoding="utf-8")
    log.write(json.dumps(asdict(recipe)) + "\n")
    running, since = torch.zeros((), device=device), 0
    rounded = False
    validated = 0
    for step in range(recipe.steps):
        done = step / recipe.steps
        drawn = next(late if done >= recipe.late_from else early)
        inputs, labels = (tensor.to(device, non_blocking=True).long() for tensor in drawn)
        for group in stepper.param_groups:
            group["lr"] = rate(recipe, step, done)
        if not rounded and done >= recipe.quantise_from:
            rounded = True
            _publish(net, masters, rounded)
        loss = loss_of(net, inputs, labels)
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        for name, parameter in net.named_parameters():
            masters[name].grad, parameter.grad = parameter.grad, None
        stepper.step()
        stepper.zero_grad(set_to_none=True)
        _publish(net, masters, rounded)
        running += loss.detach()
        since += 1
        done = (step + 1) / recipe.steps
        if step + 1 in (1, 50) or int(done * recipe.validations) > validated:
            validated = int(done * recipe.validations)
            _publish(measured, masters, rounded)
            entry = {
                "step": step + 1,
                "done": round(done, 4),
                "loss": running.item() / since,
                "held_out_bits_per_byte": held_out.bits_per_byte(measured) if step >= 50 else None,
                "rounded": rounded,
                "seconds": time.monotonic() - began,
            }
            running.zero_()
            since = 0
            print(recipe.name, json.dumps(entry), flush=True)
            log.write(json.dumps(entry) + "\n")
            log.flush()
    log.close()
    save(masters, work / f"{recipe.name}.safetensors")


@torch.no_grad()
def _publish(net: nn.Module, masters: dict[str, Tensor], rounded: bool) -> None:
    """Gives the model the masters' values, as they are or as the file will hold them."""
    names = [name for name, _ in net.named_parameters()]
    parameters = list(net.parameters())
    values = quantise.stored(masters) if rounded else masters
    torch._foreach_copy_(parameters, [values[name] for name in names])


def _loss(net: Gemma4ForCausalLM, inputs: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy of the labels [batch, tokens] that are not IGNORED."""
    # every position is causal and none is padding on the left, so no mask is built
    masks = {"full_attention": None, "sliding_attention": None}
    with _mixed_precision(inputs):
        hidden = net.model(inputs, attention_mask=masks, use_cache=False).last_hidden_state
        logits = architecture.logits(net.model, hidden, net.model.embed_tokens.weight)
    return functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=IGNORED)


def _mixed_precision(inputs: Tensor) -> torch.autocast:
    """bfloat16 matrix products on a GPU; float32 on a CPU, where most have no fast bfloat16."""
    return torch.autocast(inputs.device.type, dtype=torch.bfloat16, enabled=inputs.is_cuda)


def save(weights: dict[str, Tensor], path: Path) -> None:
    """Writes the trained parameters, float32, under transformers' names."""
    save_file({name: weight.detach().float().cpu().contiguous() for name, weight in weights.items()}, path)


def load(path: Path) -> Gemma4ForCausalLM:
    """Fable with the weights that `save` wrote."""
    net = architecture.create(architecture.fable(), 0)
    missing, unexpected = net.load_state_dict(load_file(path), strict=False)
    if unexpected or set(missing) - {"lm_head.weight"}:
        raise RuntimeError(f"{path}: expected Fable's parameters, missing {missing}, also {unexpected}")
    return net
