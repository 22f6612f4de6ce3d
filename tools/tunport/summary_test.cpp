#include "summary.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace tunport::tool {
namespace {

HostSummary example() {
  HostSummary summary;
  summary.where = {DeviceKind::tap, "tp0"};
  summary.port = {.packets_in = 1'234'567,
                  .packets_out = 12,
                  .bytes_in = 89'000'000,
                  .bytes_out = 999,
                  .super_packets_in = 21'000,
                  .super_packets_out = 1,
                  .bursts = 7,
                  .exceptions = 0,
                  .drops = {}};
  summary.port.drops.add(DropReason::unknown_ethertype, 3);
  summary.port.drops.add(DropReason::link_down, 1000);
  summary.host = {.arp_replies = 1,
                  .arp_announcements = 3,
                  .duplicate_addresses = 8,
                  .icmp_echo_replies = 5,
                  .port_unreachable = 2,
                  .protocol_unreachable = 6,
                  .parameter_problems = 9,
                  .reassembly_timeouts = 10,
                  .path_mtu_updates = 11,
                  .tcp_resets = 7};
  summary.udp_echoes = 4;
  return summary;
}

TEST(Summary, IsATable) {
  EXPECT_EQ(to_table(example()),
            "tap:tp0                        packets             bytes     super-packets\n"
            "  received                   1,234,567        89,000,000            21,000\n"
            "  sent                              12               999                 1\n"
            "answered\n"
            "  ARP                                1\n"
            "  ARP announcements                  3\n"
            "  ICMP echo                          5\n"
            "  UDP echo                           4\n"
            "  port unreachable                   2\n"
            "  protocol unreachable               6\n"
            "  TCP reset                          7\n"
            "  parameter problem                  9\n"
            "  fragments missing                 10\n"
            "dropped\n"
            "  unknown_ethertype                  3  an EtherType without a protocol here, such as IPv6\n"
            "  link_down                      1,000  the interface was down ('ip link set NAME up')\n");
}

TEST(Summary, ExplainsADropWhereThereIsRoom) {
  EXPECT_THAT(to_table(example(), 86),
              testing::EndsWith(
                  "dropped\n"
                  "  unknown_ethertype                  3\n"
                  "  link_down                      1,000  the interface was down ('ip link set NAME up')\n"
                  "'tunport host --explain REASON' says more of a drop\n"));
}

TEST(Summary, TellsOfNothingAndOfWhatIsRare) {
  HostSummary summary;
  summary.where = {DeviceKind::tun, "tp0"};
  EXPECT_THAT(to_table(summary), testing::HasSubstr("dropped\n  nothing\n"));
  EXPECT_THAT(to_table(summary), testing::Not(testing::HasSubstr("ARP")));
  summary.kernel_drops = 12;
  summary.port.exceptions = 3;
  EXPECT_THAT(to_table(summary), testing::EndsWith("dropped\n  by the kernel, unread             "
                                                   "12\nfailed\n  exceptions                         3\n"));
}

TEST(Summary, IsOneLineOfJsonInAFixedOrder) {
  HostSummary summary = example();
  summary.kernel_drops = 12;
  EXPECT_EQ(
      to_json(summary),
      R"({"port":{"name":"tp0","kind":"tap","packets_in":1234567,"packets_out":12,"bytes_in":89000000,)"
      R"("bytes_out":999,"super_packets_in":21000,"super_packets_out":1,"super_packets_refused":0,"bursts":7,)"
      R"("drops":{"unknown_ethertype":3,"link_down":1000},"exceptions":0,"kernel_drops":12},)"
      R"("host":{"arp_replies":1,"arp_requests":0,"arp_announcements":3,"neighbor_advertisements":0,)"
      R"("neighbor_solicitations":0,"router_advertisements":0,"duplicate_addresses":8,"dhcp_answers":0,)"
      R"("icmp_echo_replies":5,"icmpv6_echo_replies":0,"reassembled":0,"udp_echoes":4,"port_unreachable":2,)"
      R"("protocol_unreachable":6,"parameter_problems":9,"reassembly_timeouts":10,"path_mtu_updates":11,)"
      R"("tcp_resets":7}})");
}

TEST(Summary, JsonHoldsWhateverTheNameIs) {
  HostSummary summary;
  summary.where.name = "a\"\\\xff";
  EXPECT_EQ(nlohmann::json::parse(to_json(summary)).size(), 2U);
}

}  // namespace
}  // namespace tunport::tool
