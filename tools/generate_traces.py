#!/usr/bin/env python3
"""Records every activation of a Gemma 4 checkpoint with Hugging Face transformers, for `facet validate`.

    python3 -m venv .venv && .venv/bin/pip install -r tools/generate_traces.requirements.txt
    .venv/bin/python tools/generate_traces.py MODEL OUT.safetensors --prompt "Once upon a time"
    facet validate MODEL OUT.safetensors

The file holds `input_ids` (i32) and, as f32 with the batch axis dropped, the output of every module under its
module path (`model.layers.0.self_attn.q_proj`, ...), `per_layer_inputs`, and `logits` after soft-capping.
"""

from __future__ import annotations

import argparse
import pathlib
import sys

import torch
import transformers
from safetensors.torch import save_file
from transformers.models.gemma4 import modeling_gemma4 as gemma4

# Modules worth a trace, by the last part of their path.
LEAVES = (
    "_proj",
    "norm",
    "layernorm_1",
    "layernorm_2",
    "_gate",
    "_projection",
    "mlp",
    "self_attn",
    "router",
    "experts",
)
DTYPES = {"float32": torch.float32, "bf16": torch.bfloat16}


def load(path: str, dtype: torch.dtype, device: str) -> tuple[torch.nn.Module, gemma4.Gemma4TextModel]:
    """Returns the whole model and its text part; a multimodal wrapper's towers are loaded but not used."""
    config = transformers.AutoConfig.from_pretrained(path)
    kind = (
        gemma4.Gemma4ForConditionalGeneration if config.model_type == "gemma4" else gemma4.Gemma4ForCausalLM
    )
    model = kind.from_pretrained(path, dtype=dtype, attn_implementation="eager").to(device).eval()
    text = next(m for m in model.modules() if isinstance(m, gemma4.Gemma4TextModel))
    return model, text


def record(model: torch.nn.Module, text: gemma4.Gemma4TextModel, ids: torch.Tensor, layers_only: bool) -> dict:
    """Runs `ids` [1, tokens] through the model and returns the trace's tensors."""
    trace: dict[str, torch.Tensor] = {}

    def hook(name: str):
        def keep(_module, _inputs, output):
            output = output[0] if isinstance(output, tuple) else output
            if torch.is_tensor(output):
                trace[name] = output.detach()[0] if output.dim() >= 3 else output.detach()

        return keep

    handles = []
    for path, module in text.named_modules():
        is_layer = path.startswith("layers.") and path.count(".") == 1
        is_end = path in ("embed_tokens", "norm")
        if is_layer or is_end or (path and not layers_only and path.endswith(LEAVES)):
            handles.append(module.register_forward_hook(hook(f"model.{path}")))
    with torch.no_grad():
        logits = model(input_ids=ids, use_cache=False).logits[0]
        if text.config.hidden_size_per_layer_input:
            embeddings = text.embed_tokens(ids)
            inputs = text.get_per_layer_inputs(ids, embeddings)
            trace["per_layer_inputs"] = text.project_per_layer_inputs(embeddings, inputs)[0]
    for handle in handles:
        handle.remove()
    trace["logits"] = logits
    tensors = {name: value.float().contiguous().cpu().clone() for name, value in trace.items()}
    tensors["input_ids"] = ids[0].to(torch.int32).cpu()
    return tensors


def read_ids(arguments: argparse.Namespace) -> torch.Tensor:
    """The tokens to run: given as ids, or a prompt through the checkpoint's tokenizer."""
    if arguments.ids:
        return torch.tensor([[int(i) for i in arguments.ids.split(",")]])
    prompt = arguments.prompt if arguments.prompt is not None else arguments.prompt_file.read_text("utf-8")
    tokenizer = transformers.AutoTokenizer.from_pretrained(arguments.model)
    return tokenizer(prompt, return_tensors="pt").input_ids


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="checkpoint directory or hub name")
    parser.add_argument("out", type=pathlib.Path, help="safetensors file to write")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--prompt", help="text to run")
    source.add_argument("--prompt-file", type=pathlib.Path, help="file with the text to run")
    source.add_argument("--ids", help="token ids to run, as 2,3,4")
    parser.add_argument("--dtype", choices=DTYPES, default="float32", help="to compute in (default: %(default)s)")
    parser.add_argument("--layers-only", action="store_true", help="leave the inner modules out")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    arguments = parser.parse_args()

    ids = read_ids(arguments).to(arguments.device)
    model, text = load(arguments.model, DTYPES[arguments.dtype], arguments.device)
    tensors = record(model, text, ids, arguments.layers_only)
    metadata = {
        "transformers": transformers.__version__,
        "torch": torch.__version__,
        "dtype": arguments.dtype,
    }
    save_file(tensors, arguments.out, metadata=metadata)
    print(f"{arguments.out}: {len(tensors)} tensors over {ids.shape[1]} tokens", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
