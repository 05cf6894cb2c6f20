#include "server/access_policy.h"

#include <gtest/gtest.h>

namespace facet::server {
namespace {

TEST(AccessPolicy, AnswersToItsOwnNamesAlone) {
  const AccessPolicy policy({.api_key = {}, .allowed_hosts = {"box.example"}, .allowed_origins = {}});
  for (const char* host : {"localhost", "LOCALHOST:8080", "127.0.0.1", "127.0.0.1:1", "[::1]", "[::1]:8080",
                           "10.1.2.3", "box.example", "Box.Example:443"})
    EXPECT_TRUE(policy.host_allowed(host)) << host;
  for (const char* host :
       {"", "evil.example", "localhost.evil.example", "localhost:", "localhost:99999999", "localhost:x",
        "[::1", "[::1]x", "::1", "127.0.0.1.evil.example", "box.example.", "[localhost]x", ":80"})
    EXPECT_FALSE(policy.host_allowed(host)) << host;
}

TEST(AccessPolicy, AcceptsPagesOfItsOwnAndListedOrigins) {
  const AccessPolicy policy({.api_key = {}, .allowed_hosts = {}, .allowed_origins = {"https://app.example"}});
  EXPECT_TRUE(policy.origin_allowed("http://localhost:8080", "localhost:8080"));
  EXPECT_TRUE(policy.origin_allowed("https://app.example", "localhost:8080"));
  EXPECT_FALSE(policy.origin_allowed("http://localhost:9090", "localhost:8080"));
  EXPECT_FALSE(policy.origin_allowed("http://app.example", "localhost:8080"));
  EXPECT_FALSE(policy.origin_allowed("null", "localhost:8080"));
  EXPECT_FALSE(policy.origin_allowed("", "localhost:8080"));
  EXPECT_FALSE(policy.origin_listed("http://localhost:8080")) << "its own page needs no CORS headers";
  EXPECT_TRUE(AccessPolicy({.api_key = {}, .allowed_hosts = {}, .allowed_origins = {"*"}})
                  .origin_listed("http://any"));
}

TEST(AccessPolicy, ChecksTheKey) {
  const AccessPolicy policy({.api_key = "secret", .allowed_hosts = {}, .allowed_origins = {}});
  EXPECT_TRUE(policy.key_accepted("Bearer secret"));
  EXPECT_TRUE(policy.key_accepted("bearer secret"));
  for (const char* header : {"", "secret", "Bearer", "Bearer ", "Bearer secre", "Bearer secrets",
                             "Bearer Secret", "Basic secret", "Bearer  secret", "Bearer secretsecret"})
    EXPECT_FALSE(policy.key_accepted(header)) << header;
  EXPECT_TRUE(AccessPolicy(AccessOptions{}).key_accepted(""));
}

TEST(AccessPolicy, KnowsLoopback) {
  for (const char* host : {"localhost", "127.0.0.1", "127.3.2.1", "::1"})
    EXPECT_TRUE(is_loopback(host)) << host;
  for (const char* host : {"0.0.0.0", "::", "192.168.1.1", "box.example", ""})
    EXPECT_FALSE(is_loopback(host)) << host;
}

}  // namespace
}  // namespace facet::server
