// HTTP over a raw socket, so that tests can send what no library would.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace facet::testing {

struct HttpReply {
  int status = 0;
  std::map<std::string, std::string> headers;  ///< names in lower case
  std::string body;                            ///< chunks joined

  [[nodiscard]] nlohmann::json json() const { return nlohmann::json::parse(body); }
  [[nodiscard]] std::string header(const std::string& name) const;
  /// The data of server-sent events, comments left out.
  [[nodiscard]] std::vector<std::string> events() const;
};

class HttpClient {
 public:
  /// Connects to 127.0.0.1. Reads give up after `patience`.
  explicit HttpClient(uint16_t port, std::chrono::milliseconds patience = std::chrono::seconds(20));
  ~HttpClient();
  HttpClient(const HttpClient&) = delete;
  HttpClient& operator=(const HttpClient&) = delete;

  /// Sends bytes as they are; false when the server has closed the connection.
  bool send(std::string_view bytes);
  /// No more will be sent.
  void finish_sending();

  using Headers = std::vector<std::pair<std::string, std::string>>;
  /// A well-formed request, "Host: localhost" and for a body its type and length added.
  void send_request(const std::string& method, const std::string& path, const std::string& body = {},
                    const Headers& headers = {});

  /// The next reply; nothing when the connection ends or patience does before it is whole.
  [[nodiscard]] std::optional<HttpReply> read_reply();
  /// Reads until `text` has been received (true) or the connection or patience ends.
  bool read_until(std::string_view text);
  /// Whether the server closes the connection before patience ends; discards what it sends.
  bool closed();

 private:
  bool receive();
  [[nodiscard]] std::optional<std::string> take_line();
  bool take_chunks(std::string& body);

  int socket_ = -1;
  std::string received_;
};

/// A request on a connection of its own. Fails the test when there is no reply.
[[nodiscard]] HttpReply request(uint16_t port, const std::string& method, const std::string& path,
                                const std::string& body = {}, const HttpClient::Headers& headers = {});

}  // namespace facet::testing
