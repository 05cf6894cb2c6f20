"""Makes tests/data/quant/affine.safetensors: what MLX's own quantizer makes of random rows.

usage: pip install "mlx[cpu]==0.32.4" && python tools/make_affine_goldens.py OUT_FILE
Holds "rows" [8, 512] f32, and for each of 4 and 8 bits and groups of 32, 64 and 128 "B-G.codes" (MLX's u32
words), "B-G.scales" and "B-G.biases" (f32: MLX rounds them to the weights' type, which is f32 here).
"""

import sys

import mlx.core as mx


def main():
    mx.random.seed(5)
    rows = mx.random.normal((8, 512)) * mx.array([0.02, 0.1, 1, 0.05, 0.3, 0.01, 0.2, 4.0])[:, None]
    rows = rows + mx.array([0, 0, 0, 0.03, -0.2, 0, 1.0, 0])[:, None]  # some groups of one sign
    tensors = {"rows": rows}
    for bits in (4, 8):
        for group in (32, 64, 128):
            codes, scales, biases = mx.quantize(rows, group_size=group, bits=bits)
            tensors |= {f"{bits}-{group}.codes": codes, f"{bits}-{group}.scales": scales,
                        f"{bits}-{group}.biases": biases}
    mx.save_safetensors(sys.argv[1], tensors)


if __name__ == "__main__":
    main()
