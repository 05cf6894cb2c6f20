#include "engine/synthetic.h"

#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>
#include <random>
#include <utility>
#include <vector>

#include "base/error.h"
#include "formats/hf_config.h"
#include "model/weights.h"

namespace facet {
namespace {

constexpr int kGroup = 64;
constexpr double kDeviation = 0.025;

/// `bytes` of random content mapped over and over: a read-only view of any length for the memory of one copy.
class RepeatingPool {
 public:
  template <class Fill>
  RepeatingPool(size_t bytes, size_t length, Fill fill)
      : period_(bytes), length_((length / bytes + 2) * bytes) {
    const int fd = ::memfd_create("facet-synthetic", MFD_CLOEXEC);
    void* base = ::mmap(nullptr, length_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    bool ok = fd >= 0 && base != MAP_FAILED && ::ftruncate(fd, static_cast<off_t>(bytes)) == 0;
    auto* const data = static_cast<std::byte*>(base);
    for (size_t at = 0; ok && at < length_; at += bytes)
      ok = ::mmap(data + at, bytes, PROT_READ | (at == 0 ? PROT_WRITE : 0), MAP_SHARED | MAP_FIXED, fd, 0) !=
           MAP_FAILED;
    if (fd >= 0) ::close(fd);
    if (!ok) {
      if (base != MAP_FAILED) ::munmap(base, length_);
      throw Error(ErrorCode::kDevice, fmt::format("synthetic weights: cannot map {} MiB", length_ >> 20));
    }
    data_ = data;
    fill(data);
  }
  ~RepeatingPool() { ::munmap(const_cast<std::byte*>(data_), length_); }
  RepeatingPool(const RepeatingPool&) = delete;
  RepeatingPool& operator=(const RepeatingPool&) = delete;

  /// A window of any length up to the constructor's, starting at `offset` modulo the period.
  [[nodiscard]] const std::byte* at(size_t offset) const noexcept { return data_ + offset % period_; }

  /// Lets the pages of a window go; they come back when they are read.
  static void release(const std::byte* begin, int64_t bytes) noexcept {
    const auto page = static_cast<uintptr_t>(::sysconf(_SC_PAGESIZE));
    const auto from = (reinterpret_cast<uintptr_t>(begin) + page - 1) / page * page;
    const auto to = (reinterpret_cast<uintptr_t>(begin) + static_cast<uintptr_t>(bytes)) / page * page;
    if (from < to) ::madvise(reinterpret_cast<void*>(from), to - from, MADV_DONTNEED);
  }

 private:
  size_t period_;
  size_t length_;
  const std::byte* data_ = nullptr;
};

void fill_codes(std::byte* data, size_t bytes) {
  std::mt19937_64 random(1);
  for (size_t i = 0; i + 8 <= bytes; i += 8) {
    const uint64_t word = random();
    std::memcpy(data + i, &word, 8);
  }
}

void fill_bf16(std::byte* data, size_t bytes, const auto& draw) {
  std::mt19937 random(2);
  for (size_t i = 0; i + 2 <= bytes; i += 2) {
    const uint16_t h = f32_to_bf16(static_cast<float>(draw(random)));
    std::memcpy(data + i, &h, 2);
  }
}

/// Uniform codes 0 … n have a deviation of (n + 1) / √12 and a mean of n / 2.
double scale_for(int bits) {
  return kDeviation * std::sqrt(12.0) / (1 << bits);
}

constexpr size_t kCodePool = size_t{64} << 20;
constexpr size_t kScalePool = size_t{4} << 20;

/// Fills a pool with numbers around factor · scale.
auto scales(int bits, double factor) {
  return [bits, factor](std::byte* data) {
    std::uniform_real_distribution<double> spread(0.5, 1.5);
    fill_bf16(data, kScalePool, [&](auto& random) { return factor * scale_for(bits) * spread(random); });
  };
}

class SyntheticWeights final : public WeightSource {
 public:
  SyntheticWeights(const ModelSpec& spec, SyntheticQuant quant)
      : quant_(quant),
        codes_(kCodePool, longest(spec),
               [quant](std::byte* data) {
                 if (quant != SyntheticQuant::kBF16) return fill_codes(data, kCodePool);
                 std::normal_distribution<double> normal(0, kDeviation);
                 fill_bf16(data, kCodePool, [&](auto& random) { return normal(random); });
               }),
        // Scales vary by half; bf16's granularity makes scale and bias a little independent, as in real
        // files.
        scales4_(kScalePool, longest(spec) / kGroup * 2, scales(4, 1)),
        biases4_(kScalePool, longest(spec) / kGroup * 2, scales(4, -7.5)),
        scales8_(kScalePool, longest(spec) / kGroup * 2, scales(8, 1)),
        biases8_(kScalePool, longest(spec) / kGroup * 2, scales(8, -127.5)) {
    size_t index = 0;
    for (WeightRow& row : weight_table(spec)) rows_.try_emplace(row.name, Entry{row, index++});
  }

