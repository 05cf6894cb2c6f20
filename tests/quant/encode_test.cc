// Encoders against the gguf Python package, bit by bit (tools/make_quant_goldens.py).
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <filesystem>
#include <limits>

#include "formats/safetensors.h"
#include "quant/blocks.h"
#include "support/paths.h"
#include "tensor/matrix_view.h"

namespace facet {
namespace {

using Codec = void (*)(const float*, std::byte*) noexcept;

struct Encoder {
  Encoding encoding;
  Codec encode;
};

void PrintTo(const Encoder& encoder, std::ostream* out) {
  *out << encoding_name(encoder.encoding);
}

class BlockEncoder : public ::testing::TestWithParam<Encoder> {};

TEST_P(BlockEncoder, EncodesAsTheReferenceDoes) {
  const SafetensorsFile file(testing::data_dir() / "quant" / "blocks.safetensors");
  const std::string name(encoding_name(GetParam().encoding));
  const StoredTensor* numbers = file.find("numbers");
  const StoredTensor* encoded = file.find(name + ".encoded");
  ASSERT_NE(numbers, nullptr);
  ASSERT_NE(encoded, nullptr);
  const auto size = static_cast<size_t>(encoding_block_bytes(GetParam().encoding));
  ASSERT_EQ(encoded->bytes.size(), 32 * size);
  std::vector<float> values(1024);
  std::memcpy(values.data(), numbers->bytes.data(), numbers->bytes.size());
  std::vector<std::byte> block(size);
  for (size_t b = 0; b < 32; ++b) {
    GetParam().encode(&values[32 * b], block.data());
    ASSERT_EQ(std::memcmp(block.data(), encoded->bytes.data() + b * size, size), 0) << name << " block " << b;
  }
}

TEST_P(BlockEncoder, TakesNumbersThatAreNotFinite) {
  std::vector<float> values(32, 1);
  values[3] = std::numeric_limits<float>::quiet_NaN();
  values[5] = std::numeric_limits<float>::infinity();
  std::vector<std::byte> block(static_cast<size_t>(encoding_block_bytes(GetParam().encoding)));
  GetParam().encode(values.data(), block.data());  // no undefined conversion; the value is of no use
}

INSTANTIATE_TEST_SUITE_P(
    All, BlockEncoder,
    ::testing::Values(Encoder{Encoding::kQ4_0, encode_q4_0}, Encoder{Encoding::kQ4_1, encode_q4_1},
                      Encoder{Encoding::kQ5_0, encode_q5_0}, Encoder{Encoding::kQ5_1, encode_q5_1},
                      Encoder{Encoding::kQ8_0, encode_q8_0}),
    [](const auto& encoder) { return std::string(encoding_name(encoder.param.encoding)); });

}  // namespace
}  // namespace facet
