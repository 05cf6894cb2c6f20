#include "formats/checkpoint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cmath>
#include <fstream>

#include "formats/files.h"
#include "support/errors.h"

namespace facet {
namespace {

using ::testing::Each;
using ::testing::ElementsAre;
using testing::expect_bad_input;
using ::testing::Field;
using testing::golden;
using testing::TemporaryDirectory;
using testing::write_file;

TEST(Checkpoint, OpensGoldenE2b) {
  const Checkpoint c = open_checkpoint(golden("tiny-e2b").string());
  EXPECT_EQ(c.format, "Hugging Face bf16");
  EXPECT_THAT(c.files, ElementsAre(golden("tiny-e2b") / "model.safetensors"));
  EXPECT_EQ(c.bytes, 1088932U);
  EXPECT_TRUE(c.warnings.empty());
  EXPECT_EQ(c.tokenizer_file, std::nullopt);

  const ModelSpec& s = c.spec;
  EXPECT_EQ(s.architecture, "gemma4_text");
  EXPECT_EQ(s.vocab_size, 512);
  EXPECT_EQ(s.hidden_size, 64);
  EXPECT_EQ(s.context_length, 2048);
  EXPECT_EQ(s.layer_count(), 10);
  EXPECT_DOUBLE_EQ(s.embed_scale, 8);
  EXPECT_DOUBLE_EQ(s.attention_scale, 1);
  EXPECT_DOUBLE_EQ(s.logit_softcap, 30);
  EXPECT_EQ(s.ple_dim, 16);
  EXPECT_EQ(s.ple_vocab_size, 512);
  EXPECT_DOUBLE_EQ(s.ple_embed_scale, 4);
  EXPECT_DOUBLE_EQ(s.ple_projection_scale, 0.125);
  EXPECT_DOUBLE_EQ(s.ple_combination_scale, std::sqrt(0.5));
  EXPECT_EQ(s.bos_id, 2);
  EXPECT_EQ(s.pad_id, 0);
  EXPECT_THAT(s.eos_ids, ElementsAre(1));
  EXPECT_EQ(s.last_kv_owner(), 4);
  EXPECT_EQ(s.max_q_width(), 128);
  EXPECT_EQ(s.max_kv_width(), 32);
  EXPECT_EQ(s.max_ffn_dim(), 192);

  std::vector<int> sources;
  for (const LayerSpec& l : s.layers) sources.push_back(l.kv_source);
  EXPECT_THAT(sources, ElementsAre(0, 1, 2, 3, 4, 3, 3, 3, 3, 4));
  const LayerSpec& sliding = s.layers[0];
  EXPECT_EQ(sliding.kind, LayerKind::kSliding);
  EXPECT_EQ(sliding.head_dim, 16);
  EXPECT_EQ(sliding.window, 8);
  EXPECT_EQ(sliding.ffn_dim, 96);
  const LayerSpec& full = s.layers[9];
  EXPECT_TRUE(full.is_full());
  EXPECT_EQ(full.head_dim, 32);
  EXPECT_EQ(full.kv_heads, 1);
  EXPECT_EQ(full.window, 0);
  EXPECT_EQ(full.ffn_dim, 192);  // double wide where K and V are shared
  ASSERT_EQ(s.ropes.size(), 2U);
  EXPECT_EQ(s.ropes[0].inv_freq.size(), 8U);
  // Proportional: the first quarter of the 16 pairs turns, with the exponent over the whole head.
  EXPECT_THAT(std::vector<float>(s.ropes[1].inv_freq.begin() + 4, s.ropes[1].inv_freq.end()), Each(0.0F));
  EXPECT_FLOAT_EQ(s.ropes[1].inv_freq[1], std::pow(1e6F, -2.0F / 32));
}

TEST(Checkpoint, ServesGoldenWeights) {
  const Checkpoint c = open_checkpoint(golden("tiny-e2b").string());
  const auto q = c.weights->matrix("model.layers.9.self_attn.q_proj.weight");
  ASSERT_TRUE(q);
  EXPECT_EQ(q->encoding, Encoding::kBF16);
  EXPECT_EQ(q->rows, 128);
  EXPECT_EQ(q->cols, 64);
  EXPECT_EQ(c.weights->matrix("model.layers.9.self_attn.k_proj.weight"), std::nullopt);
  const auto scalar = c.weights->vector("model.layers.3.layer_scalar");
  ASSERT_TRUE(scalar);
  ASSERT_EQ(scalar->size(), 1U);
  EXPECT_GT(scalar->front(), 0.39F);
  EXPECT_LT(scalar->front(), 1.21F);
  EXPECT_EQ(c.weights->vector("model.norm.weight")->size(), 64U);
  EXPECT_EQ(c.weights->vector("model.absent.weight"), std::nullopt);
  expect_bad_input(
      [&] { static_cast<void>(c.weights->vector("model.embed_tokens.weight")); },
      {"model.safetensors: tensor \"model.embed_tokens.weight\": expected one dimension", "[512, 64]"});
  expect_bad_input([&] { static_cast<void>(c.weights->matrix("model.norm.weight")); },
                   {"tensor \"model.norm.weight\": expected a matrix", "bf16 [64]"});
}

TEST(Checkpoint, OpensGoldenWithExpertsAndSharedKeyValue) {
  const Checkpoint c = open_checkpoint((golden("tiny-26b-a4b") / "model.safetensors").string());
  const LayerSpec& full = c.spec.layers[5];
  EXPECT_TRUE(full.v_from_k);
  EXPECT_FALSE(c.spec.layers[4].v_from_k);
  EXPECT_EQ(full.kv_heads, 2);
  EXPECT_EQ(c.spec.layers[4].kv_heads, 4);
  ASSERT_TRUE(full.moe);
  EXPECT_EQ(full.moe->experts, 8);
  EXPECT_EQ(full.moe->top_k, 2);
  EXPECT_EQ(full.moe->ffn_dim, 48);
  EXPECT_EQ(c.spec.ple_dim, 0);
  EXPECT_EQ(c.spec.last_kv_owner(), 5);
  const auto experts = c.weights->matrix("model.layers.0.experts.gate_up_proj");
  ASSERT_TRUE(experts);
  EXPECT_EQ(experts->rows, 8 * 96);
  EXPECT_EQ(experts->cols, 96);
}

TEST(Checkpoint, OpensTheOtherGoldens) {
  EXPECT_EQ(open_checkpoint(golden("tiny-e4b").string()).spec.layers[7].kv_source, 4);
  EXPECT_EQ(open_checkpoint(golden("tiny-31b").string()).spec.layers[5].head_dim, 32);
  const Checkpoint heads = open_checkpoint(golden("real-heads").string());
  EXPECT_EQ(heads.spec.layers[2].head_dim, 512);
  EXPECT_EQ(heads.spec.layers[0].head_dim, 256);
  EXPECT_EQ(heads.spec.layers[0].window, 512);
}

TEST(Checkpoint, RefusesWhatIsNoCheckpoint) {
  const TemporaryDirectory directory;
  expect_bad_input([&] { return open_checkpoint(directory.path().string()); },
                   {"expected a config.json, got none"});
  expect_bad_input([] { return open_checkpoint("no/such/path/at all"); }, {"no such file or directory"});
  expect_bad_input([] { return open_checkpoint(""); }, {"no such file or directory"});
  expect_bad_input([] { return open_checkpoint("/dev/zero"); },
                   {"/dev/zero: expected a regular file, got a device"});
  std::ofstream(directory / "notes.txt") << "no model at all";
  expect_bad_input([&] { return open_checkpoint((directory / "notes.txt").string()); },
                   {"notes.txt: expected a safetensors or a GGUF file, got neither"});
  ASSERT_EQ(::mkfifo((directory / "fifo").c_str(), 0600), 0);
  expect_bad_input([&] { return open_checkpoint((directory / "fifo").string()); }, {"got a FIFO"});
  std::filesystem::copy(golden("tiny-e2b") / "config.json", directory / "config.json");
  expect_bad_input([&] { return open_checkpoint(directory.path().string()); },
                   {"expected model.safetensors or model.safetensors.index.json, got neither"});
  write_file(directory / "model.safetensors", testing::safetensors("{}"));
  expect_bad_input([&] { return open_checkpoint(directory.path().string()); },
                   {"expected a tensor model.embed_tokens.weight"});
}

}  // namespace
}  // namespace facet