  [[nodiscard]] std::optional<MatrixView> matrix(std::string_view name) const override {
    const auto found = rows_.find(name);
    if (found == rows_.end()) return std::nullopt;
    const auto& [row, index] = found->second;
    MatrixView view;
    view.rows = row.rows;
    view.cols = row.cols;
    // An odd stride in lines: no two matrices begin at the same place.
    view.data = codes_.at(index * 64 * 10'007);
    if (quant_ == SyntheticQuant::kBF16 || row.cols % kGroup != 0) {
      view.encoding = Encoding::kBF16;
      return view;
    }
    const bool eight = quant_ == SyntheticQuant::k8Bit || name.find("per_layer") != std::string_view::npos;
    view.encoding = eight ? Encoding::kAffine8 : Encoding::kAffine4;
    view.group_size = kGroup;
    view.scale_dtype = DType::kBF16;
    view.scales = (eight ? scales8_ : scales4_).at(index * 64 * 101);
    view.biases = (eight ? biases8_ : biases4_).at(index * 64 * 101);
    return view;
  }

  [[nodiscard]] std::optional<std::vector<float>> vector(std::string_view name) const override {
    const auto found = rows_.find(name);
    if (found == rows_.end()) return std::nullopt;
    return std::vector<float>(static_cast<size_t>(found->second.row.cols), 1.0F);
  }

  void release(const MatrixView& view) const noexcept override {
    RepeatingPool::release(view.data, view.rows * view.row_bytes());
  }

 private:
  struct Entry {
    WeightRow row;
    size_t index;
  };

  /// Bytes of the longest matrix.
  static size_t longest(const ModelSpec& spec) {
    int64_t most = 0;
    for (const WeightRow& row : weight_table(spec)) most = std::max(most, row.rows * row.cols);
    return static_cast<size_t>(most) * 2;
  }

  SyntheticQuant quant_;
  RepeatingPool codes_;
  RepeatingPool scales4_, biases4_, scales8_, biases8_;
  std::map<std::string, Entry, std::less<>> rows_;
};

Json base_config() {
  return {{"model_type", "gemma4_text"},
          {"vocab_size", 262144},
          {"vocab_size_per_layer_input", 262144},
          {"hidden_size_per_layer_input", 256},
          {"num_attention_heads", 8},
          {"head_dim", 256},
          {"global_head_dim", 512},
          {"sliding_window", 512},
          {"max_position_embeddings", 131072},
          {"rms_norm_eps", 1e-6},
          {"tie_word_embeddings", true},
          {"hidden_activation", "gelu_pytorch_tanh"},
          {"final_logit_softcapping", 30.0},
          {"attention_k_eq_v", false},
          {"enable_moe_block", false},
          {"bos_token_id", 2},
          {"pad_token_id", 0},
          {"eos_token_id", 1},
          {"rope_parameters",
           {{"sliding_attention", {{"rope_type", "default"}, {"rope_theta", 1e4}}},
            {"full_attention",
             {{"rope_type", "proportional"}, {"partial_rotary_factor", 0.25}, {"rope_theta", 1e6}}}}}};
}

/// The published sizes: hidden, layers, every which layer attends fully, MLP width, KV heads, shared layers.
Json config_of(std::string_view name) {
  Json config = base_config();
  int pattern = 0;
  if (name == "e2b") {
    config.update({{"hidden_size", 1536},
                   {"num_hidden_layers", 35},
                   {"intermediate_size", 6144},
                   {"use_double_wide_mlp", true},
                   {"num_key_value_heads", 1},
                   {"num_kv_shared_layers", 20}});
    pattern = 5;
  } else if (name == "e4b") {
    config.update({{"hidden_size", 2560},
                   {"num_hidden_layers", 42},
                   {"intermediate_size", 10240},
                   {"use_double_wide_mlp", false},
                   {"num_key_value_heads", 2},
                   {"num_kv_shared_layers", 18}});
    pattern = 6;
  } else {
    throw Error(ErrorCode::kUsage, fmt::format("synthetic model: expected e2b or e4b, got '{}'", name));
  }
  Json types = Json::array();
  for (int l = 1; l <= config["num_hidden_layers"].get<int>(); ++l)
    types.push_back(l % pattern == 0 ? "full_attention" : "sliding_attention");
  config["layer_types"] = types;
  return config;
}

}  // namespace

Checkpoint make_synthetic(std::string_view name, SyntheticQuant quant) {
  const Json config = config_of(name);
  Checkpoint checkpoint;
  checkpoint.spec = hf_model_spec(JsonView(config, fmt::format("synthetic {}", name)));
  checkpoint.weights = std::make_unique<SyntheticWeights>(checkpoint.spec, quant);
  const char* kind = quant == SyntheticQuant::k4Bit   ? "4-bit group 64"
                     : quant == SyntheticQuant::k8Bit ? "8-bit group 64"
                                                      : "bf16";
  checkpoint.format = fmt::format("synthetic {}", kind);
  return checkpoint;
}

}  // namespace facet
