"""MLX affine quantisation: per group of 64 inputs, w = scale * q + bias, scale and bias in bfloat16.

The same rounding serves training (straight-through) and the file, so the file holds exactly what was trained.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

GROUP = 64
_SHRINKS = (1.0, 0.96, 0.92, 0.88, 0.84, 0.8)


def bits(name: str) -> int | None:
    """Bits of the parameter `name`, or None when it stays bfloat16 (norms, layer scalars)."""
    if "norm" in name or "layer_scalar" in name:
        return None
    # The embeddings, the per-layer table too, and everything that touches per-layer inputs lose most at 4 bits.
    return 8 if "embed_tokens" in name or "per_layer" in name else 4


def affine(weight: Tensor, width: int) -> tuple[Tensor, Tensor, Tensor]:
    """Quantises `weight` [out, in] to `width` bits: codes [out, in/64, 64], scales and biases [out, in/64] bfloat16.

    Each group takes the range, among its own shrunk a little, that has the least squared error.
    """
    groups = weight.detach().float().unflatten(-1, (-1, GROUP))
    low, high = groups.amin(-1, keepdim=True), groups.amax(-1, keepdim=True)
    middle, half = (high + low) / 2, (high - low) / 2
    top = 2**width - 1
    best: list[Tensor] = []
    least = torch.full_like(low, torch.inf)
    for shrink in _SHRINKS if width < 8 else (1.0,):
        scale = (2 * shrink * half / top).clamp_min(1e-8).bfloat16().float()
        bias = (middle - shrink * half).bfloat16().float()
        codes = ((groups - bias) / scale).round().clamp(0, top)
        error = (scale * codes + bias - groups).square().sum(-1, keepdim=True)
        if not best:
            best = [codes, scale, bias]
        better = error < least
        best = [torch.where(better, new, old) for new, old in zip((codes, scale, bias), best, strict=True)]
        least = torch.minimum(error, least)
    codes, scale, bias = best
    return codes, scale.squeeze(-1).bfloat16(), bias.squeeze(-1).bfloat16()


def dequantise(codes: Tensor, scales: Tensor, biases: Tensor) -> Tensor:
    """The float32 matrix [out, in] that the codes stand for."""
    return (scales.float()[..., None] * codes + biases.float()[..., None]).flatten(-2)


def stored(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """The values that the file will hold for `weights`, float32. All groups of one width are rounded at once."""
    result = {name: weight.bfloat16().float() for name, weight in weights.items() if bits(name) is None}
    for width in (4, 8):
        chosen = {name: weight for name, weight in weights.items() if bits(name) == width}
        groups = torch.cat([weight.detach().reshape(-1, GROUP) for weight in chosen.values()])
        rounded = dequantise(*affine(groups, width))
        sizes = [weight.numel() // GROUP for weight in chosen.values()]
        for (name, weight), part in zip(chosen.items(), rounded.split(sizes), strict=True):
            result[name] = part.reshape(weight.shape)
    return result


def pack(codes: Tensor, width: int) -> np.ndarray:
    """Packs codes [out, groups, 64] into u32 [out, in * width / 32], the first code in the lowest bits."""
    flat = codes.flatten(-2).to(torch.int64).numpy().astype(np.uint32)
    each = 32 // width
    words = flat.reshape(flat.shape[0], -1, each)
    shifts = np.arange(each, dtype=np.uint32) * np.uint32(width)
    return np.bitwise_or.reduce(words << shifts, axis=-1).astype(np.uint32)


def unpack(words: np.ndarray, width: int) -> np.ndarray:
    """The codes [out, in] of `pack`'s words."""
    each = 32 // width
    shifts = np.arange(each, dtype=np.uint32) * np.uint32(width)
    codes = (words[..., None] >> shifts) & np.uint32(2**width - 1)
    return codes.reshape(words.shape[0], -1)
