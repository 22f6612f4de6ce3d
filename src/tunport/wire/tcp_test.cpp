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
  const auto view = TcpView::checked(segment);
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
}

TEST(TcpView, RefusesHeadersThatAreNotWhole) {
  for (std::size_t size = 0; size < 32; ++size)
    EXPECT_FALSE(TcpView::checked(Bytes{segment}.first(size))) << size;
  EXPECT_TRUE(TcpView::checked(Bytes{segment}.first(32)));
  EXPECT_FALSE(TcpView::checked(patched(segment, 12, hex("40"))));
  EXPECT_FALSE(TcpView::checked(patched(segment, 12, hex("f0"))));
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
