"""Attention as training computes it: the same function as transformers', in fewer operations.

Fable has one key-value head, so all query heads of a position can be rows of one matrix product. In sliding layers a
query of block i sees keys of blocks i - 1 and i alone when a block is as long as the window, so scores outside the
window's two blocks are never computed. Sequences must be causal, unpadded on the left and of a multiple of the window.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

NAME = "fable_blocks"


def _attend(query: Tensor, key: Tensor, value: Tensor, visible: Tensor, scale: float) -> Tensor:
    """Softmax attention: query [n, heads, rows, d], key and value [n, columns, d], visible [rows, columns] bool."""
    count, heads, rows, width = query.shape
    scores = query.reshape(count, heads * rows, width) @ key.transpose(-1, -2)
    scores = scores.view(count, heads, rows, -1).float() * scale
    weights = scores.masked_fill(~visible, -1e30).softmax(-1).to(value.dtype)
    return (weights.view(count, heads * rows, -1) @ value).view(count, heads, rows, width)


def blocks(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float,
    sliding_window: int | None = None,
    **_: object,
) -> tuple[Tensor, None]:
    """transformers' attention interface: query [b, heads, t, d], key and value [b, 1, t, d] to
    [b, t, heads, d]."""
    batch, heads, length, width = query.shape
    key, value = key.squeeze(1), value.squeeze(1).to(query.dtype)
    key = key.to(query.dtype)
    if sliding_window is None or length <= sliding_window:
        at = torch.arange(length, device=query.device)
        return _attend(query, key, value, at[:, None] >= at[None, :], scaling).transpose(1, 2), None
    window = sliding_window
    count = length // window
    row, column = torch.arange(window, device=query.device), torch.arange(2 * window, device=query.device)
    behind = row[:, None] + window - column[None, :]  # how far back a key lies
    visible = (behind >= 0) & (behind < window)

    def pairs(x: Tensor) -> Tensor:
        """Each block with the one before it; before the first are zeros, which `first` hides."""
        split = x.view(batch, count, window, width)
        before = torch.cat([torch.zeros_like(split[:, :1]), split[:, :-1]], 1)
        return torch.cat([before, split], 2).view(batch * count, 2 * window, width)

    exists = torch.ones(count, 1, 2 * window, dtype=torch.bool, device=query.device)
    exists[0, :, :window] = False
    split = query.view(batch, heads, count, window, width).transpose(1, 2).reshape(batch * count, heads, window, width)
    seen = (visible[None] & exists).repeat(batch, 1, 1)[:, None]  # [b * blocks, 1, window, 2 * window]
    out = _attend(split, pairs(key), pairs(value), seen, scaling)
    out = out.view(batch, count, heads, window, width).permute(0, 1, 3, 2, 4)
    return out.reshape(batch, length, heads, width), None


ALL_ATTENTION_FUNCTIONS.register(NAME, blocks)
