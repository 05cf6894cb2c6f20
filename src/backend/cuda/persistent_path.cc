#include "backend/cuda/persistent_path.h"

#include "backend/cuda/device_weight.h"

namespace facet::cuda {

using Shape = PersistentShape;

void PersistentPath::reserve(Backend& backend, const Limits& limits, const AttentionScratch& scratch) {
  end();
  steps_.clear();
  scratch_ = scratch;
  ready_ = device_.hopper() && limits.hidden == Shape::kHidden;
  if (!ready_) return;
  memory_ = backend.allocate(sizeof(ClusterExchange));
  exchange_ = reinterpret_cast<ClusterExchange*>(memory_.get());
}

void PersistentPath::begin(const StepShape& shape, int64_t key, bool recording) noexcept {
  end();
  if (!ready_) return;
  if (recording) {
    const auto found = steps_.find(key);
    if (found == steps_.end() || found->second.kernel.rows == 0) return;
    mode_ = Mode::kReplace;
    step_ = &found->second;
    return;
  }
  mode_ = Mode::kNote;
  fits_ = true;
  in_spans_ = runs_in_spans(shape);
  step_ = &steps_[key];
  *step_ = {};
}

void PersistentPath::end() noexcept {
  mode_ = Mode::kOff;
  next_ = Next::kQkv;
  owner_[0] = owner_[1] = nullptr;
}

bool PersistentPath::expects(Next which) noexcept {
  require(next_ == which);
  next_ = which == Next::kPerLayer ? Next::kQkv : static_cast<Next>(static_cast<int>(which) + 1);
  return fits_;
}

void PersistentPath::require(bool condition) noexcept {
  fits_ = fits_ && condition;
}

void PersistentPath::take(LayerMatrix which, const Weight& w, int64_t rows, int64_t cols) noexcept {
  const TileMatrix& m = tiles(w);
  const bool of_ple = which == kPleGate || which == kPleProjection;
  Codes& codes = of_ple ? kernel().ple_codes : kernel().codes;
  int& group_shift = of_ple ? kernel().ple_group_shift : kernel().group_shift;
  if (kernel().layer_count == 0 && (which == kQ || which == kPleGate)) {
    codes = m.codes_kind;
    group_shift = m.group_shift;
  }
  require(m.codes != nullptr && m.rows == rows && m.cols() == cols && m.codes_kind == codes &&
          m.group_shift == group_shift);
  kernel().matrices[kernel().layer_count][which] = {m.codes, m.pairs};
}

bool PersistentPath::qkv_rope_store(const float* x, const Rows& rows, const QkvArgs& args) noexcept {
  if (mode_ != Mode::kNote) return mode_ == Mode::kReplace;
  if (kernel().layer_count == 0) {
    kernel().x = const_cast<float*>(x);  // writable to the operations that follow
    kernel().rows = rows.count;
    kernel().positions = rows.positions;
    kernel().sequences = rows.sequences;
    kernel().eps = args.eps;
    kernel().attention_scale = args.shape.scale;
  }
  const AttentionShape& shape = args.shape;
  require(kernel().layer_count < kPersistentLayers && rows.count <= kPersistentRows && args.q != nullptr &&
          args.q_norm != nullptr && args.input_norm != nullptr && kernel().x == x &&
          kernel().eps == args.eps && kernel().attention_scale == shape.scale &&
          shape.q_heads == Shape::kHeads && shape.kv_heads == Shape::kKvHeads &&
          args.kv.type == KvType::kBF16);
  if (!expects(Next::kQkv)) return false;
  PersistentLayer& to = layer();
  to.head_dim = shape.head_dim;
  to.window = shape.window;
  to.input_norm = args.input_norm;
  to.q_norm = args.q_norm;
  to.k_cache = args.kv.k;
  to.v_cache = args.kv.v;
  to.pages = args.kv.pages;
  to.page_stride = args.kv.stride;
  take(kQ, *args.q, int64_t{Shape::kHeads} * shape.head_dim, Shape::kHidden);
  const int kind = to.kind();
  if (args.k != nullptr) {
    require(args.v != nullptr && args.k_norm != nullptr);
    if (!fits_) return false;
    take(kK, *args.k, shape.head_dim, Shape::kHidden);
    take(kV, *args.v, shape.head_dim, Shape::kHidden);
    to.owns_kv = true;
    to.k_norm = args.k_norm;
    to.v_norm = args.v_norm;
    owner_[kind] = args.kv.k;
    owner_layer_[kind] = kernel().layer_count;
  }
  to.kv_source = owner_layer_[kind];
  // The step's own keys are at hand only of the last layer of a kind that made some.
  require(owner_[kind] == args.kv.k);
  if (kernel().inv_freq[kind] == nullptr) {
    kernel().inv_freq[kind] = shape.inv_freq;
    kernel().head_dim[kind] = shape.head_dim;
  }
  require(kernel().inv_freq[kind] == shape.inv_freq);
  if (in_spans_ && shape.window == 0) note_attention(rows, args);
  return false;
}

void PersistentPath::note_attention(const Rows& rows, const QkvArgs& args) {
  require(serves_decode(args.shape, args.kv.type) && (kernel().q == nullptr || kernel().q == args.q_out));
  kernel().q = args.q_out;
  kernel().k = scratch_.k;
  kernel().v = scratch_.v;
  kernel().attended = scratch_.attended;
  DecodeAttention attention;
  attention.shape = args.shape;
  attention.q = args.q_out;
  attention.q_norm = args.q_norm;
  if (args.k != nullptr) {
    attention.k = scratch_.k;
    attention.v = scratch_.v;
    attention.k_norm = args.k_norm;
    attention.v_norm = args.v_norm;
  }
  attention.eps = args.eps;
  attention.rows = rows;
  attention.kv = args.kv;
  attention.clusters = decode_clusters(args.shape, rows.last_position, rows.count);
  attention.partial = scratch_.partial;
  attention.arrived = scratch_.arrived;
  attention.values = scratch_.attended;
  step_->attention.emplace_back(kernel().layer_count, attention);
}

bool PersistentPath::attend() noexcept {
  if (mode_ == Mode::kNote) (void)expects(Next::kAttend);
  return mode_ == Mode::kReplace;
}

bool PersistentPath::project_add(const Weight& w, const float* norm) noexcept {
  if (mode_ != Mode::kNote) return mode_ == Mode::kReplace;
  const bool out = next_ == Next::kOut;
  require(norm != nullptr);
  if (!expects(out ? Next::kOut : Next::kDown)) return false;
  if (out) {
    layer().post_attention_norm = norm;
    take(kO, w, Shape::kHidden, int64_t{Shape::kHeads} * layer().head_dim);
  } else {
    layer().post_ffn_norm = norm;
    take(kDown, w, Shape::kHidden, layer().ffn_dim);
  }
  return false;
}

bool PersistentPath::geglu(const float* norm, const Weight& gate, const Weight& up) noexcept {
  if (mode_ != Mode::kNote) return mode_ == Mode::kReplace;
  require(norm != nullptr);
  if (!expects(Next::kGeglu)) return false;
  layer().pre_ffn_norm = norm;
  layer().ffn_dim = static_cast<int>(gate.rows());
  take(kGate, gate, layer().ffn_dim, Shape::kHidden);
  take(kUp, up, layer().ffn_dim, Shape::kHidden);
  return false;
}

bool PersistentPath::per_layer_embed(const PerLayerArgs& args) noexcept {
  if (mode_ != Mode::kNote) return mode_ == Mode::kReplace;
  require(args.ple_dim == Shape::kPleDim && args.post_norm != nullptr);
  if (!expects(Next::kPerLayer)) return false;
  take(kPleGate, *args.gate, Shape::kPleDim, Shape::kHidden);
  take(kPleProjection, *args.projection, Shape::kHidden, Shape::kPleDim);
  layer().post_ple_norm = args.post_norm;
  layer().ple_inputs = args.inputs;
  layer().layer_scalar = args.layer_scalar;
  kernel().ple_stride = static_cast<int>(args.inputs_stride);
  ++kernel().layer_count;
  return false;
}

bool PersistentPath::rms_norm(const float* x, const float* weight, float* out) noexcept {
  if (mode_ == Mode::kOff) return false;
  const bool replace = mode_ == Mode::kReplace;
  if (replace) {
    launch();
    ++launches_;
  } else {
    require(next_ == Next::kQkv && kernel().x == x && weight != nullptr && out != x);
    kernel().final_norm = weight;
    kernel().out = out;
    kernel().exchange = exchange_;
    if (!fits_ || !serves_persistent(step_->kernel)) kernel().rows = 0;
  }
  end();
  return replace;
}

void PersistentPath::launch() const noexcept {
  PersistentStep part = step_->kernel;
  for (const auto& [layer, attention] : step_->attention) {
    part.span.end = layer + 1;
    part.span.ends_projected = true;
    persistent_step(part, stream_);
    decode_attention(attention, stream_);
    part.span.begin = layer;
    part.span.begins_attended = true;
  }
  part.span.end = part.layer_count;
  part.span.ends_projected = false;
  persistent_step(part, stream_);
}

}  // namespace facet::cuda
