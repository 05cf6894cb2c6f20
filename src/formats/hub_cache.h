// Where checkpoints lie: the Hugging Face hub cache, and what a checkpoint directory may name.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

namespace facet {

/// Whether `text` reads as a hub name, "org/name".
[[nodiscard]] bool is_hub_name(std::string_view text) noexcept;

/// $HF_HUB_CACHE, else $HF_HOME/hub, else $XDG_CACHE_HOME/huggingface/hub, else ~/.cache/huggingface/hub.
[[nodiscard]] std::filesystem::path hub_cache_directory();

/// The snapshot of "org/name" in `cache` (models--org--name/snapshots/REVISION): the revision that refs/main
/// names, or the only one there. Throws Error{kBadInput} when there is none, with what to do about it.
[[nodiscard]] std::filesystem::path hub_snapshot(const std::filesystem::path& cache, std::string_view name);

/// DIR/name for a file name that came from inside a checkpoint. It must be a plain name, and the file must
/// lie in DIR, or in the blobs directory when DIR is a hub snapshot, whose files are links to there. Throws
/// Error{kBadInput} that starts with `where`.
[[nodiscard]] std::filesystem::path checkpoint_file(const std::filesystem::path& directory,
                                                    std::string_view name, std::string_view where);

}  // namespace facet
