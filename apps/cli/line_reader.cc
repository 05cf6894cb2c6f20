#include "cli/line_reader.h"

#include <fcntl.h>
#include <histedit.h>
#include <unistd.h>

#include <cerrno>
#include <clocale>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <string_view>
#include <utility>

#include "cli/terminal.h"

namespace facet::cli {

namespace fs = std::filesystem;

/// libedit's state.
struct LineReader::Editor {
  static constexpr int kHistoryEntries = 1000;

  EditLine* line = nullptr;
  History* history = nullptr;
  fs::path file;
  std::string prompt;

  explicit Editor(fs::path history_file) : file(std::move(history_file)) {
    // libedit decodes input by the locale; without a UTF-8 one every non-ASCII character would be garbled.
    const char* locale = std::setlocale(LC_CTYPE, "");
    if (locale == nullptr || std::string_view(locale).find("UTF-8") == std::string_view::npos)
      std::setlocale(LC_CTYPE, "C.UTF-8");
    line = ::el_init("facet", stdin, stdout, stderr);
    history = ::history_init();
    HistEvent event;
    ::history(history, &event, H_SETSIZE, kHistoryEntries);
    ::history(history, &event, H_SETUNIQUE, 1);
    if (!file.empty()) ::history(history, &event, H_LOAD, file.c_str());
    ::el_set(line, EL_CLIENTDATA, this);
    ::el_set(line, EL_PROMPT_ESC, &Editor::prompt_of, '\1');
    ::el_set(line, EL_EDITOR, "emacs");
    ::el_set(line, EL_SIGNAL, 0);  // SIGINT is the program's
    ::el_set(line, EL_HIST, ::history, history);
    ::el_source(line, nullptr);  // ~/.editrc
  }

  ~Editor() {
    ::history_end(history);
    ::el_end(line);
  }
  Editor(const Editor&) = delete;
  Editor& operator=(const Editor&) = delete;

  static char* prompt_of(EditLine* editor) {
    Editor* self = nullptr;
    ::el_get(editor, EL_CLIENTDATA, &self);
    return self->prompt.data();
  }

  void save() const {
    if (file.empty()) return;
    std::error_code ignored;
    fs::create_directories(file.parent_path(), ignored);
    // libedit would create it readable by all.
    const int fd = ::open(file.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0) return;
    ::close(fd);
    HistEvent event;
    ::history(history, &event, H_SAVE, file.c_str());
  }
};

LineReader::LineReader(fs::path history) {
  if (is_terminal(stdin) && is_terminal(stdout)) editor_ = std::make_unique<Editor>(std::move(history));
}

LineReader::~LineReader() = default;

InputLine LineReader::read(const std::string& prompt) {
  InputLine input;
  if (editor_ == nullptr) {
    if (!std::getline(std::cin, input.text)) input.end = InputLine::End::kEndOfFile;
    return input;
  }
  editor_->prompt = prompt;
  int count = 0;
  errno = 0;
  const char* text = ::el_gets(editor_->line, &count);
  if (text == nullptr || count <= 0) {
    input.end = count < 0 && errno == EINTR ? InputLine::End::kInterrupted : InputLine::End::kEndOfFile;
    return input;
  }
  input.text.assign(text, static_cast<size_t>(count));
  if (input.text.ends_with('\n')) input.text.pop_back();
  return input;
}

void LineReader::remember(const std::string& entry) {
  if (editor_ == nullptr || entry.empty()) return;
  HistEvent event;
  ::history(editor_->history, &event, H_ENTER, entry.c_str());
  editor_->save();
}

fs::path default_history_file() {
  if (const char* file = std::getenv("FACET_HISTORY")) return file;
  if (const char* state = std::getenv("XDG_STATE_HOME"); state != nullptr && *state != '\0')
    return fs::path(state) / "facet" / "history";
  const char* home = std::getenv("HOME");
  if (home == nullptr || *home == '\0') return {};
  return fs::path(home) / ".local" / "state" / "facet" / "history";
}

}  // namespace facet::cli
