#include "support/process.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <stdexcept>

namespace facet::testing {
namespace {

using Clock = std::chrono::steady_clock;

struct Pipe {
  std::array<int, 2> fd = {-1, -1};
  Pipe() {
    if (::pipe2(fd.data(), O_CLOEXEC) != 0) throw std::runtime_error("pipe failed");
  }
  ~Pipe() {
    close_end(0);
    close_end(1);
  }
  Pipe(const Pipe&) = delete;
  Pipe& operator=(const Pipe&) = delete;
  void close_end(size_t end) {
    if (fd[end] >= 0) ::close(fd[end]);
    fd[end] = -1;
  }
};

[[noreturn]] void become_facet(const std::vector<std::string>& arguments, const ProcessOptions& options,
                               const Pipe& in, const Pipe& out, const Pipe& err) {
  ::dup2(in.fd[0], STDIN_FILENO);
  ::dup2(out.fd[1], STDOUT_FILENO);
  ::dup2(err.fd[1], STDERR_FILENO);
  // A variable of the developer's must not decide a test.
  for (const char* name :
       {"FACET_MODEL", "FACET_BACKEND", "FACET_ISA", "FACET_THREADS", "FACET_CTX", "FACET_KV"})
    ::unsetenv(name);
  for (const std::string& variable : options.environment) {
    const size_t equals = variable.find('=');
    ::setenv(variable.substr(0, equals).c_str(), variable.substr(equals + 1).c_str(), 1);
  }
  std::vector<char*> argv;
  std::string program = FACET_BINARY;
  argv.push_back(program.data());
  std::vector<std::string> copies = arguments;
  for (std::string& argument : copies) argv.push_back(argument.data());
  argv.push_back(nullptr);
  ::execv(program.c_str(), argv.data());
  ::_exit(127);
}

}  // namespace

ProcessResult run_facet(const std::vector<std::string>& arguments, const ProcessOptions& options) {
  Pipe in;
  Pipe out;
  Pipe err;
  const pid_t child = ::fork();
  if (child < 0) throw std::runtime_error("fork failed");
  if (child == 0) become_facet(arguments, options, in, out, err);
  in.close_end(0);
  out.close_end(1);
  err.close_end(1);
  std::signal(SIGPIPE, SIG_IGN);
  ::fcntl(in.fd[1], F_SETFL, O_NONBLOCK);

  ProcessResult result;
  size_t sent = 0;
  const auto start = Clock::now();
  bool interrupted = false;
  bool killed = false;
  while (out.fd[0] >= 0 || err.fd[0] >= 0) {
    if (in.fd[1] >= 0 && sent == options.input.size()) in.close_end(1);
    std::array<pollfd, 3> fds = {pollfd{out.fd[0], POLLIN, 0}, pollfd{err.fd[0], POLLIN, 0},
                                 pollfd{in.fd[1], POLLOUT, 0}};
    ::poll(fds.data(), fds.size(), 10);
    for (size_t i = 0; i < 2; ++i) {
      if ((fds[i].revents & (POLLIN | POLLHUP)) == 0) continue;
      std::array<char, 65536> buffer;
      const ssize_t n = ::read(fds[i].fd, buffer.data(), buffer.size());
      if (n > 0) (i == 0 ? result.out : result.err).append(buffer.data(), static_cast<size_t>(n));
      if (n == 0) (i == 0 ? out : err).close_end(0);
    }
    if ((fds[2].revents & POLLOUT) != 0) {
      const ssize_t n = ::write(in.fd[1], options.input.data() + sent, options.input.size() - sent);
      if (n > 0) sent += static_cast<size_t>(n);
    }
    if ((fds[2].revents & (POLLERR | POLLHUP)) != 0) in.close_end(1);  // the program reads no more
    const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - start).count();
    if (options.interrupt_after_ms > 0 && !interrupted && ms >= options.interrupt_after_ms) {
      ::kill(child, SIGINT);
      interrupted = true;
    }
    if (!killed && ms >= options.timeout_s * 1000LL) {
      ::kill(child, SIGKILL);
      killed = true;
    }
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  result.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return result;
}

void expect_error(const ProcessResult& result, int code, const std::string& message) {
  EXPECT_EQ(result.exit_code, code) << result.err;
  EXPECT_THAT(result.err, ::testing::HasSubstr(message));
  EXPECT_EQ(std::count(result.err.begin(), result.err.end(), '\n'), 1) << result.err;
}

}  // namespace facet::testing
