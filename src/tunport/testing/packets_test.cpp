#include "tunport/testing/packets.hpp"

#include <stdexcept>

#include <gtest/gtest.h>

namespace tunport {
namespace {

using namespace packets;

TEST(Hex, ThereAndBack) {
  EXPECT_EQ(to_hex(hex("de ad\n BEEF 00")), "deadbeef00");
  EXPECT_TRUE(hex("").empty());
  for (const char* bad : {"0", "abc", "zz", "0x00", "-1"})
    EXPECT_THROW(hex(bad), std::invalid_argument) << bad;
}

TEST(Addresses, ThrowOnGarbage) {
  EXPECT_EQ(ip("10.0.0.2"), host_ip);
  EXPECT_EQ(mac("02:00:00:00:00:01"), kernel_mac);
  EXPECT_EQ(endpoint("10.0.0.2:42"), (Endpoint{host_ip, 42}));
  EXPECT_THROW(ip("10.0.0"), std::invalid_argument);
  EXPECT_THROW(mac("02"), std::invalid_argument);
  EXPECT_THROW(endpoint("10.0.0.2"), std::invalid_argument);
}

TEST(Content, IsTextOrBytes) {
  EXPECT_EQ(to_hex(Content{"AB"}.bytes()), "4142");
  EXPECT_EQ(to_hex(Content{std::string{"AB"}}.bytes()), "4142");
  const Buffer bytes = hex("00ff");
  EXPECT_EQ(to_hex(Content{bytes}.bytes()), "00ff");
  EXPECT_TRUE(Content{}.bytes().empty());
}

TEST(Patched, ReplacesAndNothingElse) {
  EXPECT_EQ(patched(hex("00112233"), 1, hex("aabb")), hex("00aabb33"));
  EXPECT_EQ(patched(hex("00"), 1, ""), hex("00"));
  EXPECT_THROW(patched(hex("0011"), 1, hex("aabb")), std::out_of_range);
  EXPECT_THROW(patched(hex("0011"), 3, ""), std::out_of_range);
}

TEST(Padded, FillsUpAndNeverCuts) {
  EXPECT_EQ(padded(hex("01"), 3, std::byte{0xee}), hex("01eeee"));
  EXPECT_EQ(padded(hex("010203"), 2), hex("010203"));
  EXPECT_EQ(padded("").size(), 60U);
}

// The builders make the kernel's packets: captured from Linux 6.18 (ARP, ping and UDP on a veth pair).
TEST(Builders, MakeWhatTheKernelMakes) {
  const MacAddress a = mac("02:00:00:00:00:0a");
  const MacAddress b = mac("02:00:00:00:00:0b");
  EXPECT_EQ(to_hex(arp_request(host_ip, a)),
            "ffffffffffff02000000000a0806000108000604000102000000000a0a0000010000000000000a000002");
  EXPECT_EQ(to_hex(arp_reply(host_ip, b, kernel_ip, a)),
            "02000000000a02000000000b0806000108000604000202000000000b0a00000202000000000a0a000001");
  const Buffer reply = icmp({.type = icmp_type::echo_reply, .rest = IcmpHeader::echo_rest(0x3a41, 1)},
                            hex("dc06036b00000000e0c4090000000000"));
  EXPECT_EQ(
      to_hex(ethernet(
          {.destination = a, .source = b},
          ipv4({.identification = 0x2423, .protocol = 1, .source = host_ip, .destination = kernel_ip},
               reply))),
      "02000000000a02000000000b08004500002c24230000400142ac0a0000020a0000010000fc863a410001dc06036b00000000"
      "e0c4090000000000");
  EXPECT_EQ(to_hex(udp_datagram(endpoint("[fd00::1]:40000"), endpoint("[fd00::2]:42"), "tunport")),
            "9c40002a000fa30874756e706f7274");
}

TEST(Builders, TagsStandBeforeTheEtherType) {
  EXPECT_EQ(to_hex(ethernet({}, "x", {{.tpid = 0x88a8, .vid = 100}, {.priority = 5, .vid = 7}})),
            "020000000002020000000001"
            "88a80064"
            "8100a007"
            "0800"
            "78");
}

TEST(Dissect, TellsAPacketFromAFrame) {
  const Buffer packet = udp("10.0.0.1:40000", "10.0.0.2:42", "hello");
  EXPECT_FALSE(dissect(packet).ethernet);
  EXPECT_EQ(as_text(dissect(packet).payload()), "hello");
  // A station address that begins like an IPv4 header.
  const Buffer frame = ethernet({.destination = mac("45:00:00:21:00:00")}, packet);
  EXPECT_TRUE(dissect(frame).ethernet);
  EXPECT_EQ(as_text(dissect(frame).payload()), "hello");
}

TEST(Describe, SaysWhatAPacketIs) {
  const Buffer packet = udp("10.0.0.1:40000", "10.0.0.2:42", "hello");
  const std::string stations = "02:00:00:00:00:01 > 02:00:00:00:00:02, ";
  const std::string addresses = "IPv4 10.0.0.1 > 10.0.0.2, ";
  const std::pair<std::string, Buffer> table[] = {
      {"0 bytes, broken: ethernet_short", {}},
      {addresses + "UDP 40000 > 42, 5 bytes", packet},
      {stations + addresses + "UDP 40000 > 42, 5 bytes", padded(ethernet({}, packet))},
      {stations + "VLAN 7, " + addresses + "UDP 40000 > 42, 5 bytes", ethernet({}, packet, {{.vid = 7}})},
      {addresses + "ICMP echo request id 3 sequence 4, 1 bytes", icmp_echo({.id = 3, .sequence = 4}, "x")},
      {addresses + "ICMP echo reply id 1 sequence 1, 0 bytes", icmp_echo({.type = icmp_type::echo_reply})},
      {addresses + "ICMP port unreachable, 2 bytes",
       ipv4({.protocol = 1, .source = kernel_ip, .destination = host_ip},
            icmp({.type = 3, .code = 3}, "xy"))},
      {addresses + "ICMP protocol unreachable, 2 bytes",
       ipv4({.protocol = 1, .source = kernel_ip, .destination = host_ip},
            icmp({.type = 3, .code = 2}, "xy"))},
      {addresses + "TCP 40000 > 80 SYN|ACK|ECE, 2 bytes",
       tcp("10.0.0.1:40000", "10.0.0.2:80", {.flags = 0x52}, "xy")},
      {addresses + "TCP 40000 > 80, 0 bytes", tcp("10.0.0.1:40000", "10.0.0.2:80", {.flags = 0})},
      {addresses + "protocol 6, 1 bytes, broken: tcp_short",
       ipv4({.protocol = 6, .source = kernel_ip, .destination = host_ip}, "x")},
      {addresses + "protocol 253, 1 bytes",
       ipv4({.protocol = 253, .source = kernel_ip, .destination = host_ip}, "x")},
      {addresses + "fragment at 8, 1 bytes",
       ipv4({.fragment_offset = 8, .protocol = 17, .source = kernel_ip, .destination = host_ip}, "x")},
      {addresses + "protocol 17, 13 bytes, broken: udp_bad_checksum", patched(packet, 26, "xx")},
      {"33 bytes, broken: ip_bad_checksum", patched(packet, 10, "xx")},
      {stations + "33 bytes, broken: ip_bad_checksum", ethernet({}, patched(packet, 10, "xx"))},
      {"02:00:00:00:00:01 > ff:ff:ff:ff:ff:ff, ARP request: who has 10.0.0.2, tell 10.0.0.1",
       padded(arp_request(host_ip))},
      {"02:00:00:00:00:02 > 02:00:00:00:00:01, ARP reply: 10.0.0.2 is at 02:00:00:00:00:02",
       arp_reply(host_ip, host_mac, kernel_ip, kernel_mac)},
      {stations + "1 bytes, broken: arp_malformed", ethernet({.ethertype = ethertype::arp}, "x")},
      {stations + "EtherType 0x88cc, 1 bytes", ethernet({.ethertype = 0x88cc}, "x")},
  };
  for (const auto& [words, bytes] : table) EXPECT_EQ(describe(bytes), words) << to_hex(bytes);
}

TEST(Describe, SurvivesEveryTruncation) {
  const Buffer frame = ethernet({}, udp("10.0.0.1:40000", "10.0.0.2:42", "hello"), {{.vid = 7}});
  for (std::size_t n = 0; n < frame.size(); ++n) {
    const Buffer cut(frame.begin(), frame.begin() + static_cast<std::ptrdiff_t>(n));
    EXPECT_NE(describe(cut).find("broken"), std::string::npos) << n << ": " << describe(cut);
  }
}

}  // namespace
}  // namespace tunport
