"""Makes the test data: what transformers computes from the dequantised checkpoint."""

from __future__ import annotations

import json
from pathlib import Path

import torch
import transformers
from safetensors.torch import save_file
from tokenizers import Tokenizer
from torch import Tensor, nn
from transformers import Gemma4ForCausalLM

import checkpoint
from sample import chat_prompt

TRACED = (
    "Once upon a time there was a fox who lived in a hole under an old oak, and every evening he went out to look for "
    "his supper."
)
PROMPTS = (
    "Once upon a time",
    "There was once a king who had three sons",
    "The little duck looked at the water",
    chat_prompt("Tell me a story about a fox"),
    chat_prompt("Tell me a bedtime story."),
)
TRACED_TOKENS = 26
GENERATED = 200


@torch.no_grad()
def build(folder: Path, destination: Path) -> None:
    """Writes trace.safetensors and expected.json for the checkpoint in `folder`."""
    net = checkpoint.read(folder)
    net.config._attn_implementation = "eager"
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    destination.mkdir(parents=True, exist_ok=True)
    ids = torch.tensor([tokenizer.encode(TRACED).ids[:TRACED_TOKENS]])
    path = destination / "trace.safetensors"
    save_file(_trace(net, ids), path)
    path.chmod(0o644)
    cases = [_greedy(net, tokenizer, prompt) for prompt in PROMPTS]
    expected = {"cases": cases, "transformers": transformers.__version__, "torch": torch.__version__}
    (destination / "expected.json").write_text(json.dumps(expected, indent=1) + "\n", encoding="utf-8")
    for case in cases:
        print(f"smallest top-2 gap {min(case['greedy_top2_gap']):.4f}: {case['greedy_text'][:100]!r}")


def _trace(net: Gemma4ForCausalLM, ids: Tensor) -> dict[str, Tensor]:
    """What each layer, its attention and its MLP give, the embeddings, per-layer inputs, final norm and logits."""
    trace: dict[str, Tensor] = {}
    hooks = []

    def keep(name: str) -> None:
        def hook(_module: nn.Module, _inputs: tuple, output: Tensor | tuple) -> None:
            trace[name] = (output[0] if isinstance(output, tuple) else output)[0].clone().contiguous()

        hooks.append(net.get_submodule(name).register_forward_hook(hook))

    names = ["model.embed_tokens", "model.norm"]
    for index in range(net.config.num_hidden_layers):
        names += [f"model.layers.{index}{part}" for part in ("", ".self_attn", ".mlp")]
    for name in names:
        keep(name)
    logits = net(ids, use_cache=False).logits[0]
    for hook in hooks:
        hook.remove()
    embedded = net.model.embed_tokens(ids)
    of_tokens = net.model.get_per_layer_inputs(ids, embedded)
    trace["per_layer_inputs"] = net.model.project_per_layer_inputs(embedded, of_tokens)[0].contiguous()
    trace["logits"] = logits.float().contiguous()
    trace["input_ids"] = ids[0].to(torch.int32)
    return trace


def _greedy(net: Gemma4ForCausalLM, tokenizer: Tokenizer, prompt: str) -> dict:
    """The likeliest 200 tokens after `prompt`, ends of turn and all, and how far each led the runner-up."""
    prompt_ids = tokenizer.encode(prompt).ids
    fed, past = torch.tensor([prompt_ids]), None
    generated: list[int] = []
    gaps: list[float] = []
    for _ in range(GENERATED):
        out = net(fed, past_key_values=past, use_cache=True)
        past = out.past_key_values
        top = out.logits[0, -1].topk(2)
        gaps.append(round(float(top.values[0] - top.values[1]), 6))
        generated.append(int(top.indices[0]))
        fed = torch.tensor([[generated[-1]]])
    return {
        "prompt": prompt,
        "prompt_ids": prompt_ids,
        "greedy_ids": generated,
        "greedy_text": tokenizer.decode(generated, skip_special_tokens=False),
        "greedy_top2_gap": gaps,
    }
