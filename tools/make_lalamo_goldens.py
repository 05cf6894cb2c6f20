"""Makes tests/data/formats/lalamo: a tiny Gemma 4 as a Hugging Face checkpoint, and lalamo's own exports of it.

usage, with Python 3.12:
  pip install lalamo==0.15.0 && python tools/make_lalamo_goldens.py OUT_DIR    # hf, current, current-{mlx4,int4,int8,symmetric4}
  pip install lalamo==0.6.14 && python tools/make_lalamo_goldens.py OUT_DIR    # nested

The checkpoint holds k and v of the layers that share them, as the published E2B does.
"""

import dataclasses
import importlib.metadata
import json
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from lalamo.safetensors import safe_read, safe_write
from tokenizers import Tokenizer, models

GROUP = 32
TEXT = {
    "model_type": "gemma4_text", "vocab_size": 48, "hidden_size": 32, "intermediate_size": 32,
    "num_hidden_layers": 4, "num_attention_heads": 2, "num_key_value_heads": 1,
    "num_global_key_value_heads": None, "head_dim": 16, "global_head_dim": 32,
    "hidden_activation": "gelu_pytorch_tanh", "max_position_embeddings": 256, "rms_norm_eps": 1e-6,
    "pad_token_id": 0, "eos_token_id": 1, "bos_token_id": 2, "tie_word_embeddings": True, "attention_bias": False,
    "sliding_window": 16, "final_logit_softcapping": 30.0, "vocab_size_per_layer_input": 48,
    "hidden_size_per_layer_input": 32, "attention_k_eq_v": False, "num_kv_shared_layers": 2,
    "enable_moe_block": False, "use_double_wide_mlp": True,
    "layer_types": ["sliding_attention", "full_attention", "sliding_attention", "full_attention"],
    "rope_parameters": {
        "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
        "full_attention": {"rope_type": "proportional", "partial_rotary_factor": 0.25, "rope_theta": 1e6},
    },
}


def tensors():
    rng = np.random.default_rng(7)
    hidden, ple, layers = TEXT["hidden_size"], TEXT["hidden_size_per_layer_input"], TEXT["num_hidden_layers"]
    shapes = {
        "embed_tokens.weight": (TEXT["vocab_size"], hidden),
        "embed_tokens_per_layer.weight": (TEXT["vocab_size_per_layer_input"], layers * ple),
        "per_layer_model_projection.weight": (layers * ple, hidden),
        "per_layer_projection_norm.weight": (ple,),
        "norm.weight": (hidden,),
    }
    for layer, kind in enumerate(TEXT["layer_types"]):
        dim = TEXT["global_head_dim" if kind == "full_attention" else "head_dim"]
        ffn = TEXT["intermediate_size"] * (2 if layer >= layers - TEXT["num_kv_shared_layers"] else 1)
        for name, shape in {
            "self_attn.q_proj.weight": (TEXT["num_attention_heads"] * dim, hidden),
            "self_attn.k_proj.weight": (dim, hidden),
            "self_attn.v_proj.weight": (dim, hidden),
            "self_attn.o_proj.weight": (hidden, TEXT["num_attention_heads"] * dim),
            "self_attn.q_norm.weight": (dim,),
            "self_attn.k_norm.weight": (dim,),
            "mlp.gate_proj.weight": (ffn, hidden),
            "mlp.up_proj.weight": (ffn, hidden),
            "mlp.down_proj.weight": (hidden, ffn),
            "per_layer_input_gate.weight": (ple, hidden),
            "per_layer_projection.weight": (hidden, ple),
            "input_layernorm.weight": (hidden,),
            "post_attention_layernorm.weight": (hidden,),
            "pre_feedforward_layernorm.weight": (hidden,),
            "post_feedforward_layernorm.weight": (hidden,),
            "post_per_layer_input_norm.weight": (hidden,),
            "layer_scalar": (1,),
        }.items():
            shapes[f"layers.{layer}.{name}"] = shape
    return {
        "model.language_model." + name: jnp.asarray(
            rng.standard_normal(shape) * (0.2 if len(shape) > 1 else 0.1) + (len(shape) == 1), jnp.bfloat16
        )
        for name, shape in shapes.items()
    }


