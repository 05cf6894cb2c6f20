#include "model/kv_cache.h"

#include <algorithm>

namespace facet {
namespace {

int pages_for(int64_t tokens) noexcept {
  return static_cast<int>((tokens + kPageTokens - 1) / kPageTokens);
}

/// Bytes of one page of one layer.
int64_t page_bytes(const LayerSpec& layer, KvType type) noexcept {
  const int64_t scale_bytes = type == KvType::kQ8 ? int64_t{sizeof(float)} : 0;
  return 2 * int64_t{kPageTokens} * layer.kv_heads * (kv_row_bytes(type, layer.head_dim) + scale_bytes);
}

}  // namespace

void KvCache::PagePool::reset(int pages) {
  references_.assign(static_cast<size_t>(pages), 0);
  free_.reserve(static_cast<size_t>(pages));
  for (int page = pages - 1; page >= 0; --page) free_.push_back(page);
}

int KvCache::PagePool::take() noexcept {
  const int page = free_.back();
  free_.pop_back();
  references_[static_cast<size_t>(page)] = 1;
  return page;
}

void KvCache::PagePool::drop(int page) noexcept {
  if (--references_[static_cast<size_t>(page)] == 0) free_.push_back(page);
}

KvCache::KvCache(const ModelSpec& spec, Backend& backend, const KvOptions& options)
    : spec_(spec), backend_(backend), options_(options) {
  for (int l = 0; l < spec.layer_count(); ++l)
    if (spec.owns_kv(l)) window_ = std::max(window_, spec.layers[static_cast<size_t>(l)].window);
  const int full_stride = pages_for(options.context);
  // A page more than window + chunk: one that is swapped for a fresh one takes up to 63 older tokens with it.
  const int ring_stride =
      window_ == 0 ? 0 : std::min(pages_for(int64_t{window_} + options.chunk + kPageTokens - 1), full_stride);
  if (options_.pages <= 0) options_.pages = full_stride * options.sequences + options.shared_pages;
  sequences_.resize(static_cast<size_t>(options.sequences));
  reset(full_, /*full=*/true, full_stride, options_.pages);
  reset(rings_, /*full=*/false, ring_stride,
        window_ == 0 ? 0 : ring_stride * options.sequences + options.shared_pages);

  views_.resize(spec.layers.size());
  for (int l = 0; l < spec.layer_count(); ++l) {
    const LayerSpec& layer = spec.layers[static_cast<size_t>(l)];
    KvView& view = views_[static_cast<size_t>(l)];
    if (spec.owns_kv(l)) {
      allocate_layer(layer, layer.window > 0 ? rings_ : full_, view);
    } else {
      view = views_[static_cast<size_t>(layer.kv_source)];
    }
  }
}

void KvCache::reset(Table& table, bool full, int stride, int pages) {
  table.full = full;
  table.stride = stride;
  table.pool.reset(pages);
  table.pages.assign(sequences_.size() * static_cast<size_t>(stride), -1);
  table.host.assign(table.pages.size(), 0);
  table.device = backend_.allocate(table.host.size() * sizeof(int32_t));
}

int64_t KvCache::block_bytes(const ModelSpec& spec, KvType type) noexcept {
  int64_t bytes = 0;
  for (int l = 0; l < spec.layer_count(); ++l)
    if (spec.owns_kv(l)) bytes += page_bytes(spec.layers[static_cast<size_t>(l)], type);
  return bytes;
}

void KvCache::allocate_layer(const LayerSpec& layer, const Table& table, KvView& view) {
  view.type = options_.type;
  view.kv_heads = layer.kv_heads;
  view.head_dim = layer.head_dim;
  view.pages = reinterpret_cast<const int32_t*>(table.device.get());
  view.stride = table.stride;
  const auto rows = static_cast<size_t>(int64_t{table.pool.total()} * kPageTokens * layer.kv_heads);
  const auto take = [&](size_t bytes) {
    bytes_ += static_cast<int64_t>(bytes);
    return memory_.emplace_back(backend_.allocate(bytes)).get();
  };
  const auto row_bytes = static_cast<size_t>(kv_row_bytes(options_.type, layer.head_dim));
  view.k = take(rows * row_bytes);
  view.v = take(rows * row_bytes);
  if (options_.type == KvType::kQ8) {
    view.k_scale = reinterpret_cast<float*>(take(rows * sizeof(float)));
    view.v_scale = reinterpret_cast<float*>(take(rows * sizeof(float)));
  }
}

int KvCache::open() noexcept {
  for (size_t i = 0; i < sequences_.size(); ++i) {
    if (sequences_[i].open) continue;
    sequences_[i] = {.open = true, .length = 0, .written = 0};
    return static_cast<int>(i);
  }
  return -1;
}

void KvCache::close(int sequence) noexcept {
  truncate(sequence, 0);
  sequences_[static_cast<size_t>(sequence)].open = false;
}

int KvCache::length(int sequence) const noexcept {
  return sequences_[static_cast<size_t>(sequence)].length;
}

int32_t& KvCache::page(Table& table, int sequence, int block) noexcept {
  return table.pages[static_cast<size_t>(sequence) * static_cast<size_t>(table.stride) +
                     static_cast<size_t>(block % table.stride)];
}

void KvCache::set_page(Table& table, int sequence, int block, int32_t number) noexcept {
  int32_t& entry = page(table, sequence, block);
  table.host[static_cast<size_t>(&entry - table.pages.data())] = std::max(number, 0);
  table.changed = true;
  entry = number;
}

/// Free pages that it takes to grow a sequence to `length` tokens.
int KvCache::pages_needed(Table& table, int sequence, int length) noexcept {
  if (table.stride == 0) return 0;
  const int stored = this->length(sequence);
  int needed = 0;
  for (int block = stored / kPageTokens; block < pages_for(length); ++block) {
    const int32_t there = page(table, sequence, block);
    needed += there < 0 || table.pool.shared(there) ? 1 : 0;
  }
  return needed;
}

bool KvCache::extend(int sequence, int count) noexcept {
  Sequence& s = sequences_[static_cast<size_t>(sequence)];
  const int64_t length = int64_t{s.length} + count;
  if (length > options_.context || count > options_.chunk) return false;
  for (Table* table : {&full_, &rings_})
    if (pages_needed(*table, sequence, static_cast<int>(length)) > table->pool.free()) return false;
  for (Table* table : {&full_, &rings_}) append_pages(*table, sequence, static_cast<int>(length));
  s.length = static_cast<int>(length);
  s.written = std::max(s.written, s.length);
  return true;
}

/// Gives a sequence pages of its own for what comes after its last token.
void KvCache::append_pages(Table& table, int sequence, int length) noexcept {
  if (table.stride == 0) return;
  const int stored = this->length(sequence);
  for (int block = stored / kPageTokens; block < pages_for(length); ++block) {
    const int32_t there = page(table, sequence, block);
    if (there >= 0 && !table.pool.shared(there)) continue;  // a ring's page comes round again
    const int fresh = table.pool.take();
    if (there >= 0) {
      if (block * kPageTokens < stored) copy_page(table, there, fresh);
      table.pool.drop(there);
    }
    set_page(table, sequence, block, fresh);
  }
}

int KvCache::oldest_ring_block(const Sequence& s) const noexcept {
  return std::max(0, pages_for(s.written) - rings_.stride);
}

int KvCache::truncate(int sequence, int length) noexcept {
  Sequence& s = sequences_[static_cast<size_t>(sequence)];
  if (length >= s.length) return s.length;
  // The next token looks back over (length − window, length): the rings must still hold all of it.
  const int oldest = std::max(0, length - window_ + 1);
  const bool intact = window_ == 0 || oldest >= oldest_ring_block(s) * kPageTokens;
  const int keep = intact ? length : 0;
  for (int block = pages_for(keep); block < pages_for(s.length); ++block) {
    full_.pool.drop(page(full_, sequence, block));
    set_page(full_, sequence, block, -1);
  }
  s.length = keep;
  if (keep > 0) return keep;
  s.written = 0;
  for (int column = 0; column < rings_.stride; ++column) {
    const int32_t there = page(rings_, sequence, column);
    if (there < 0) continue;
    rings_.pool.drop(there);
    set_page(rings_, sequence, column, -1);
  }
  return 0;
}

int KvCache::fork(int sequence) {
  const int fork = open();
  if (fork < 0) return -1;
  sequences_[static_cast<size_t>(fork)] = sequences_[static_cast<size_t>(sequence)];
  for (Table* table : {&full_, &rings_}) {
    for (int column = 0; column < table->stride; ++column) {
      const int32_t there = page(*table, sequence, column);
      if (there < 0) continue;
      table->pool.add(there);
      set_page(*table, fork, column, there);
    }
  }
  return fork;
}

std::optional<KvBlock> KvCache::share(int sequence, int index) noexcept {
  const Sequence& s = sequences_[static_cast<size_t>(sequence)];
  if (index < 0 || index >= pages_for(s.length)) return std::nullopt;
  KvBlock block;
  if (rings_.stride > 0) {
    if (index < oldest_ring_block(s)) return std::nullopt;
    block.ring_page = page(rings_, sequence, index);
    if (block.ring_page < 0) return std::nullopt;
    rings_.pool.add(block.ring_page);
  }
  block.full_page = page(full_, sequence, index);
  full_.pool.add(block.full_page);
  return block;
}

void KvCache::release(const KvBlock& block) noexcept {
  full_.pool.drop(block.full_page);
  if (block.ring_page >= 0) rings_.pool.drop(block.ring_page);
}

void KvCache::attach(int sequence, std::span<const KvBlock> blocks, int length) noexcept {
  Sequence& s = sequences_[static_cast<size_t>(sequence)];
  const int used = pages_for(length);
  s.length = length;
  // What the last block holds past `length` is another sequence's: as lost to the rings as if overwritten.
  s.written = used * kPageTokens;
  for (int i = 0; i < used; ++i) {
    const KvBlock& block = blocks[static_cast<size_t>(i)];
    full_.pool.add(block.full_page);
    set_page(full_, sequence, i, block.full_page);
    if (rings_.stride == 0 || i < oldest_ring_block(s)) continue;
    rings_.pool.add(block.ring_page);
    set_page(rings_, sequence, i, block.ring_page);
  }
}

void KvCache::copy_page(const Table& table, int from, int to) {
  for (int l = 0; l < spec_.layer_count(); ++l) {
    if (!spec_.owns_kv(l) || (spec_.layers[static_cast<size_t>(l)].window == 0) != table.full) continue;
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
  for (Table* table : {&rings_, &full_}) {
    if (!table->changed) continue;
    backend_.upload(table->device.get(), table->host.data(), table->host.size() * sizeof(int32_t));
    table->changed = false;
  }
}

const KvView& KvCache::view(int layer) const noexcept {
  return views_[static_cast<size_t>(layer)];
}

}  // namespace facet
