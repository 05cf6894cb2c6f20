// GGUF's block formats: one function a format, which decodes one block into f32.
// Every product of a scale and a code is exact in f32, so each value is rounded at most once, in the sum with
// a minimum. Layouts: ggml's ggml-common.h; checked value by value against the gguf Python package.
#pragma once

#include <cstddef>

namespace facet {

// Blocks of 32 with one scale (legacy_blocks.cc).
void decode_q4_0(const std::byte* block, float* out) noexcept;  // out [32]; w = d·(q − 8)
void decode_q4_1(const std::byte* block, float* out) noexcept;  // w = d·q + m
void decode_q5_0(const std::byte* block, float* out) noexcept;  // w = d·(q − 16)
void decode_q5_1(const std::byte* block, float* out) noexcept;  // w = d·q + m
void decode_q8_0(const std::byte* block, float* out) noexcept;  // w = d·q

// Super-blocks of 256 with scales that are quantized themselves (k_blocks.cc).
void decode_q2_k(const std::byte* block, float* out) noexcept;  // out [256]; w = d·s·q − m·t, 16 sub-blocks
void decode_q3_k(const std::byte* block, float* out) noexcept;  // w = d·s·q, 16 sub-blocks
void decode_q4_k(const std::byte* block, float* out) noexcept;  // w = d·s·q − m·t, 8 sub-blocks
void decode_q5_k(const std::byte* block, float* out) noexcept;  // as q4_k, with a fifth bit
void decode_q6_k(const std::byte* block, float* out) noexcept;  // w = d·s·(q − 32), 16 sub-blocks

// Codes that index a table of 16 uneven levels (iq4_blocks.cc).
void decode_iq4_nl(const std::byte* block, float* out) noexcept;  // out [32]; w = d·level[q]
void decode_iq4_xs(const std::byte* block, float* out) noexcept;  // out [256]; w = d·s·level[q], 8 sub-blocks

// Encoding, to nearest as ggml's reference quantizer rounds: the codes of one block of 32 (encode_blocks.cc).
void encode_q4_0(const float* in, std::byte* block) noexcept;  // in [32]
void encode_q4_1(const float* in, std::byte* block) noexcept;
void encode_q5_0(const float* in, std::byte* block) noexcept;
void encode_q5_1(const float* in, std::byte* block) noexcept;
void encode_q8_0(const float* in, std::byte* block) noexcept;

}  // namespace facet
