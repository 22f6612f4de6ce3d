#include "publish.hpp"

#include <gtest/gtest.h>

namespace tunport::tool {
namespace {

TEST(Published, HasAnAddressAndTwoPorts) {
  std::string problem;
  const auto is = [&](const std::string& text, const char* address, std::uint16_t outside,
                      std::uint16_t inside, bool is_udp = false) {
    const auto published = Published::parse(text, problem);
    ASSERT_TRUE(published) << text << ": " << problem;
    EXPECT_EQ(published->outside, (Endpoint{*IpAddress::parse(address), outside})) << text;
    EXPECT_EQ(published->inside, inside) << text;
    EXPECT_EQ(published->is_udp, is_udp) << text;
  };
  is("8080", "127.0.0.1", 8080, 8080);
  is("8080:80", "127.0.0.1", 8080, 80);
  is("8080:80/tcp", "127.0.0.1", 8080, 80);
  is("0.0.0.0:8080:80", "0.0.0.0", 8080, 80);
  is("192.0.2.1:53/udp", "192.0.2.1", 53, 53, true);
  is("[::1]:53:5353/udp", "::1", 53, 5353, true);
}

TEST(Published, SaysWhatIsWrong) {
  for (const auto& [text, said] :
       std::vector<std::pair<std::string, std::string>>{{"", "1 to 65535"},
                                                        {"0", "1 to 65535"},
                                                        {"65536", "1 to 65535"},
                                                        {"80:", "1 to 65535"},
                                                        {":80", "1 to 65535"},
                                                        {"80:80:80", "1 to 65535"},
                                                        {"80/sctp", "1 to 65535"},
                                                        {"http", "1 to 65535"},
                                                        {"127.0.0.1", "write ADDRESS:PORT"},
                                                        {"127.0.0.1:", "1 to 65535"},
                                                        {"127.0.1:80", "the address is"},
                                                        {"[::1]", "write [ADDRESS]:PORT"},
                                                        {"[::g]:80", "the address is"},
                                                        {"::1:80", "1 to 65535"}}) {
    std::string problem;
    EXPECT_FALSE(Published::parse(text, problem)) << text;
    EXPECT_NE(problem.find(said), std::string::npos) << text << ": " << problem;
  }
}

}  // namespace
}  // namespace tunport::tool
