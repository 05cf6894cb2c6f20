"""Makes tests/data/quant/blocks.safetensors: blocks of every GGUF encoding with the values that the gguf
package gives them, and numbers with the blocks that it encodes them to.

usage: pip install -r tools/quant_requirements.txt && python tools/make_quant_goldens.py OUT.safetensors

Codes are random bytes, so every bit pattern of a block occurs; scales are random finite halves, with zero,
the smallest subnormal and the largest half among them.
"""

import sys

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType as T
from gguf.quants import dequantize, quantize
from safetensors.numpy import save_file

# Byte offsets of the half-precision scales in a block.
SCALES = {
    T.Q4_0: [0], T.Q4_1: [0, 2], T.Q5_0: [0], T.Q5_1: [0, 2], T.Q8_0: [0],
    T.Q2_K: [80, 82], T.Q3_K: [108], T.Q4_K: [0, 2], T.Q5_K: [0, 2], T.Q6_K: [208],
    T.IQ4_NL: [0], T.IQ4_XS: [0],
}
SPECIAL = np.array([0.0, 2.0**-24, 65504.0, -1.0], np.float16)


def make(kind, rng):
    elements, size = GGML_QUANT_SIZES[kind]
    count = 1024 // elements
    blocks = rng.integers(0, 256, (count, size), dtype=np.uint8)
    for offset in SCALES[kind]:
        scales = (rng.standard_normal(count) * 0.1).astype(np.float16)
        special = rng.permutation(SPECIAL)[: max(1, min(4, count // 2))]
        scales[: len(special)] = special
        blocks[:, offset : offset + 2] = scales.view(np.uint8).reshape(count, 2)
    values = dequantize(blocks.reshape(-1), kind).astype(np.float32).reshape(-1)
    assert np.isfinite(values).all()
    return blocks, values


def main():
    rng = np.random.default_rng(4)
    tensors = {}
    for kind in SCALES:
        tensors[kind.name.lower() + ".blocks"], tensors[kind.name.lower() + ".values"] = make(kind, rng)
    numbers = (rng.standard_normal(1024) * np.repeat(2.0 ** np.arange(-20, 12), 32)).astype(np.float32)
    numbers[:32] = 0
    numbers[40] = -numbers[32:64].max()  # two elements of the same magnitude
    tensors["numbers"] = numbers
    for kind in (T.Q4_0, T.Q4_1, T.Q5_0, T.Q5_1, T.Q8_0):
        with np.errstate(over="ignore"):
            tensors[kind.name.lower() + ".encoded"] = quantize(numbers, kind)
    save_file(tensors, sys.argv[1])


if __name__ == "__main__":
    main()