def save_hf(directory):
    directory.mkdir(parents=True, exist_ok=True)
    config = {"model_type": "gemma4", "dtype": "bfloat16", "text_config": TEXT, "eos_token_id": [1, 5]}
    (directory / "config.json").write_text(json.dumps(config, indent=1))
    with (directory / "model.safetensors").open("wb") as file:
        safe_write(file, tensors())


def load_hf(directory):
    file = (directory / "model.safetensors").open("rb")
    _, weights = safe_read(file)
    return weights


def tokenizer():
    return Tokenizer(models.BPE(vocab={"a": 0}, merges=[]))


def export_current(out):
    from lalamo.compressed.int import IntSpec
    from lalamo.compressed.mlx import MLXSpec
    from lalamo.model_import.model_configs.huggingface.gemma4 import HFGemma4Config
    from lalamo.models import GenerationConfig
    from lalamo.models.chat_codec import ChatCodecConfig
    from lalamo.utils.sharding import ShardingConfig
    from lalamo.weight_matrix import FullPrecisionMatrix, WeightMatrix

    foreign = HFGemma4Config.from_json(out / "hf" / "config.json")
    codec = ChatCodecConfig(
        prompt_template="", output_parser_regex=None, system_role_name="system", user_role_name="user",
        assistant_role_name="model", eos_token="<eos>", bos_token="<bos>", end_of_thinking_tag=None)
    generation = GenerationConfig(stop_token_ids=(1, 5), temperature=1.0, top_k=64, top_p=0.95)
    sharding = ShardingConfig.replicated()
    config = foreign.to_lalamo_config(None, {}, codec, generation)
    model = foreign.load(config, tokenizer(), jnp.bfloat16, load_hf(out / "hf"), sharding_config=sharding)
    model.save(out / "current")
    specs = {
        "mlx4": MLXSpec(bits=4, group_size=GROUP),
        "int4": IntSpec(bits=4, group_size=GROUP),
        "int8": IntSpec(bits=8, group_size=GROUP),
        "symmetric4": IntSpec(bits=4, group_size=GROUP, is_symmetric=True),
    }
    for name, spec in specs.items():

        def compress(matrix, spec=spec):
            if not isinstance(matrix, FullPrecisionMatrix):
                return matrix
            spec = dataclasses.replace(spec, layout=matrix.spec.layout)
            return spec.compress(matrix.decompress(), sharding_config=sharding, is_sharded=matrix.is_sharded)

        compressed = jax.tree.map(compress, model, is_leaf=lambda node: isinstance(node, WeightMatrix))
        compressed.save(out / f"current-{name}")
    for directory in out.glob("current*"):
        (directory / "tokenizer.json").unlink()


def export_nested(out):
    from lalamo.common import flatten_parameters
    from lalamo.model_import.common import ModelMetadata
    from lalamo.model_import.model_configs.huggingface.gemma4 import HFGemma4Config
    from lalamo.model_import.model_specs.common import ModelType
    from lalamo.message_processor import MessageProcessorConfig
    from lalamo.models import GenerationConfig, LanguageModelConfig
    from lalamo.modules.common import config_converter

    foreign = HFGemma4Config.from_json(out / "hf" / "config.json")
    decoder = foreign.load(None, jnp.bfloat16, jnp.float32, load_hf(out / "hf"), {})
    config = LanguageModelConfig(
        model_config=decoder.config,
        message_processor_config=MessageProcessorConfig(
            prompt_template="", output_parser_regex=None, system_role_name="system", user_role_name="user",
            assistant_role_name="model", eos_token="<eos>", bos_token="<bos>"),
        generation_config=GenerationConfig(stop_token_ids=(1, 5), temperature=1.0, top_k=64, top_p=0.95))
    metadata = ModelMetadata(
        toolchain_version=importlib.metadata.version("lalamo"), vendor="none", family="tiny", name="tiny",
        size="0", quantization=None, repo="none", use_cases=(), model_type=ModelType.LANGUAGE_MODEL,
        model_config=config, grammar_start_tokens=())
    directory = out / "nested"
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / "model.safetensors").open("wb") as file:
        safe_write(file, flatten_parameters(decoder.export_weights()))
    (directory / "config.json").write_text(json.dumps(config_converter.unstructure(metadata, ModelMetadata), indent=1))


def main():
    out = Path(sys.argv[1])
    save_hf(out / "hf")
    if importlib.metadata.version("lalamo").startswith("0.6."):
        export_nested(out)
    else:
        export_current(out)


if __name__ == "__main__":
    main()
