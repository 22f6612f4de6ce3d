#include "tunport/protocol/protocol_table.hpp"

#include <functional>
#include <string>

#include <gtest/gtest.h>

namespace tunport {
namespace {

struct Named : Protocol {
  void start_protocol() override {
    if (fails) throw std::runtime_error("cannot start");
    ++starts;
    if (on_start) on_start();
  }
  void stop_protocol() override {
    ++stops;
    if (on_stop) on_stop();
  }
  std::function<void()> on_start;
  std::function<void()> on_stop;
  int starts = 0;
  int stops = 0;
  bool fails = false;
};

TEST(ProtocolTable, ChecksNumbers) {
  ProtocolTable<Named> table{"UDP port", 65535};
  Named one;
  table.add(0, one);
  table.add(65535, one);
  EXPECT_THROW(table.add(65536, one), std::out_of_range);
  EXPECT_THROW(table.add(-1, one), std::out_of_range);
  try {
    table.add(70000, one);
  } catch (const std::out_of_range& error) {
    EXPECT_STREQ(error.what(), "UDP port 70000 is not from 0 to 65535");
  }
}

TEST(ProtocolTable, DeliversToAllOfANumberInOrder) {
  ProtocolTable<Named> table{"x", 100};
  Named one, two, three;
  table.add(7, one);
  table.add(3, three);
  table.add(7, two);
  table.add(7, one);  // again: no effect
  std::vector<Named*> heard;
  EXPECT_TRUE(table.deliver(7, [&](Named& protocol) { heard.push_back(&protocol); }));
  EXPECT_EQ(heard, (std::vector<Named*>{&one, &two}));
  EXPECT_FALSE(table.deliver(8, [&](Named&) { FAIL(); }));
  table.remove(7, one);
  table.remove(7, two);
  table.remove(7, two);
  EXPECT_FALSE(table.deliver(7, [&](Named&) { FAIL(); }));
}

TEST(ProtocolTable, AddingAndRemovingWhileDelivering) {
  ProtocolTable<Named> table{"x", 100};
  Named one, two, three, low;
  table.add(7, one);
  table.add(7, two);
  std::vector<Named*> heard;
  table.deliver(7, [&](Named& protocol) {
    heard.push_back(&protocol);
    table.remove(7, two);
    table.add(7, three);
    table.add(1, low);
    if (heard.size() == 1) table.deliver(7, [&](Named& nested) { heard.push_back(&nested); });
  });
  EXPECT_EQ(heard, (std::vector<Named*>{&one, &one})) << "the removed hears nothing more";
  heard.clear();
  table.deliver(7, [&](Named& protocol) { heard.push_back(&protocol); });
  EXPECT_EQ(heard, (std::vector<Named*>{&one, &three})) << "the added hears from the next on";
  EXPECT_TRUE(table.deliver(1, [](Named&) {}));
}

TEST(ProtocolTable, AnExceptionWhileDeliveringLeavesItWhole) {
  ProtocolTable<Named> table{"x", 100};
  Named one, two;
  table.add(7, one);
  EXPECT_THROW(table.deliver(7,
                             [&](Named&) {
                               table.add(7, two);
                               throw std::runtime_error("no");
                             }),
               std::runtime_error);
  int heard = 0;
  table.deliver(7, [&](Named&) { ++heard; });
  EXPECT_EQ(heard, 2);
}

TEST(ProtocolTable, StartsAndStopsWithItsOwner) {
  ProtocolTable<Named> table{"x", 100};
  Named one, late;
  table.add(1, one);
  EXPECT_EQ(one.starts, 0);
  table.start();
  EXPECT_EQ(one.starts, 1);
  table.add(2, late);
  EXPECT_EQ(late.starts, 1) << "the owner runs already";
  table.remove(2, late);
  EXPECT_EQ(late.stops, 1);
  table.stop();
  EXPECT_EQ(one.stops, 1);
  EXPECT_EQ(late.stops, 1);
}

TEST(ProtocolTable, AFailedStartStopsThoseThatHadStarted) {
  ProtocolTable<Named> table{"x", 100};
  Named one, bad;
  bad.fails = true;
  table.add(1, one);
  table.add(2, bad);
  EXPECT_THROW(table.start(), std::runtime_error);
  EXPECT_EQ(one.starts, 1);
  EXPECT_EQ(one.stops, 1);
  EXPECT_EQ(bad.stops, 0);
}

TEST(ProtocolTable, OneThatThrowsWhenItStopsDoesNotKeepTheOthersRunning) {
  ProtocolTable<Named> table{"x", 100};
  Named one, bad, two;
  bad.on_stop = [] { throw std::runtime_error("cannot stop"); };
  table.add(1, one);
  table.add(2, bad);
  table.add(3, two);
  table.start();
  EXPECT_THROW(table.stop(), std::runtime_error);
  EXPECT_EQ(one.stops, 1);
  EXPECT_EQ(two.stops, 1);
  table.start();
  EXPECT_EQ(two.starts, 2) << "it starts anew";
}

TEST(ProtocolTable, AddingAndRemovingWhileStartingAndStopping) {
  ProtocolTable<Named> table{"x", 100};
  Named first, second, early, last;
  table.add(5, first);
  table.add(6, second);
  table.add(7, last);
  first.on_start = [&] {
    table.add(1, early);
    table.remove(7, last);
  };
  table.start();
  EXPECT_EQ(first.starts, 1);
  EXPECT_EQ(second.starts, 1);
  EXPECT_EQ(early.starts, 1);
  EXPECT_EQ(last.starts, 0);
  EXPECT_TRUE(table.deliver(1, [](Named&) {}));
  first.on_stop = [&] {
    table.remove(5, first);
    table.remove(6, second);
    for (int number = 20; number < 40; ++number) table.add(number, last);
  };
  table.stop();
  for (const Named* one : {&first, &second, &early}) EXPECT_EQ(one->stops, 1);
  EXPECT_EQ(last.stops, 0);
  EXPECT_FALSE(table.deliver(6, [](Named&) { FAIL(); }));
  EXPECT_TRUE(table.deliver(20, [](Named&) {}));
}

TEST(ProtocolTable, OneThatHasTheOwnerStoppedWhileItStartsIsStoppedToo) {
  ProtocolTable<Named> table{"x", 100};
  Named first, second;
  table.add(1, first);
  table.add(2, second);
  first.on_start = [&] { table.stop(); };
  table.start();
  EXPECT_EQ(first.stops, 1);
  EXPECT_EQ(second.starts, 0);
  first.on_start = {};
  table.start();
  EXPECT_EQ(first.starts, 2);
  EXPECT_EQ(second.starts, 1);
}

TEST(ProtocolTable, HasNoneOnceAllAreRemovedWhileDelivering) {
  ProtocolTable<Named> table{"x", 100};
  Named one;
  table.add(7, one);
  table.deliver(7, [&](Named&) {
    EXPECT_TRUE(table.has(7));
    table.remove(7, one);
    EXPECT_FALSE(table.has(7));
  });
}

}  // namespace
}  // namespace tunport
