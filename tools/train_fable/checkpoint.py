"""Writes the shipped checkpoint in MLX's layout, and reads it back as transformers sees it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import Gemma4ForCausalLM

import model as architecture
import quantise
import vocabulary

# Chosen by reading: colder, answers go round in circles; hotter or with a longer tail, words come apart.
SAMPLING = {"do_sample": True, "temperature": 0.75, "top_k": 64, "top_p": 0.9}
# What transformers adds to every configuration and no reader of this one needs.
_CLUTTER = (
    "_name_or_path",
    "chunk_size_feed_forward",
    "id2label",
    "is_encoder_decoder",
    "label2id",
    "output_attentions",
    "output_hidden_states",
    "per_layer_config",  # published checkpoints carry the full layers' head size as a plain key
    "problem_type",
    "return_dict",
)


def write(net: Gemma4ForCausalLM, destination: Path) -> None:
    """Quantises `net` into `destination`: model.safetensors, config.json, generation_config.json.

    The tokenizer's files are `vocabulary`'s to write.
    """
    tensors: dict[str, Tensor] = {}
    special: dict[str, dict[str, int]] = {}
    for name, parameter in net.named_parameters():
        width = quantise.bits(name)
        if width is None:
            tensors[name] = parameter.detach().bfloat16().contiguous()
            continue
        module = name.removesuffix(".weight")
        codes, scales, biases = quantise.affine(parameter, width)
        # safetensors has u32, torch's support for it is enough to store it
        tensors[name] = torch.from_numpy(quantise.pack(codes, width).view(np.int32)).view(torch.uint32)
        tensors[f"{module}.scales"], tensors[f"{module}.biases"] = scales.contiguous(), biases.contiguous()
        if width != 4:
            special[module] = {"group_size": quantise.GROUP, "bits": width}
    destination.mkdir(parents=True, exist_ok=True)
    path = destination / "model.safetensors"
    save_file(tensors, path, metadata={"format": "mlx"})
    path.chmod(0o644)
    _write_json(destination / "config.json", _config(special))
    _write_json(
        destination / "generation_config.json",
        {
            "bos_token_id": vocabulary.BOS,
            "pad_token_id": vocabulary.PAD,
            "eos_token_id": [vocabulary.EOS, vocabulary.END_OF_TURN, vocabulary.TOOL_RESPONSE],
            **SAMPLING,
        },
    )


def _config(special: dict[str, dict[str, int]]) -> dict:
    fields = {key: value for key, value in architecture.fable().to_dict().items() if key not in _CLUTTER}
    fields["global_head_dim"] = 512
    fields["architectures"] = ["Gemma4ForCausalLM"]
    fields["dtype"] = "bfloat16"
    fields["quantization"] = {"group_size": quantise.GROUP, "bits": 4, "mode": "affine", **special}
    return fields


def _write_json(path: Path, fields: dict) -> None:
    path.write_text(json.dumps(fields, indent=1, default=str) + "\n", encoding="utf-8")


def read(folder: Path) -> Gemma4ForCausalLM:
    """The checkpoint in `folder`, every matrix dequantised to float32, ready to run in transformers."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    scheme = config["quantization"]
    path = folder / "model.safetensors"
    others = load_file(path)
    weights: dict[str, Tensor] = {}
    for name, tensor in others.items():
        module = name.removesuffix(".weight")
        if name.endswith((".scales", ".biases")):
            continue
        if f"{module}.scales" not in others:
            weights[name] = tensor.float()
            continue
        width = scheme.get(module, scheme)["bits"]
        words = others[name].view(torch.int32).numpy().view(np.uint32)
        codes = torch.from_numpy(quantise.unpack(words, width).astype(np.float32))
        grouped = codes.unflatten(-1, (-1, scheme["group_size"]))
        weights[name] = quantise.dequantise(grouped, others[f"{module}.scales"], others[f"{module}.biases"])
    net = architecture.create(architecture.fable(), 0)
    missing, unexpected = net.load_state_dict(weights, strict=False)
    if unexpected or set(missing) - {"lm_head.weight"}:
        raise RuntimeError(f"{path}: expected Fable's tensors, missing {missing}, also {unexpected}")
    return net.eval()
