// What stdout and stderr can show.
#pragma once

#include <cstdint>
#include <cstdio>
#include <string>
#include <string_view>

namespace facet::cli {

enum class Style : uint8_t { kPlain, kError, kWarning, kDim, kBold, kPrompt };

/// Whether `stream` is a terminal.
[[nodiscard]] bool is_terminal(std::FILE* stream) noexcept;
/// Whether colour may be used on it: a terminal, and NO_COLOR not set.
[[nodiscard]] bool has_colour(std::FILE* stream) noexcept;

/// The escape sequence that starts a style on `stream`; empty without colour. kPlain ends all others.
[[nodiscard]] std::string_view style_code(Style style, std::FILE* stream) noexcept;
/// `text` in a style, where `stream` has colour.
[[nodiscard]] std::string styled(std::string_view text, Style style, std::FILE* stream);

/// `text` on one line with control characters escaped: messages quote bytes from files and must not let them
/// drive a terminal.
[[nodiscard]] std::string printable(std::string_view text);

/// A line on stderr that tells how far long work is. Shown only on a terminal, only after a second of work, a
/// few times a second, and cleared at the end.
class Progress {
 public:
  explicit Progress(std::string title);
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  void update(int64_t done, int64_t total);
  void clear();

 private:
  std::string title_;
  double started_;
  double shown_at_ = 0;
  bool shown_ = false;
};

}  // namespace facet::cli
