#include "cli/terminal.h"

#include <fmt/format.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <utility>

namespace facet::cli {
namespace {

double seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

}  // namespace

bool is_terminal(std::FILE* stream) noexcept {
  return ::isatty(::fileno(stream)) == 1;
}

bool has_colour(std::FILE* stream) noexcept {
  const char* no_color = std::getenv("NO_COLOR");
  return is_terminal(stream) && (no_color == nullptr || *no_color == '\0');
}

std::string_view style_code(Style style, std::FILE* stream) noexcept {
  if (!has_colour(stream)) return "";
  switch (style) {
    case Style::kPlain: return "\x1b[0m";
    case Style::kError: return "\x1b[1;31m";
    case Style::kWarning: return "\x1b[33m";
    case Style::kDim: return "\x1b[2m";
    case Style::kBold: return "\x1b[1m";
    case Style::kPrompt: return "\x1b[1;32m";
  }
  return "";
}

std::string styled(std::string_view text, Style style, std::FILE* stream) {
  return fmt::format("{}{}{}", style_code(style, stream), text, style_code(Style::kPlain, stream));
}

std::string printable(std::string_view text) {
  std::string out;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '\n') {
      out += "\\n";
    } else if (byte < 0x20 || byte == 0x7f) {
      out += fmt::format("\\x{:02x}", byte);
    } else {
      out += c;
    }
  }
  return out;
}

Progress::Progress(std::string title) : title_(std::move(title)), started_(seconds()) {}

Progress::~Progress() {
  clear();
}

void Progress::update(int64_t done, int64_t total) {
  constexpr double kQuiet = 1.0;     // seconds before anything is worth showing
  constexpr double kInterval = 0.1;  // seconds between two updates
  const double now = seconds();
  if (!is_terminal(stderr) || now - started_ < kQuiet || now - shown_at_ < kInterval) return;
  constexpr int kWidth = 30;
  const double part = total > 0 ? static_cast<double>(done) / static_cast<double>(total) : 0;
  const int filled = static_cast<int>(part * kWidth);
  std::string bar;
  for (int i = 0; i < kWidth; ++i) bar += i < filled ? "█" : "░";
  fmt::print(stderr, "\r{} {} {:3.0f} %\x1b[K", title_, bar, 100 * part);
  std::fflush(stderr);
  shown_ = true;
  shown_at_ = now;
}

void Progress::clear() {
  if (shown_) fmt::print(stderr, "\r\x1b[K");
  shown_ = false;
}

}  // namespace facet::cli
