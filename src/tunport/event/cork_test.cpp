#include <functional>
#include <memory>
#include <string>

#include <gtest/gtest.h>

#include "tunport/event/file_descriptor.hpp"
#include "tunport/event/reactor.hpp"
#include "tunport/testing/manual_reactor.hpp"

namespace tunport {
namespace {

/// Gathers letters, and shows them in `flush`.
class Gatherer : public FileDescriptor {
 public:
  Gatherer(Reactor& reactor, std::string& out) : FileDescriptor{reactor}, out_{out} {}
  void write(char letter) {
    (reactor().corked() ? gathered_ : out_) += letter;
    if (reactor().corked()) flush_when_uncorked();
  }
  void flush() override {
    out_ += std::exchange(gathered_, {});
    if (on_flush) on_flush();
  }
  int fileno() const override { return -1; }
  void do_write() override {}
  void do_error() override {}
  std::size_t write_some_data(Bytes /*data*/, std::error_code& /*ec*/) override { return 0; }
  void connection_lost(const std::error_code& /*reason*/) override {}
  void lose_connection() override {}
  void lose_write_connection() override {}

  std::function<void()> on_flush;

 private:
  std::string& out_;
  std::string gathered_;
};

class CorkTest : public testing::Test {
 protected:
  ManualReactor reactor;
  std::string out;
  Gatherer a{reactor, out};
  std::unique_ptr<Gatherer> b = std::make_unique<Gatherer>(reactor, out);
};

TEST_F(CorkTest, TheLastOneToGoFlushesInTheOrderInWhichTheyBegan) {
  {
    const Cork outer{reactor};
    b->write('1');
    {
      const Cork inner{reactor};
      a.write('2');
      b->write('3');
    }
    EXPECT_EQ(out, "");
  }
  EXPECT_EQ(out, "132");
  a.write('4');
  EXPECT_EQ(out, "1324") << "without a cork nothing waits";
}

TEST_F(CorkTest, FlushingBetweenGoesOnGathering) {
  const Cork cork{reactor};
  a.write('1');
  reactor.flush();
  EXPECT_EQ(out, "1");
  a.write('2');
  EXPECT_EQ(out, "1");
  reactor.flush();
  EXPECT_EQ(out, "12");
}

TEST_F(CorkTest, WhoGoesIsNotFlushed) {
  {
    const Cork cork{reactor};
    b->write('1');
    a.write('2');
    b.reset();
  }
  EXPECT_EQ(out, "2");
}

TEST_F(CorkTest, AFlushMayDestroyAnotherAndWriteAgain) {
  a.on_flush = [&] {
    b.reset();
    a.on_flush = {};
    a.write('3');
  };
  {
    const Cork cork{reactor};
    a.write('1');
    b->write('2');
  }
  EXPECT_EQ(out, "13");
}

TEST_F(CorkTest, WhatIsWrittenDuringTheFlushGoesBehindWhatWasGathered) {
  a.on_flush = [&] {
    b->write('3');
    a.on_flush = {};
    a.write('4');
  };
  {
    const Cork cork{reactor};
    a.write('1');
    b->write('2');
  }
  EXPECT_EQ(out, "1234");
  EXPECT_FALSE(reactor.corked());
}

}  // namespace
}  // namespace tunport
