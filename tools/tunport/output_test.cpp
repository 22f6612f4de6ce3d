#include "output.hpp"

#include <string>
#include <thread>
#include <vector>

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tunport/base/unique_fd.hpp"

#include "failure.hpp"

namespace tunport::tool {
namespace {

TEST(Output, AnErrorIsOneLineWhateverIsInIt) {
  testing::internal::CaptureStderr();
  print_error("port 'a\nb\x1b[2J': wrong");
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "tunport: port 'a?b?[2J': wrong\n");
}

TEST(Output, ThatCannotBeWrittenIsAFailure) {
  const UniqueFd full{::open("/dev/full", O_WRONLY | O_CLOEXEC)};
  ASSERT_TRUE(full);
  EXPECT_THROW(print(full.get(), "text"), Failure);
}

TEST(Output, AFailingStandardErrorIsNamed) {
  const UniqueFd full{::open("/dev/full", O_WRONLY | O_CLOEXEC)};
  const UniqueFd kept{::dup(STDERR_FILENO)};
  ASSERT_EQ(::dup2(full.get(), STDERR_FILENO), STDERR_FILENO);
  std::string said;
  try {
    print(STDERR_FILENO, "text");
  } catch (const Failure& failure) {
    said = failure.what();
  }
  ::dup2(kept.get(), STDERR_FILENO);
  EXPECT_EQ(said, "standard error: No space left on device; send it elsewhere");
}

TEST(Output, AllOfItReachesASlowReader) {
  for (const bool is_socket : {false, true}) {
    int ends[2];
    ASSERT_EQ(is_socket ? ::socketpair(AF_UNIX, SOCK_STREAM, 0, ends) : ::pipe(ends), 0);
    const UniqueFd reading{ends[0]};
    UniqueFd writing{ends[1]};
    const std::string text(1'000'000, 'x');
    std::size_t read = 0;
    std::thread reader{[&] {
      std::vector<char> buffer(60'000);
      for (ssize_t got = 0; (got = ::read(reading.get(), buffer.data(), buffer.size())) > 0;)
        read += static_cast<std::size_t>(got);
    }};
    print(writing.get(), text);
    EXPECT_EQ(::fcntl(writing.get(), F_GETFL) & O_NONBLOCK, 0) << "COMMAND has it too";
    writing.reset();
    reader.join();
    EXPECT_EQ(read, text.size());
  }
}

TEST(Output, ThatNobodyReadsIsLeftAfterAWhile) {
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  const UniqueFd reading{ends[0]};
  const UniqueFd writing{ends[1]};
  testing::internal::CaptureStderr();
  print(writing.get(), std::string(1'000'000, 'x'), Patience::brief);
  EXPECT_EQ(testing::internal::GetCapturedStderr(),
            "tunport: standard output: nobody reads it, so a part is lost; read it, or send it elsewhere\n");
}

}  // namespace
}  // namespace tunport::tool
