"""Makes tests/data/formats/mlx: a tiny random Gemma 4 quantized by mlx-lm, with mlx-lm's own logits in float32.

usage: pip install "mlx[cpu]==0.32.4" mlx-lm==0.32.2 && python tools/make_mlx_goldens.py OUT_DIR
Writes OUT_DIR/NAME/{config.json, model.safetensors, model.safetensors.index.json, expected.safetensors}.
"""

import json
import sys
import tempfile
from pathlib import Path

import mlx.core as mx
from mlx_lm.utils import load_model, quantize_model, save_config, save_model

TEXT = {
    "model_type": "gemma4_text", "vocab_size": 64, "hidden_size": 128, "intermediate_size": 128,
    "num_hidden_layers": 3, "num_attention_heads": 2, "num_key_value_heads": 1,
    "num_global_key_value_heads": None, "head_dim": 64, "global_head_dim": 64,
    "hidden_activation": "gelu_pytorch_tanh", "max_position_embeddings": 256, "rms_norm_eps": 1e-6,
    "pad_token_id": 0, "eos_token_id": 1, "bos_token_id": 2, "tie_word_embeddings": True, "attention_bias": False,
    "sliding_window": 8, "final_logit_softcapping": 30.0, "vocab_size_per_layer_input": 64,
    "hidden_size_per_layer_input": 128, "attention_k_eq_v": False, "num_kv_shared_layers": 1,
    "enable_moe_block": False, "use_double_wide_mlp": True,
    "layer_types": ["sliding_attention", "full_attention", "full_attention"],
    "rope_parameters": {
        "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
        "full_attention": {"rope_type": "proportional", "partial_rotary_factor": 0.25, "rope_theta": 1e6},
    },
}
IDS = [2, 5, 9, 33, 17, 7, 50, 61, 12, 3, 44, 20]


def tensors():
    """The checkpoint as Hugging Face names it."""
    mx.random.seed(11)
    hidden, ple, layers, vocab = 128, 128, TEXT["num_hidden_layers"], TEXT["vocab_size"]
    shapes = {
        "embed_tokens.weight": (vocab, hidden),
        "embed_tokens_per_layer.weight": (vocab, layers * ple),
        "per_layer_model_projection.weight": (layers * ple, hidden),
        "per_layer_projection_norm.weight": (ple,),
        "norm.weight": (hidden,),
    }
    for layer in range(layers):
        shared = layer >= layers - TEXT["num_kv_shared_layers"]
        ffn = TEXT["intermediate_size"] * (2 if shared else 1)
        parts = {
            "self_attn.q_proj.weight": (128, hidden), "self_attn.o_proj.weight": (hidden, 128),
            "self_attn.q_norm.weight": (64,),
            "mlp.gate_proj.weight": (ffn, hidden), "mlp.up_proj.weight": (ffn, hidden),
            "mlp.down_proj.weight": (hidden, ffn),
            "per_layer_input_gate.weight": (ple, hidden), "per_layer_projection.weight": (hidden, ple),
            "layer_scalar": (1,),
        }
        if not shared:
            parts |= {"self_attn.k_proj.weight": (64, hidden), "self_attn.v_proj.weight": (64, hidden),
                      "self_attn.k_norm.weight": (64,)}
        for norm in ("input_layernorm", "post_attention_layernorm", "pre_feedforward_layernorm",
                     "post_feedforward_layernorm", "post_per_layer_input_norm"):
            parts[norm + ".weight"] = (hidden,)
        shapes |= {f"layers.{layer}.{name}": shape for name, shape in parts.items()}
    return {
        "model." + name: (
            mx.random.normal(shape) * (shape[-1] ** -0.5 if len(shape) > 1 else 0.1) + (len(shape) == 1)
        ).astype(mx.bfloat16)
        for name, shape in shapes.items()
    }


def mixed(path, _module):
    """8 bits for the tables and down projections, none for attention, the default for the rest."""
    if "embed_tokens" in path:
        return {"group_size": 64, "bits": 8}
    if "down_proj" in path:
        return {"group_size": 128, "bits": 8}
    return "self_attn" not in path


VARIANTS = {
    "4bit-group32": dict(bits=4, group_size=32),
    "4bit-group128": dict(bits=4, group_size=128),
    "mixed": dict(bits=4, group_size=32, quant_predicate=mixed),
}


def main():
    out = Path(sys.argv[1])
    with tempfile.TemporaryDirectory() as temporary:
        source = Path(temporary)
        (source / "config.json").write_text(json.dumps(TEXT))
        mx.save_safetensors(str(source / "model.safetensors"), tensors(), metadata={"format": "pt"})
        for name, options in VARIANTS.items():
            directory = out / name
            directory.mkdir(parents=True, exist_ok=True)
            model, config = load_model(source, lazy=False)
            model, config = quantize_model(model, config, **options)
            save_model(directory, model)
            save_config(config, directory / "config.json")
            model.set_dtype(mx.float32)  # the stored values, computed with in float32
            logits = model(mx.array([IDS]))[0]
            expected = {"input_ids": mx.array(IDS, mx.int32), "logits": logits.astype(mx.float32)}
            mx.save_safetensors(str(directory / "expected.safetensors"), expected)


if __name__ == "__main__":
    main()
