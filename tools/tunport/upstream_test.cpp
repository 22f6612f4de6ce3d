#include "upstream.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace tunport::tool {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

Upstream parsed(const std::string& text) {
  std::string problem;
  const auto upstream = Upstream::parse(text, problem);
  EXPECT_TRUE(upstream) << text << ": " << problem;
  return upstream.value_or(Upstream{});
}

TEST(Upstream, ReadsEachForm) {
  EXPECT_EQ(parsed("direct"), Upstream{});
  EXPECT_EQ(parsed("socks5://127.0.0.1:1080"),
            (Upstream{.kind = UpstreamKind::socks5, .host = "127.0.0.1", .port = 1080}));
  EXPECT_EQ(parsed("http://[::1]:8080"), (Upstream{.kind = UpstreamKind::http, .host = "::1", .port = 8080}));
  EXPECT_EQ(parsed("socks5://us%3Aer:p%40ss%25@proxy.example:65535"), (Upstream{.kind = UpstreamKind::socks5,
                                                                                .host = "proxy.example",
                                                                                .port = 65535,
                                                                                .has_credentials = true,
                                                                                .user = "us:er",
                                                                                .password = "p@ss%"}));
  EXPECT_EQ(parsed("socks5://u:p:q@r@10.0.0.1:1").password, "p:q@r");
  EXPECT_EQ(parsed("http://u:" + std::string(255, 'p') + "@h:1").password.size(), 255U);
}

TEST(Upstream, SaysWhatIsWrong) {
  const std::string long_one(256, 'x');
  const struct {
    std::string text;
    const char* said;
  } table[] = {
      {"", "not 'direct', socks5://HOST:PORT or http://HOST:PORT"},
      {"socks4://h:1", "not 'direct'"},
      {"https://h:1", "not 'direct'"},
      {"socks5://", "the port is missing; write HOST:PORT, such as 127.0.0.1:1080"},
      {"http://h", "such as 127.0.0.1:8080"},
      {"socks5://[::1]", "the port is missing"},
      {"socks5://h:0", "the port is a number"},
      {"socks5://h:65536", "the port is a number"},
      {"socks5://h:1x", "the port is a number"},
      {"socks5://h:", "the port is a number"},
      {"socks5://:1", "the host is"},
      {"socks5://::1:1", "an IPv6 address stands in brackets"},
      {"socks5://[fe80::1%eth0]:1", "without a scope"},
      {"socks5://[h]:1", "in brackets stands an IPv6 address"},
      {"socks5://a b:1", "the host is"},
      {"socks5://h:1/", "nothing stands behind the port"},
      {"socks5://u@h:1", "the password is missing"},
      {"socks5://:p@h:1", "1 to 255 bytes"},
      {"socks5://u:@h:1", "1 to 255 bytes"},
      {"socks5://u:" + long_one + "@h:1", "1 to 255 bytes"},
      {"socks5://u%:p@h:1", "hexadecimal"},
      {"socks5://u%4:p@h:1", "hexadecimal"},
      {"socks5://u%4g:p@h:1", "hexadecimal"},
      {"http://u%3a:p@h:1", "holds no ':'"},
  };
  for (const auto& [text, said] : table) {
    std::string problem;
    EXPECT_FALSE(Upstream::parse(text, problem)) << text;
    EXPECT_THAT(problem, HasSubstr(said)) << text;
  }
}

TEST(Upstream, IsPrintedWithoutUserAndPassword) {
  EXPECT_EQ(to_string(parsed("direct")), "direct");
  EXPECT_EQ(to_string(parsed("socks5://u:secret@[::1]:1080")), "socks5://[::1]:1080");
  EXPECT_EQ(to_string(parsed("http://u:secret@proxy:8080")), "http://proxy:8080");
}

TEST(Upstream, NamesForProxiesHoldNothingThatEndsALine) {
  for (const char* name : {"a", "example.org", "_dmarc.example.org", "A-1.b"})
    EXPECT_TRUE(is_host_name(name));
  for (const std::string name :
       {"", ".", "a.", ".a", "a..b", "a b", "a\r\nb", "a:1", "a/b", "\xc3\xa4", "a%b"})
    EXPECT_FALSE(is_host_name(name)) << name;
  EXPECT_TRUE(is_host_name(std::string(63, 'a')));
  EXPECT_FALSE(is_host_name(std::string(64, 'a')));
  std::string longest;
  for (int i = 0; i < 127; ++i) longest += "a.";
  longest.pop_back();
  EXPECT_EQ(longest.size(), 253U);
  EXPECT_TRUE(is_host_name(longest));
  EXPECT_FALSE(is_host_name(longest + "a" + ".b"));
}

TEST(Upstream, AnAddressIsItsOwnEndpointAndANameIsLookedUp) {
  std::string problem;
  EXPECT_THAT(resolve(parsed("socks5://[::1]:1080"), problem), ElementsAre(*Endpoint::parse("[::1]:1080")));
  EXPECT_THAT(resolve(parsed("socks5://localhost:1080"), problem),
              testing::Contains(*Endpoint::parse("127.0.0.1:1080")));
  EXPECT_EQ(problem, "");
  EXPECT_THAT(resolve(parsed("socks5://tunport.invalid:1080"), problem), testing::IsEmpty());
  EXPECT_THAT(problem, HasSubstr("'tunport.invalid'"));
}

}  // namespace
}  // namespace tunport::tool
