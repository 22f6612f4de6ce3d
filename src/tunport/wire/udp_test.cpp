#include "tunport/wire/udp.hpp"

#include <gtest/gtest.h>

#include "tunport/testing/packets.hpp"
#include "tunport/wire/checksum.hpp"

namespace tunport {
namespace {

using namespace packets;

// Captured from Linux 6.18: 10.0.0.1:40000 to 10.0.0.2:42, the same with SO_NO_CHECK, and from fd00::1 to
// fd00::2.
const Buffer over_ipv4 = hex("9c40 002a 000f 890a 74756e706f7274");
const Buffer unchecked = hex("9c40 002a 000f 0000 74756e706f7274");
const Buffer over_ipv6 = hex("9c40 002a 000f a308 74756e706f7274");
const IpAddress a6 = *IpAddress::parse("fd00::1");
const IpAddress b6 = *IpAddress::parse("fd00::2");

TEST(UdpView, Fields) {
  struct Row {
    Buffer bytes;
    IpAddress source, destination;
    bool has_checksum;
  };
  const Row table[] = {
      {over_ipv4, kernel_ip, host_ip, true},
      {unchecked, kernel_ip, host_ip, false},
      {over_ipv6, a6, b6, true},
  };
  for (const auto& row : table) {
    DropReason why{};
    const auto datagram = UdpView::checked(row.bytes, row.source, row.destination, why);
    ASSERT_TRUE(datagram) << to_string(why);
    EXPECT_EQ(datagram->source_port(), 40000);
    EXPECT_EQ(datagram->destination_port(), 42);
    EXPECT_EQ(datagram->length(), 15U);
    EXPECT_EQ(datagram->has_checksum(), row.has_checksum);
    EXPECT_EQ(as_text(datagram->payload()), "tunport");
  }
}

TEST(UdpView, ThePayloadEndsWhereTheLengthSays) {
  DropReason why{};
  const Buffer bytes = padded(over_ipv4, 46, std::byte{0xee});
  const auto datagram = UdpView::checked(bytes, kernel_ip, host_ip, why);
  ASSERT_TRUE(datagram);
  EXPECT_EQ(as_text(datagram->payload()), "tunport");
  EXPECT_EQ(datagram->bytes().size(), 15U);
}

TEST(UdpView, Refuses) {
  struct Row {
    const char* what;
    Buffer bytes;
    IpAddress source, destination;
    DropReason why;
  };
  const Row table[] = {
      {"nothing", {}, kernel_ip, host_ip, DropReason::udp_short},
      {"length 0", patched(over_ipv4, 4, hex("0000")), kernel_ip, host_ip, DropReason::udp_bad_length},
      {"length 7", patched(unchecked, 4, hex("0007")), kernel_ip, host_ip, DropReason::udp_bad_length},
      {"length 16", patched(unchecked, 4, hex("0010")), kernel_ip, host_ip, DropReason::udp_bad_length},
      {"shorter length", patched(over_ipv4, 4, hex("000e")), kernel_ip, host_ip,
       DropReason::udp_bad_checksum},
      {"checksum", patched(over_ipv4, 6, hex("890b")), kernel_ip, host_ip, DropReason::udp_bad_checksum},
      {"payload", patched(over_ipv4, 14, hex("75")), kernel_ip, host_ip, DropReason::udp_bad_checksum},
      {"address", over_ipv4, kernel_ip, ip("10.0.0.3"), DropReason::udp_bad_checksum},
      {"none on IPv6", unchecked, a6, b6, DropReason::udp_bad_checksum},
  };
  for (const auto& row : table) {
    DropReason why{};
    EXPECT_FALSE(UdpView::checked(row.bytes, row.source, row.destination, why)) << row.what;
    EXPECT_EQ(why, row.why) << row.what << ": " << to_string(why);
  }
}

TEST(UdpView, CutAnywhere) {
  for (std::size_t n = 0; n < over_ipv4.size(); ++n) {
    const Buffer cut(over_ipv4.begin(), over_ipv4.begin() + static_cast<std::ptrdiff_t>(n));
    DropReason why{};
    EXPECT_FALSE(UdpView::checked(cut, kernel_ip, host_ip, why)) << n;
    EXPECT_EQ(why, n < 8 ? DropReason::udp_short : DropReason::udp_bad_length) << n;
  }
}

TEST(UdpView, AnEmptyDatagram) {
  DropReason why{};
  const Buffer bytes = udp_datagram({kernel_ip, 1}, {host_ip, 2}, "");
  const auto datagram = UdpView::checked(bytes, kernel_ip, host_ip, why);
  ASSERT_TRUE(datagram);
  EXPECT_TRUE(datagram->payload().empty());
}

TEST(UdpHeader, EmitWritesWhatTheKernelWrites) {
  Buffer out(UdpHeader::size, std::byte{0xee});
  UdpHeader{40000, 42}.emit(out, as_bytes("tunport"), kernel_ip, host_ip);
  EXPECT_EQ(to_hex(out), to_hex(Bytes{over_ipv4}.first(8)));
  UdpHeader{40000, 42}.emit(out, as_bytes("tunport"), a6, b6);
  EXPECT_EQ(to_hex(out), to_hex(Bytes{over_ipv6}.first(8)));
}

TEST(UdpHeader, AChecksumOfZeroIsSentAsItsOtherForm) {
  // With a payload of two zeros the checksum is some c; with c as the payload it comes out as 0.
  Buffer zeros = udp_datagram({kernel_ip, 40000}, {host_ip, 42}, hex("0000"));
  const Buffer payload(zeros.begin() + 6, zeros.begin() + 8);
  const Buffer bytes = udp_datagram({kernel_ip, 40000}, {host_ip, 42}, payload);
  EXPECT_EQ(load_be16(bytes, 6), 0xffff);
  DropReason why{};
  EXPECT_TRUE(UdpView::checked(bytes, kernel_ip, host_ip, why));
}

}  // namespace
}  // namespace tunport
