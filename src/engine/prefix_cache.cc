#include "engine/prefix_cache.h"

#include <algorithm>

namespace facet {
namespace {

constexpr size_t kBlock = kPageTokens;

size_t common_prefix(std::span<const int32_t> a, std::span<const int32_t> b) noexcept {
  const size_t length = std::min(a.size(), b.size());
  return static_cast<size_t>(
      std::mismatch(a.begin(), a.begin() + static_cast<std::ptrdiff_t>(length), b.begin()).first - a.begin());
}

std::span<const int32_t> block_of(std::span<const int32_t> tokens, size_t index) noexcept {
  return tokens.subspan(index * kBlock, std::min(kBlock, tokens.size() - index * kBlock));
}

}  // namespace

PrefixCache::PrefixCache(KvCache& cache, int capacity) : cache_(cache), capacity_(capacity) {}

PrefixCache::~PrefixCache() {
  clear();
}

PrefixCache::Path PrefixCache::find(std::span<const int32_t> tokens) const {
  Path path;
  const Node* node = &root_;
  while (static_cast<size_t>(path.length) < tokens.size()) {
    const auto wanted = block_of(tokens, path.nodes.size());
    // Children are in lexical order: the one with most in common with `wanted` is a neighbour of its place.
    const auto after = node->children.lower_bound(std::vector<int32_t>(wanted.begin(), wanted.end()));
    Node* best = nullptr;
    size_t common = 0;
    const auto consider = [&](Children::const_iterator child) {
      const size_t length = common_prefix(child->first, wanted);
      if (length <= common) return;
      common = length;
      best = child->second.get();
    };
    if (after != node->children.end()) consider(after);
    if (after != node->children.begin()) consider(std::prev(after));
    if (best == nullptr) break;
    path.nodes.push_back(best);
    path.length += static_cast<int>(common);
    if (common < kBlock) break;
    node = best;
  }
  return path;
}

int PrefixCache::match(std::span<const int32_t> tokens) const {
  return find(tokens).length;
}

int PrefixCache::attach(std::span<const int32_t> tokens, int sequence) {
  const Path path = find(tokens);
  if (path.length == 0) return 0;
  std::vector<KvBlock> blocks;
  blocks.reserve(path.nodes.size());
  for (const Node* node : path.nodes) blocks.push_back(node->block);
  cache_.attach(sequence, blocks, path.length);
  touch(path.nodes);
  return path.length;
}

void PrefixCache::store(std::span<const int32_t> tokens, int sequence, int from, bool partial) {
  if (capacity_ == 0) return;
  const size_t first = static_cast<size_t>(from) / kBlock;
  const size_t blocks = partial ? (tokens.size() + kBlock - 1) / kBlock : tokens.size() / kBlock;
  if (first >= blocks) return;
  Path path = find(tokens.first(first * kBlock));
  // A block without those before it, which have been evicted since, could never be found.
  if (static_cast<size_t>(path.length) != first * kBlock) return;
  Node* node = path.nodes.empty() ? &root_ : path.nodes.back();
  for (size_t index = first; index < blocks && node != nullptr; ++index) {
    touch(path.nodes);
    node = insert(*node, block_of(tokens, index), sequence, static_cast<int>(index));
    if (node != nullptr) path.nodes.push_back(node);
  }
  touch(path.nodes);
}

/// The child of `parent` along `edge`, made from block `index` of `sequence` unless it is there; null when it
/// cannot be.
PrefixCache::Node* PrefixCache::insert(Node& parent, std::span<const int32_t> edge, int sequence, int index) {
  std::vector<int32_t> key(edge.begin(), edge.end());
  const auto after = parent.children.lower_bound(key);
  if (after != parent.children.end() && common_prefix(after->first, key) == key.size())
    return after->second.get();  // it is there, or a longer one that begins with it
  if (after != parent.children.begin()) {
    const auto before = std::prev(after);
    // A partly filled block that this one completes: it has nothing that this one lacks.
    if (common_prefix(before->first, key) == before->first.size()) erase(*before->second);
  }
  if (!make_room(&parent)) return nullptr;
  const auto block = cache_.share(sequence, index);
  if (!block) return nullptr;
  auto node = std::make_unique<Node>();
  node->block = *block;
  node->parent = &parent;
  node->recent = recent_.insert(recent_.begin(), node.get());
  Node* added = node.get();
  added->place = parent.children.emplace(std::move(key), std::move(node)).first;
  return added;
}

/// Moves a path to the front of the order, parents before children.
void PrefixCache::touch(const std::vector<Node*>& path) noexcept {
  for (auto node = path.rbegin(); node != path.rend(); ++node)
    recent_.splice(recent_.begin(), recent_, (*node)->recent);
}

/// Makes room for one block; false when all that is stored leads to `keep`.
bool PrefixCache::make_room(const Node* keep) noexcept {
  while (blocks() >= capacity_) {
    if (recent_.empty() || recent_.back() == keep) return false;
    erase(*recent_.back());
  }
  return true;
}

/// Removes a node without children.
void PrefixCache::erase(Node& node) noexcept {
  cache_.release(node.block);
  recent_.erase(node.recent);
  node.parent->children.erase(node.place);
}

void PrefixCache::clear() noexcept {
  while (!recent_.empty()) erase(*recent_.back());
}

}  // namespace facet
