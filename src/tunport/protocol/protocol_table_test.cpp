#include "tunport/protocol/protocol_table.hpp"

#include <algorithm>
#include <functional>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "tunport/testing/manual_reactor.hpp"

namespace tunport {
namespace {

struct Named : ConnectedProtocol<DatagramTransport> {
  void start_protocol() override {
    if (fails) throw std::runtime_error("cannot start");
    ++starts;
    most_at_once = std::max(most_at_once, starts - stops);
    if (const auto hook = on_start) hook();
  }
  void stop_protocol() override {
    ++stops;
    if (const auto hook = on_stop) hook();
  }
  bool accepts_super_packets() const override { return accepts; }
  std::function<void()> on_start;
  std::function<void()> on_stop;
  int starts = 0;
  int stops = 0;
  int most_at_once = 0;
  bool fails = false;
  bool accepts = false;
};

using Table = ProtocolTable<Named>;

TEST(ProtocolTable, ChecksNumbers) {
  Table table{"UDP port", 65535};
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

std::vector<Named*> all_of(Table& table, int number) {
  std::vector<Named*> all;
  for (Named& protocol : table.range(number)) all.push_back(&protocol);
  return all;
}

TEST(ProtocolTable, ARangeHasAllOfANumberInOrder) {
  Table table{"x", 100};
  Named one, two, three;
  table.add(7, one);
  table.add(3, three);
  table.add(7, two);
  table.add(7, one);  // again: no effect
  EXPECT_EQ(all_of(table, 7), (std::vector<Named*>{&one, &two}));
  EXPECT_EQ(all_of(table, 3), (std::vector<Named*>{&three}));
  EXPECT_TRUE(table.range(8).empty());
  EXPECT_TRUE(all_of(table, 8).empty());
  table.remove(7, one);
  table.remove(7, two);
  table.remove(7, two);
  EXPECT_TRUE(table.range(7).empty());
}

TEST(ProtocolTable, AddingAndRemovingWhileDelivering) {
  Table table{"x", 100};
  Named one, two, three, low;
  table.add(7, one);
  table.add(7, two);
  std::vector<Named*> heard;
  for (Named& protocol : table.range(7)) {
    heard.push_back(&protocol);
    table.remove(7, two);
    table.add(7, three);
    table.add(1, low);
    for (Named& nested : table.range(7)) heard.push_back(&nested);
  }
  EXPECT_EQ(heard, (std::vector<Named*>{&one, &one})) << "the removed hears nothing more";
  EXPECT_EQ(all_of(table, 7), (std::vector<Named*>{&one, &three})) << "the added hears from the next on";
  EXPECT_EQ(all_of(table, 1), (std::vector<Named*>{&low}));
}

TEST(ProtocolTable, ARangeOfWhichAllAreRemovedIsEmpty) {
  Table table{"x", 100};
  Named one;
  table.add(7, one);
  auto range = table.range(7);
  for (Named& protocol : range) {
    EXPECT_FALSE(range.empty());
    table.remove(7, protocol);
    EXPECT_TRUE(range.empty());
  }
  EXPECT_FALSE(table.has(one));
}

TEST(ProtocolTable, ASuperPacketGoesWholeToOneThatIsAlone) {
  Table table{"x", 100};
  Named one, two;
  one.accepts = two.accepts = true;
  const auto accepts = [&] { return table.range(7).accepts_super_packets(); };
  EXPECT_TRUE(accepts()) << "nobody declines";
  table.add(7, one);
  EXPECT_TRUE(accepts());
  table.add(7, two);
  EXPECT_FALSE(accepts());
  table.remove(7, one);
  EXPECT_TRUE(accepts());
  two.accepts = false;
  EXPECT_FALSE(accepts());
}

TEST(ProtocolTable, AnExceptionWhileDeliveringLeavesItWholeAndIsKnownByItsThrower) {
  Table table{"x", 100};
  Named owner, one, two, three;
  table.add(7, one);
  table.add(7, two);
  EXPECT_EQ(&table.thrower(owner), &owner);
  const auto deliver = [&](const Named& thrower) {
    for (Named& protocol : table.range(7)) {
      table.add(7, three);
      if (&protocol == &thrower) throw std::runtime_error("no");
    }
  };
  for (const Named* const thrower : {&one, &two, &three}) {
    EXPECT_THROW(deliver(*thrower), std::runtime_error);
    EXPECT_EQ(&table.thrower(owner), thrower);
  }
  EXPECT_EQ(all_of(table, 7), (std::vector<Named*>{&one, &two, &three}));
  EXPECT_EQ(&table.thrower(owner), &owner) << "the last range came to its end";
  EXPECT_THROW(deliver(three), std::runtime_error);
  table.remove(7, three);
  EXPECT_EQ(&table.thrower(owner), &owner) << "it may be destroyed by now";
  // Caught while the protocols in front are still being called.
  for (Named& protocol : table.range(7)) EXPECT_EQ(&table.thrower(owner), &protocol);
}

TEST(ProtocolTable, ConnectsWhileThereIsATransport) {
  struct Transport : DatagramTransport {
    WriteResult write_to(const Endpoint&, Bytes) override { return WriteResult::make_sent(); }
    WriteResult reply(const ReplyTo&, Bytes) override { return WriteResult::make_sent(); }
    void drop(DropReason) override {}
    Reactor& reactor() const override { return clock; }
    mutable ManualReactor clock;
  } transport, other;
  Table table{"x", 100};
  Named one, two, bad;
  DatagramTransport* at_start = nullptr;
  one.on_start = [&] { at_start = one.connected_transport(); };
  table.add(7, one);
  EXPECT_EQ(one.connected_transport(), nullptr);
  table.start(&transport);
  EXPECT_EQ(at_start, &transport);
  table.add(7, two, &transport);
  table.add(8, two, &transport);
  EXPECT_EQ(two.connected_transport(), &transport);
  bad.fails = true;
  EXPECT_THROW(table.add(7, bad, &transport), std::runtime_error);
  EXPECT_EQ(bad.connected_transport(), nullptr);
  EXPECT_FALSE(table.has(bad));
  table.remove(7, two);
  EXPECT_EQ(two.connected_transport(), &transport) << "still there for another number";
  table.remove(8, two);
  EXPECT_EQ(two.connected_transport(), nullptr);
  table.lose_transport(&other);
  EXPECT_EQ(one.connected_transport(), &transport);
  table.lose_transport(&transport);
  EXPECT_EQ(one.connected_transport(), nullptr);
  table.stop();
}

TEST(ProtocolTable, StartsAndStopsWithItsOwner) {
  Table table{"x", 100};
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
  Table table{"x", 100};
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
  Table table{"x", 100};
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
  Table table{"x", 100};
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
  EXPECT_TRUE(table.has(early));
  first.on_stop = [&] {
    table.remove(5, first);
    table.remove(6, second);
    for (int number = 20; number < 40; ++number) table.add(number, last);
  };
  table.stop();
  for (const Named* one : {&first, &second, &early}) EXPECT_EQ(one->stops, 1);
  EXPECT_EQ(last.stops, 0);
  EXPECT_TRUE(table.range(6).empty());
  EXPECT_EQ(all_of(table, 20), (std::vector<Named*>{&last}));
}

TEST(ProtocolTable, OneThatHasTheOwnerStoppedWhileItStartsIsStoppedToo) {
  Table table{"x", 100};
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

/// An action of a protocol in its start or stop.
struct Case {
  const char* words;
  bool at_start;  // else in the stop
  std::function<void(Table& table, Named& self, Named& added)> action;
  bool runs_after;  // the owner, after the return of the call that led to the action
};

// The second of three protocols acts on the owner in a start or a stop. Each start has one stop, in turn, and
// a later life starts all protocols of the table.
TEST(ProtocolTable, EachStartHasOneStop) {
  const auto stop = [](Table& table, Named&, Named&) { table.stop(); };
  const auto restart = [](Table& table, Named&, Named&) {
    table.stop();
    table.start();
  };
  const auto begin = [](Table& table, Named&, Named&) { table.start(); };
  const auto add = [](Table& table, Named&, Named& added) { table.add(5, added); };
  const auto remove = [](Table& table, Named& self, Named&) { table.remove(2, self); };
  const Case cases[] = {
      {"stops the owner while it starts", true, stop, false},
      {"begins another life while it starts", true, restart, true},
      {"adds another while it starts", true, add, true},
      {"removes itself while it starts", true, remove, true},
      {"adds one whose start stops the owner", true,
       [](Table& table, Named&, Named& added) {
         added.on_start = [&] {
           added.on_start = {};
           table.stop();
         };
         table.add(5, added);
       },
       false},
      {"adds one whose start begins another life", true,
       [](Table& table, Named&, Named& added) {
         added.on_start = [&] {
           added.on_start = {};
           table.stop();
           table.start();
         };
         table.add(5, added);
       },
       true},
      {"adds another while it stops", false, add, false},
      {"removes itself while it stops", false, remove, false},
      {"stops the owner again while it stops", false, stop, false},
      {"begins another life while it stops", false, begin, true},
      {"adds another and begins another life while it stops", false,
       [](Table& table, Named&, Named& added) {
         table.add(5, added);
         table.start();
       },
       true},
      {"begins and ends another life while it stops", false,
       [](Table& table, Named&, Named&) {
         table.start();
         table.stop();
       },
       false},
  };
  for (const Case& row : cases) {
    SCOPED_TRACE(row.words);
    Table table{"x", 100};
    Named first, second, third, added;
    table.add(1, first);
    table.add(2, second);
    table.add(3, third);
    auto& hook = row.at_start ? second.on_start : second.on_stop;
    hook = [&] {
      const auto action = row.action;
      hook = {};
      action(table, second, added);
    };
    table.start();
    if (!row.at_start) table.stop();
    const auto running = [&](const Named& protocol) { return protocol.starts - protocol.stops; };
    for (const Named* const protocol : {&first, &second, &third, &added})
      EXPECT_EQ(running(*protocol), row.runs_after && table.has(*protocol) ? 1 : 0) << protocol->starts;
    if (row.runs_after) table.stop();
    for (const Named* const protocol : {&first, &second, &third, &added}) EXPECT_EQ(running(*protocol), 0);
    table.start();
    for (const Named* const protocol : {&first, &second, &third, &added})
      EXPECT_EQ(running(*protocol), table.has(*protocol) ? 1 : 0) << "a later life";
    table.stop();
    for (const Named* const protocol : {&first, &second, &third, &added}) {
      EXPECT_EQ(running(*protocol), 0);
      EXPECT_EQ(protocol->most_at_once, std::min(protocol->starts, 1)) << "a start before its stop";
    }
  }
}

TEST(ProtocolTable, AStartThatThrowsAfterAnotherLifeHasBegunLeavesThatLife) {
  Table table{"x", 100};
  Named first, second;
  table.add(1, first);
  table.add(2, second);
  first.on_start = [&] {
    first.on_start = {};
    table.stop();
    table.start();
    throw std::runtime_error("too late");
  };
  EXPECT_THROW(table.start(), std::runtime_error);
  EXPECT_EQ(first.starts - first.stops, 1);
  EXPECT_EQ(second.starts - second.stops, 1);
  table.stop();
  EXPECT_EQ(first.starts, first.stops);
  EXPECT_EQ(second.starts, second.stops);
}

}  // namespace
}  // namespace tunport
