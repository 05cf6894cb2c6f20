"""Fable's shape, and the parts that training adds around transformers' own Gemma 4."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import Gemma4ForCausalLM, Gemma4TextConfig
from transformers.models.gemma4.modeling_gemma4 import (
    Gemma4RMSNorm,
    Gemma4TextAttention,
    Gemma4TextModel,
)

import vocabulary
from sequences import CONTEXT

LAYERS = 10
OWNING = 5  # layers that keep keys and values of their own; the rest share the last of their kind
WINDOW = 128
_PATTERN = ["sliding_attention"] * 4 + ["full_attention"]


def configuration(hidden: int, intermediate: int, heads: int, dropout: float = 0.0) -> Gemma4TextConfig:
    """Gemma 4 E2B's architecture at `hidden` width; `dropout` is on attention weights and is not stored."""
    return Gemma4TextConfig(
        vocab_size=vocabulary.SIZE,
        vocab_size_per_layer_input=vocabulary.SIZE,
        hidden_size=hidden,
        hidden_size_per_layer_input=64,
        intermediate_size=intermediate,
        num_hidden_layers=LAYERS,
        num_kv_shared_layers=LAYERS - OWNING,
        use_double_wide_mlp=True,
        num_attention_heads=heads,
        num_key_value_heads=1,
        head_dim=256,
        global_head_dim=512,
        layer_types=_PATTERN * (LAYERS // len(_PATTERN)),
        sliding_window=WINDOW,
        max_position_embeddings=CONTEXT,
        final_logit_softcapping=30.0,
        rope_parameters={
            "sliding_attention": {"rope_type": "default", "rope_theta": 10_000.0},
            "full_attention": {"rope_type": "proportional", "partial_rotary_factor": 0.25, "rope_theta": 1_000_000.0},
        },
        pad_token_id=vocabulary.PAD,
        bos_token_id=vocabulary.BOS,
        eos_token_id=vocabulary.EOS,
        tie_word_embeddings=True,
        attention_dropout=dropout,
    )


def fable(dropout: float = 0.0) -> Gemma4TextConfig:
    """The model that ships."""
    return configuration(hidden=256, intermediate=768, heads=4, dropout=dropout)


def create(config: Gemma4TextConfig, seed: int, dropout: float = 0.0) -> Gemma4ForCausalLM:
    """A model with fresh weights, its layer scalars trainable and `dropout` on what is added to the residual."""
    torch.manual_seed(seed)
    config._attn_implementation = "sdpa"
    model = Gemma4ForCausalLM(config)
    for layer in model.model.layers:
        # transformers holds the scalar as a buffer, which no optimiser sees
        del layer.layer_scalar
        layer.layer_scalar = nn.Parameter(torch.ones(1))
        _soften(layer.self_attn)
    if dropout:
        _add_dropout(model.model, dropout)
    return model


@torch.no_grad()
def _soften(attention: Gemma4TextAttention) -> None:
    """Starts attention at the usual temperature.

    Gemma 4 has no 1/sqrt(head_dim): queries and keys of norm sqrt(head_dim) give scores with a spread of 16 and more,
    so a fresh model attends to one token at random and hardly learns to look elsewhere. The norms' weights take the
    factor over.
    """
    attention.q_norm.weight.fill_(attention.head_dim**-0.25)
    if not attention.is_kv_shared_layer:
        attention.k_norm.weight.fill_(attention.head_dim**-0.25)


def _add_dropout(base: Gemma4TextModel, rate: float) -> None:
    def drop(module: nn.Module, _inputs: tuple, output: Tensor) -> Tensor:
        return functional.dropout(output, rate, module.training)

    base.embed_tokens.register_forward_hook(drop)
    base.embed_tokens_per_layer.register_forward_hook(drop)
    for layer in base.layers:
        layer.post_attention_layernorm.register_forward_hook(drop)
        layer.post_feedforward_layernorm.register_forward_hook(drop)
        layer.post_per_layer_input_norm.register_forward_hook(drop)


def logits(base: Gemma4TextModel, hidden: Tensor, embedding: Tensor) -> Tensor:
    """Soft-capped logits [..., vocabulary] of the tied head, from `hidden` [..., width]."""
    cap = base.config.final_logit_softcapping
    return cap * torch.tanh(functional.linear(hidden, embedding).float() / cap)


def fuse_norms() -> None:
    """Swaps the arithmetic of every RMS norm for PyTorch's fused kernel: the same function, in one pass."""

    def forward(self: Gemma4RMSNorm, hidden_states: Tensor) -> Tensor:
        weight = self.weight if self.with_scale else None
        shape = hidden_states.shape[-1:]
        return functional.rms_norm(hidden_states.float(), shape, weight, self.eps).type_as(hidden_states)

    Gemma4RMSNorm.forward = forward
