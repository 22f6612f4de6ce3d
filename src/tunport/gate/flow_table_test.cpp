#include <set>

#include <gtest/gtest.h>

#include "tunport/gate/flow_table_internal.hpp"

namespace tunport {
namespace {

FlowEnds client(std::uint16_t port) { return {Ipv4Address{0x0a000001}, Ipv4Address{0xc6336407}, port, 80}; }

TEST(FlowTable, FindsByEndsByPortAndByName) {
  FlowTable table{100, 7};
  const std::uint32_t a = table.add(client(1), 0);
  const std::uint32_t b = table.add(client(2), 0);
  EXPECT_EQ(table.find(client(1)), a);
  EXPECT_EQ(table.find(client(2)), b);
  EXPECT_EQ(table.find(client(3)), FlowTable::none);
  EXPECT_EQ(table.find_port(table[a].port), a);
  EXPECT_NE(table[a].port, table[b].port);
  const FlowId id = table.id_of(a);
  table.remove(a);
  EXPECT_EQ(table.find(client(1)), FlowTable::none);
  EXPECT_EQ(table.find_id(id), FlowTable::none);
  const std::uint32_t again = table.add(client(1), 0);
  EXPECT_EQ(again, a);  // the place, under another name
  EXPECT_EQ(table.find_id(id), FlowTable::none);
  EXPECT_EQ(table.find_id(table.id_of(again)), again);
}

TEST(FlowTable, EachEndCounts) {
  FlowTable table{100, 7};
  table.add(client(1), 0);
  FlowEnds other = client(1);
  other.source_port = 2;
  EXPECT_EQ(table.find(other), FlowTable::none);
  other = client(1);
  other.destination_port = 81;
  EXPECT_EQ(table.find(other), FlowTable::none);
  other = client(1);
  other.source = Ipv4Address{0x0a000002};
  EXPECT_EQ(table.find(other), FlowTable::none);
  other = client(1);
  other.destination = Ipv6Address{};
  EXPECT_EQ(table.find(other), FlowTable::none);
}

TEST(FlowTable, APortComesBackAfterAllOthers) {
  FlowTable table{100, 7};
  const std::uint32_t first = table.add(client(1), 0);
  const std::uint16_t port = table[first].port;
  table.remove(first);
  std::set<std::uint16_t> seen;
  for (int i = 1; i < 0x10000 - FlowTable::first_port; ++i) {
    const std::uint32_t place = table.add(client(2), 0);
    EXPECT_NE(table[place].port, port);
    seen.insert(table[place].port);
    table.remove(place);
  }
  EXPECT_EQ(seen.size(), 0x10000U - FlowTable::first_port - 1);
  EXPECT_EQ(table[table.add(client(3), 0)].port, port);
}

TEST(FlowTable, AFullTableHasNoRoom) {
  FlowTable table{3, 7};
  for (std::uint16_t port = 1; port <= 3; ++port) EXPECT_NE(table.add(client(port), 0), FlowTable::none);
  EXPECT_EQ(table.add(client(4), 0), FlowTable::none);
  table.remove(table.find(client(2)));
  EXPECT_NE(table.add(client(4), 0), FlowTable::none);
  EXPECT_EQ(table.size(), 3U);
}

TEST(FlowTable, AnyNumberIsFound) {
  FlowTable table{5000, 7};
  for (std::uint16_t port = 0; port < 5000; ++port) table.add(client(port), 0);
  for (std::uint16_t port = 0; port < 5000; port += 2) table.remove(table.find(client(port)));
  for (std::uint16_t port = 0; port < 5000; ++port)
    EXPECT_EQ(table.find(client(port)) != FlowTable::none, port % 2 != 0) << port;
  EXPECT_EQ(table.count(FlowState::held), 2500U);
}

TEST(FlowTable, EachStateHasItsOldest) {
  FlowTable table{10, 7};
  const std::uint32_t a = table.add(client(1), 0);
  const std::uint32_t b = table.add(client(2), 1);
  EXPECT_EQ(table.oldest(FlowState::held), a);
  EXPECT_EQ(table.younger(a), b);
  table.touch(a, 2);
  EXPECT_EQ(table.oldest(FlowState::held), b);
  table.move(b, FlowState::open, 3);
  EXPECT_EQ(table.oldest(FlowState::held), a);
  EXPECT_EQ(table.oldest(FlowState::open), b);
  EXPECT_EQ(table.oldest(FlowState::closing), FlowTable::none);
  EXPECT_EQ(table.count(FlowState::open), 1U);
}

TEST(FlowTable, ARenewedFlowKeepsItsPortAndLosesItsName) {
  FlowTable table{10, 7};
  const std::uint32_t place = table.add(client(1), 0);
  const std::uint16_t port = table[place].port;
  const FlowId id = table.id_of(place);
  table[place].client_fin = true;
  table.move(place, FlowState::waiting, 1);
  table.renew(place, 2);
  EXPECT_EQ(table[place].port, port);
  EXPECT_FALSE(table[place].client_fin);
  EXPECT_EQ(table[place].state, FlowState::held);
  EXPECT_EQ(table.find_id(id), FlowTable::none);
  EXPECT_EQ(table.find(client(1)), place);
}

}  // namespace
}  // namespace tunport
