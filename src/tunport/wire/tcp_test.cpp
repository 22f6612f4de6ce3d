#include "tunport/wire/tcp.hpp"

#include <gtest/gtest.h>

#include "tunport/testing/packets.hpp"
#include "tunport/wire/checksum.hpp"
#include "tunport/wire/ipv4.hpp"

namespace tunport {
namespace {

using namespace packets;

// Written by hand after RFC 9293 3.1, with a time stamp option: 10.0.0.1:40000 to 10.0.0.2:80.
const Buffer segment =
    hex("9c40 0050 01020304 05060708 80d9 0200 0000 0005 0101080a01020304 05060708"
        "74756e706f7274");

Buffer with_checksum(Buffer bytes, const IpAddress& source, const IpAddress& destination) {
  Checksum checksum;
  checksum.add_pseudo_header(source, destination, ip_protocol::tcp, static_cast<std::uint32_t>(bytes.size()));
  store_be16(bytes, 16, checksum.add(bytes).finish());
  return bytes;
}

TEST(TcpView, Fields) {
  DropReason why{};
  const auto view = TcpView::trusted(segment, why);
  ASSERT_TRUE(view);
  EXPECT_EQ(view->source_port(), 40000);
  EXPECT_EQ(view->destination_port(), 80);
  EXPECT_EQ(view->sequence(), 0x01020304U);
  EXPECT_EQ(view->acknowledgment(), 0x05060708U);
  EXPECT_EQ(view->header_length(), 32U);
  EXPECT_EQ(view->flags(), tcp_flag::cwr | tcp_flag::ece | tcp_flag::ack | tcp_flag::psh | tcp_flag::fin);
  EXPECT_EQ(view->window(), 512);
  EXPECT_EQ(view->urgent_pointer(), 5);
  EXPECT_EQ(to_hex(view->options()), "0101080a0102030405060708");
  EXPECT_EQ(as_text(view->payload()), "tunport");
  EXPECT_EQ(view->bytes().size(), segment.size());
  EXPECT_EQ(view->sequence_length(), 7U + 1) << "a FIN";
  EXPECT_EQ(TcpView::trusted(patched(segment, 13, hex("02")), why)->sequence_length(), 7U + 1) << "a SYN";
  EXPECT_EQ(TcpView::trusted(patched(segment, 13, hex("03")), why)->sequence_length(), 7U + 2);
  EXPECT_EQ(TcpView::trusted(patched(segment, 13, hex("10")), why)->sequence_length(), 7U);
}

TEST(TcpView, VerifiesTheChecksum) {
  for (const auto& [source, destination] :
       {std::pair<IpAddress, IpAddress>{kernel_ip, host_ip},
        std::pair<IpAddress, IpAddress>{*IpAddress::parse("fd00::1"), *IpAddress::parse("fd00::2")}}) {
    DropReason why{};
    const Buffer right = with_checksum(segment, source, destination);
    EXPECT_TRUE(TcpView::checked(right, source, destination, why));
    for (std::size_t at = 0; at < right.size(); ++at) {
      Buffer wrong = right;
      wrong[at] ^= std::byte{1};
      EXPECT_FALSE(TcpView::checked(wrong, source, destination, why)) << at;
      EXPECT_EQ(why, DropReason::tcp_bad_checksum) << at;
      EXPECT_TRUE(TcpView::trusted(wrong, why)) << at;
    }
    EXPECT_FALSE(TcpView::checked(Bytes{right}.first(31), source, destination, why));
    EXPECT_EQ(why, DropReason::tcp_short);
  }
}

TEST(TcpView, RefusesHeadersThatAreNotWhole) {
  const auto is_short = [](Bytes bytes) {
    DropReason why{};
    return !TcpView::trusted(bytes, why) && why == DropReason::tcp_short;
  };
  for (std::size_t size = 0; size < 32; ++size) EXPECT_TRUE(is_short(Bytes{segment}.first(size))) << size;
  EXPECT_FALSE(is_short(Bytes{segment}.first(32)));
  EXPECT_TRUE(is_short(patched(segment, 12, hex("40"))));
  EXPECT_TRUE(is_short(patched(segment, 12, hex("f0"))));
}

TEST(TcpHeader, EmitWritesWhatTheViewReads) {
  const Buffer options = hex("0101080a0102030405060708");
  const TcpHeader header{.source_port = 40000,
                         .destination_port = 80,
                         .sequence = 0x01020304,
                         .acknowledgment = 0x05060708,
                         .flags = 0xd9,
                         .window = 512,
                         .urgent_pointer = 5,
                         .options = options};
  for (const auto& [source, destination] :
       {std::pair<IpAddress, IpAddress>{kernel_ip, host_ip},
        std::pair<IpAddress, IpAddress>{*IpAddress::parse("fd00::1"), *IpAddress::parse("fd00::2")}}) {
    Buffer out(header.header_length(), std::byte{0xee});
    header.emit(out, as_bytes("tunport"), source, destination);
    EXPECT_EQ(to_hex(out), to_hex(Bytes{with_checksum(segment, source, destination)}.first(32)));
  }
}

}  // namespace
}  // namespace tunport
