#include "support/http_client.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <stdexcept>

namespace facet::testing {

std::string HttpReply::header(const std::string& name) const {
  const auto found = headers.find(name);
  return found == headers.end() ? "" : found->second;
}

std::vector<std::string> HttpReply::events() const {
  std::vector<std::string> events;
  for (size_t at = 0; at < body.size();) {
    const size_t end = body.find("\n\n", at);
    if (end == std::string::npos) break;
    const std::string event = body.substr(at, end - at);
    if (event.starts_with("data: ")) events.push_back(event.substr(6));
    at = end + 2;
  }
  return events;
}

HttpClient::HttpClient(uint16_t port, std::chrono::milliseconds patience)
    : socket_(::socket(AF_INET, SOCK_STREAM, 0)) {
  const timeval timeout = {patience.count() / 1000, patience.count() % 1000 * 1000};
  ::setsockopt(socket_, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout);
  ::setsockopt(socket_, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof timeout);
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (::connect(socket_, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    ::close(socket_);
    throw std::runtime_error("cannot connect to the server");
  }
}

HttpClient::~HttpClient() {
  ::close(socket_);
}

bool HttpClient::send(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t sent = ::send(socket_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent <= 0) return false;
    bytes.remove_prefix(static_cast<size_t>(sent));
  }
  return true;
}

void HttpClient::finish_sending() {
  ::shutdown(socket_, SHUT_WR);
}

void HttpClient::send_request(const std::string& method, const std::string& path, const std::string& body,
                              const Headers& headers) {
  std::string text = method + " " + path + " HTTP/1.1\r\n";
  const auto given = [&](const char* name) {
    return std::any_of(headers.begin(), headers.end(),
                       [&](const auto& header) { return header.first == name; });
  };
  if (!given("Host")) text += "Host: localhost\r\n";
  if (!body.empty() && !given("Content-Type")) text += "Content-Type: application/json\r\n";
  if (!body.empty() && !given("Content-Length"))
    text += "Content-Length: " + std::to_string(body.size()) + "\r\n";
  for (const auto& [name, value] : headers) text.append(name).append(": ").append(value).append("\r\n");
  text += "\r\n" + body;
  send(text);
}

bool HttpClient::receive() {
  char bytes[16384];
  const ssize_t got = ::recv(socket_, bytes, sizeof bytes, 0);
  if (got <= 0) return false;
  received_.append(bytes, static_cast<size_t>(got));
  return true;
}

std::optional<std::string> HttpClient::take_line() {
  size_t end = 0;
  while ((end = received_.find("\r\n")) == std::string::npos)
    if (!receive()) return std::nullopt;
  std::string line = received_.substr(0, end);
  received_.erase(0, end + 2);
  return line;
}

bool HttpClient::take_chunks(std::string& body) {
  for (;;) {
    const auto line = take_line();
    if (!line) return false;
    const size_t size = std::stoul(*line, nullptr, 16);
    while (received_.size() < size + 2)
      if (!receive()) return false;
    body.append(received_, 0, size);
    received_.erase(0, size + 2);
    if (size == 0) return true;
  }
}

std::optional<HttpReply> HttpClient::read_reply() {
  const auto status = take_line();
  if (!status) return std::nullopt;
  HttpReply reply;
  reply.status = std::stoi(status->substr(9, 3));
  for (auto line = take_line(); line && !line->empty(); line = take_line()) {
    std::string name = line->substr(0, line->find(':'));
    std::transform(name.begin(), name.end(), name.begin(),
                   [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    reply.headers[name] = line->substr(line->find(':') + 2);
  }
  if (reply.header("transfer-encoding") == "chunked") {
    if (!take_chunks(reply.body)) return std::nullopt;
  } else if (const std::string length = reply.header("content-length"); !length.empty()) {
    while (received_.size() < std::stoul(length))
      if (!receive()) break;  // a HEAD
    reply.body = received_.substr(0, std::stoul(length));
    received_.erase(0, reply.body.size());
  }
  return reply;
}

bool HttpClient::read_until(std::string_view text) {
  while (received_.find(text) == std::string::npos)
    if (!receive()) return false;
  return true;
}

bool HttpClient::closed() {
  char bytes[16384];
  for (;;) {
    const ssize_t got = ::recv(socket_, bytes, sizeof bytes, 0);
    if (got == 0) return true;
    if (got < 0) return errno == ECONNRESET;
  }
}

HttpReply request(uint16_t port, const std::string& method, const std::string& path, const std::string& body,
                  const HttpClient::Headers& headers) {
  HttpClient client(port);
  client.send_request(method, path, body, headers);
  auto reply = client.read_reply();
  EXPECT_TRUE(reply) << method << " " << path << " was not answered";
  return reply.value_or(HttpReply{});
}

}  // namespace facet::testing
