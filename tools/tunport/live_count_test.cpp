#include "live_count.hpp"

#include <array>
#include <cstdint>

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "tunport/base/unique_fd.hpp"
#include "tunport/testing/manual_reactor.hpp"

namespace tunport::tool {
namespace {

TEST(LiveCount, IsWrittenOverWhereItChangesAndClearedAtTheEnd) {
  std::array<int, 2> ends{};
  ASSERT_EQ(::pipe(ends.data()), 0);
  const UniqueFd in{ends[0]};
  const UniqueFd out{ends[1]};
  const auto written = [&] {
    std::array<char, 256> bytes{};
    const ssize_t size = ::read(in.get(), bytes.data(), bytes.size());
    return std::string(bytes.data(), static_cast<std::size_t>(size));
  };
  ManualReactor reactor;
  std::string text = "none";
  {
    const LiveCount count{reactor, out.get(), [&] { return text; }};
    EXPECT_EQ(written(), "\r\x1b[Knone");
    reactor.advance(std::chrono::seconds{5});
    text = "one";
    reactor.advance(std::chrono::seconds{1});
    EXPECT_EQ(written(), "\r\x1b[Kone") << "and nothing in the five seconds before";
  }
  EXPECT_EQ(written(), "\r\x1b[K");
}

TEST(LiveCount, DoesNotWaitForATerminalThatTakesNothing) {
  std::array<int, 2> ends{};
  ASSERT_EQ(::pipe2(ends.data(), O_NONBLOCK), 0);
  const UniqueFd in{ends[0]};
  const UniqueFd out{ends[1]};
  const std::array<char, 4096> filling{};
  while (::write(out.get(), filling.data(), filling.size()) > 0) continue;
  ASSERT_EQ(::fcntl(out.get(), F_SETFL, 0), 0) << "blocks from now on, as a terminal does";
  ManualReactor reactor;
  int asked = 0;
  const LiveCount count{reactor, out.get(), [&] { return std::to_string(++asked); }};
  reactor.advance(std::chrono::seconds{3});
  EXPECT_EQ(asked, 4);
}

TEST(ShortSize, HasAUnit) {
  EXPECT_EQ(short_size(0), "0 B");
  EXPECT_EQ(short_size(999), "999 B");
  EXPECT_EQ(short_size(1000), "1.0 kB");
  EXPECT_EQ(short_size(999'949), "999.9 kB");
  EXPECT_EQ(short_size(999'950), "1.0 MB");
  EXPECT_EQ(short_size(25'300'000'000), "25.3 GB");
  EXPECT_EQ(short_size(UINT64_MAX), "18.4 EB");
}

}  // namespace
}  // namespace tunport::tool
