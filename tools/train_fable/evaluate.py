"""Held-out quality: bits for each byte of whole tales that were never trained on."""

from __future__ import annotations

import lzma
import math

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional

import vocabulary
from corpus import Document
from sequences import CONTEXT

STRIDE = CONTEXT // 2


class HeldOut:
    """The held-out tales as windows: every token is predicted once, with at least half a context before it
    (or its tale's whole beginning)."""

    def __init__(self, tales: list[Document], tokenizer: Tokenizer) -> None:
        self.bytes = sum(len(tale.text.encode()) for tale in tales)
        inputs, labels = [], []
        for tale in tales:
            ids = [vocabulary.BOS, *tokenizer.encode(tale.text, add_special_tokens=False).ids]
            scored = 1
            for start in range(0, max(1, len(ids) - STRIDE), STRIDE):
                window = ids[start : start + CONTEXT + 1]
                targets = [token if start + at >= scored else -100 for at, token in enumerate(window)][1:]
                scored = start + len(window)
                padding = CONTEXT + 1 - len(window)
                inputs.append((window + [vocabulary.PAD] * padding)[:CONTEXT])
                labels.append(targets + [-100] * padding)
        self._inputs, self._labels = torch.tensor(inputs), torch.tensor(labels)
        self.tokens = int((self._labels != -100).sum())

    @torch.no_grad()
    def bits_per_byte(self, model: nn.Module, batch: int = 8) -> float:
        """Total -log2 p of the tales' tokens over their UTF-8 bytes."""
        device = next(model.parameters()).device
        model.eval()
        nats = 0.0
        for at in range(0, len(self._inputs), batch):
            out: Tensor = model(self._inputs[at : at + batch].to(device), use_cache=False).logits
            targets = self._labels[at : at + batch].to(device)
            nats += functional.cross_entropy(
                out.float().flatten(0, 1), targets.flatten(), ignore_index=-100, reduction="sum"
            ).item()
        return nats / math.log(2) / self.bytes


def xz_bits_per_byte(tales: list[Document]) -> float:
    """What `xz -9` makes of the same text, all tales in one file."""
    data = "\n\n".join(tale.text for tale in tales).encode()
    return 8 * len(lzma.compress(data, preset=9)) / len(data)
