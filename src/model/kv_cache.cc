#include "model/kv_cache.h"

#include <algorithm>

namespace facet {
namespace {

int pages_for(int64_t tokens) noexcept { return static_cast<int>((tokens + kPageTokens - 1) / kPageTokens); }

}  // namespace

KvCache::KvCache(const ModelSpec& spec, Backend& backend, const KvOptions& options)
    : spec_(spec), backend_(backend), options_(options) {
  for (int l = 0; l < spec.layer_count(); ++l)
    if (spec.owns_kv(l)) ring_window_ = std::max(ring_window_, spec.layers[static_cast<size_t>(l)].window);
  full_table_.stride = pages_for(options.context);
  ring_table_.stride = std::min(pages_for(int64_t{ring_window_} + options.chunk), full_table_.stride);
  if (options_.pages <= 0) options_.pages = full_table_.stride * options.sequences;

  const auto slots = static_cast<size_t>(options.sequences);
  sequences_.resize(slots);
  for (Sequence& s : sequences_) s.pages.reserve(static_cast<size_t>(full_table_.stride));
  references_.assign(static_cast<size_t>(options_.pages), 0);
  for (int page = options_.pages - 1; page >= 0; --page) free_pages_.push_back(page);

  for (Table* table : {&ring_table_, &full_table_}) {
    table->host.assign(slots * static_cast<size_t>(table->stride), 0);
    table->device = backend.allocate(table->host.size() * sizeof(int32_t));
  }
  // A sequence's ring is its own for good: pages slot · stride … + stride − 1.
  for (size_t i = 0; i < ring_table_.host.size(); ++i) ring_table_.host[i] = static_cast<int32_t>(i);

  views_.resize(spec.layers.size());
  for (int l = 0; l < spec.layer_count(); ++l) {
    const LayerSpec& layer = spec.layers[static_cast<size_t>(l)];
    if (!spec.owns_kv(l)) {
      views_[static_cast<size_t>(l)] = views_[static_cast<size_t>(layer.kv_source)];
      continue;
    }
    const bool ring = layer.window > 0;
    const int64_t pages = ring ? static_cast<int64_t>(ring_table_.host.size()) : options_.pages;
    allocate_layer(layer, pages, ring ? ring_table_ : full_table_, views_[static_cast<size_t>(l)]);
  }
}

void KvCache::allocate_layer(const LayerSpec& layer, int64_t pages, const Table& table, KvView& view) {
  view.type = options_.type;
  view.kv_heads = layer.kv_heads;
  view.head_dim = layer.head_dim;
  view.pages = reinterpret_cast<const int32_t*>(table.device.get());
  view.stride = table.stride;
  const auto rows = static_cast<size_t>(pages * kPageTokens * layer.kv_heads);
  const auto take = [&](size_t bytes) {
    bytes_ += static_cast<int64_t>(bytes);
    return memory_.emplace_back(backend_.allocate(bytes)).get();
  };
  const size_t row_bytes = static_cast<size_t>(kv_row_bytes(options_.type, layer.head_dim));
  view.k = take(rows * row_bytes);
  view.v = take(rows * row_bytes);
  if (options_.type == KvType::kQ8) {
    view.k_scale = reinterpret_cast<float*>(take(rows * sizeof(float)));
    view.v_scale = reinterpret_cast<float*>(take(rows * sizeof(float)));
  }
}

int KvCache::open() noexcept {
  for (size_t i = 0; i < sequences_.size(); ++i) {
    Sequence& s = sequences_[i];
    if (s.open) continue;
    s.open = true;
    s.length = 0;
    s.written = 0;
    return static_cast<int>(i);
  }
  return -1;
}

void KvCache::close(int sequence) noexcept {
  truncate(sequence, 0);
  sequences_[static_cast<size_t>(sequence)].open = false;
}

int KvCache::length(int sequence) const noexcept { return sequences_[static_cast<size_t>(sequence)].length; }

bool KvCache::extend(int sequence, int count) noexcept {
  Sequence& s = sequences_[static_cast<size_t>(sequence)];
  const int64_t length = int64_t{s.length} + count;
  if (length > options_.context || count > options_.chunk) return false;
  // A partly filled page that a fork shares is copied before it is written to.
  const bool copy_last = count > 0 && s.length % kPageTokens != 0 && references_[static_cast<size_t>(s.pages.back())] > 1;
  const int wanted = pages_for(length) - static_cast<int>(s.pages.size());
  if (wanted + (copy_last ? 1 : 0) > free_pages()) return false;
  if (copy_last) {
    const int shared = s.pages.back();
    s.pages.pop_back();
    append_page(sequence);
    copy_page(shared, s.pages.back(), /*full=*/true);
    drop_page(shared);
  }
  for (int i = 0; i < wanted; ++i) append_page(sequence);
  s.length = static_cast<int>(length);
  s.written = std::max(s.written, s.length);
  return true;
}

void KvCache::append_page(int sequence) noexcept {
  std::vector<int>& pages = sequences_[static_cast<size_t>(sequence)].pages;
  const int page = free_pages_.back();
  free_pages_.pop_back();
  references_[static_cast<size_t>(page)] = 1;
  const size_t row = static_cast<size_t>(sequence) * static_cast<size_t>(full_table_.stride);
  full_table_.host[row + pages.size()] = page;
  pages.push_back(page);
  full_table_.changed = true;
}

int KvCache::truncate(int sequence, int length) noexcept {
  Sequence& s = sequences_[static_cast<size_t>(sequence)];
  if (length >= s.length) return s.length;
  // The next token looks back over (length − window, length): the rings must still hold all of it.
  const int oldest = std::max(0, length - ring_window_ + 1);
  const bool intact = ring_window_ == 0 || s.written <= oldest + ring_table_.stride * kPageTokens;
  s.length = intact ? length : 0;
  if (s.length == 0) s.written = 0;
  const auto keep = static_cast<size_t>(pages_for(s.length));
  while (s.pages.size() > keep) {
    drop_page(s.pages.back());
    s.pages.pop_back();
  }
  return s.length;
}

void KvCache::drop_page(int page) noexcept {
  if (--references_[static_cast<size_t>(page)] == 0) free_pages_.push_back(page);
}

int KvCache::fork(int sequence) {
  const int fork = open();
  if (fork < 0) return -1;
  const Sequence& from = sequences_[static_cast<size_t>(sequence)];
  Sequence& to = sequences_[static_cast<size_t>(fork)];
  to.length = from.length;
  to.written = from.written;
  to.pages = from.pages;
  for (const int page : to.pages) ++references_[static_cast<size_t>(page)];
  std::copy(to.pages.begin(), to.pages.end(),
            full_table_.host.begin() + std::ptrdiff_t{fork} * full_table_.stride);
  full_table_.changed = true;
  if (ring_window_ > 0)
    for (int i = 0; i < ring_table_.stride; ++i)
      copy_page(sequence * ring_table_.stride + i, fork * ring_table_.stride + i, /*full=*/false);
  return fork;
}

void KvCache::copy_page(int from, int to, bool full) {
  for (int l = 0; l < spec_.layer_count(); ++l) {
    if (!spec_.owns_kv(l) || (spec_.layers[static_cast<size_t>(l)].window == 0) != full) continue;
    const KvView& kv = views_[static_cast<size_t>(l)];
    const int64_t rows = int64_t{kPageTokens} * kv.kv_heads;
    const int64_t bytes = rows * kv_row_bytes(kv.type, kv.head_dim);
    for (std::byte* data : {kv.k, kv.v})
      backend_.copy(data + to * bytes, data + from * bytes, static_cast<size_t>(bytes));
    if (kv.type != KvType::kQ8) continue;
    for (float* scales : {kv.k_scale, kv.v_scale})
      backend_.copy(scales + to * rows, scales + from * rows, static_cast<size_t>(rows) * sizeof(float));
  }
}

void KvCache::upload_tables() {
  for (Table* table : {&ring_table_, &full_table_}) {
    if (!table->changed) continue;
    backend_.upload(table->device.get(), table->host.data(), table->host.size() * sizeof(int32_t));
    table->changed = false;
  }
}

const KvView& KvCache::view(int layer) const noexcept { return views_[static_cast<size_t>(layer)]; }

}  // namespace facet
