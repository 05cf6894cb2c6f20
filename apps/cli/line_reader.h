// Reading what a person types.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>

namespace facet::cli {

/// One line of input.
struct InputLine {
  enum class End : uint8_t { kLine, kInterrupted, kEndOfFile };
  std::string text;
  End end = End::kLine;
};

/// Lines from stdin: with editing and history on a terminal, plain otherwise.
class LineReader {
 public:
  /// `history` keeps the lines of earlier runs, readable by its owner alone; empty: no history file.
  explicit LineReader(std::filesystem::path history);
  ~LineReader();
  LineReader(const LineReader&) = delete;
  LineReader& operator=(const LineReader&) = delete;

  /// Shows `prompt` (on a terminal) and reads a line, its newline dropped. Ctrl-C gives kInterrupted.
  [[nodiscard]] InputLine read(const std::string& prompt);
  /// Adds an entry to the history; entries may have several lines.
  void remember(const std::string& entry);

  [[nodiscard]] bool interactive() const noexcept { return editor_ != nullptr; }

 private:
  struct Editor;
  std::unique_ptr<Editor> editor_;
};

/// $FACET_HISTORY, else $XDG_STATE_HOME/facet/history, else ~/.local/state/facet/history. Empty when there is
/// no home, or FACET_HISTORY is set and empty.
[[nodiscard]] std::filesystem::path default_history_file();

}  // namespace facet::cli
