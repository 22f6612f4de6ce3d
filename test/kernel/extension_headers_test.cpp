// Chains of extension headers of IPv6, read by the kernel and by tunport: a raw socket of the kernel receives
// the payload behind the chain, or does not, and so does a protocol of an `IpDemux`. As in
// reassembly_test.cpp, a plain packet follows every question.
#include <algorithm>
#include <cerrno>
#include <cstring>
#include <optional>
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "tunport/device/device.hpp"
#include "tunport/protocol/ip_demux.hpp"
#include "tunport/testing/fake_transport.hpp"

#include "kernel/sandbox.hpp"
#include "support/ipv6_kit.hpp"

namespace tunport {
namespace {

using packets::Buffer;
using packets::hex;

constexpr std::uint8_t some_protocol = 253;  // for experiments (RFC 3692)

/// A header whose first byte, the number of the next header, is still open.
struct Header {
  const char* name;
  std::uint8_t number;
  const char* bytes;
};
constexpr Header headers[] = {
    {"hop-by-hop", ip_protocol::hop_by_hop, "00 00 0104 00000000"},
    {"router alert", ip_protocol::hop_by_hop, "00 00 0502 0000 0100"},
    {"destination", ip_protocol::destination_options, "00 00 0104 00000000"},
    {"long destination", ip_protocol::destination_options,
     "00 02 0104 00000000 1e0e 0000000000000000000000000000"},
    {"an option to be understood", ip_protocol::destination_options, "00 00 5e04 00000000"},
    {"an option that leaves its header", ip_protocol::destination_options, "00 00 1e05 00000000"},
    {"an option without a length", ip_protocol::destination_options, "00 00 0103 0000001e"},
    {"pads of a byte", ip_protocol::destination_options, "00 00 000000000000"},
    {"routing", ip_protocol::routing, "00 00 fd00 00000000"},
    {"old routing", ip_protocol::routing, "00 02 0000 00000000 fd000000000000000000000000000001"},
    {"routing with a station left", ip_protocol::routing,
     "00 02 fd01 00000000 fd000000000000000000000000000001"},
    {"atomic fragment", ip_protocol::ipv6_fragment, "00 00 0000 00000007"},
    {"longer than the packet", ip_protocol::destination_options, "00 ff 0104 00000000"},
    {"nothing behind", ip_protocol::no_next_header, ""},
};
using Chain = std::vector<Header>;

std::string text_of(const Chain& chain) {
  std::string text;
  for (const Header& one : chain) text += (text.empty() ? "" : ", ") + std::string{one.name};
  return text.empty() ? "no header" : text;
}

/// The number of the first header, and the bytes of the chain with the payload.
std::pair<std::uint8_t, Buffer> with_payload(const Chain& chain, const Buffer& payload) {
  Buffer all = payload;
  std::uint8_t next = some_protocol;
  for (std::size_t i = chain.size(); i-- > 0;) {
    Buffer bytes = hex(chain[i].bytes);
    if (!bytes.empty()) store_u8(bytes, 0, next);
    all = ipv6_kit::joined(bytes, all);
    next = chain[i].number;
  }
  return {next, all};
}

struct Recorder : TransportProtocol {
  void datagram_received(const IpDatagram& datagram) override {
    received.emplace_back(datagram.payload().begin(), datagram.payload().end());
  }
  std::vector<Buffer> received;
};

class KernelExtensionHeaders : public sandbox::KernelTest {
 protected:
  void SetUp() override {
    KernelTest::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    device_.emplace(Device::open(DeviceKind::tun, "tp0"));
    links.set_up("tp0", true, ec);
    ASSERT_FALSE(ec) << ec.message();
    links.add_address("tp0", IpPrefix{"fd00::1/64"}, ec);
    ASSERT_FALSE(ec) << ec.message();
    socket_ = UniqueFd{::socket(AF_INET6, SOCK_RAW | SOCK_CLOEXEC, some_protocol)};
    ASSERT_TRUE(socket_) << std::strerror(errno);
    demux_.add_proto(some_protocol, recorder_);
    // The address is tentative at first.
    ASSERT_TRUE(sandbox::wait_until([&] {
      EXPECT_EQ(device_->write(packet(some_protocol, {})), 0);
      std::byte byte{};
      return ::recv(socket_.get(), &byte, 1, MSG_DONTWAIT) >= 0;
    }));
  }
  static Buffer packet(std::uint8_t next, Bytes payload) {
    return ipv6_kit::ipv6({.next_header = next, .source = "fd00::2", .destination = "fd00::1"}, payload);
  }
  std::vector<Buffer> by_kernel(const std::vector<Buffer>& all) {
    const Buffer sentinel = hex("5e 47 14 e1");
    for (const Buffer& one : all) EXPECT_EQ(device_->write(one), 0);
    EXPECT_EQ(device_->write(packet(some_protocol, sentinel)), 0);
    std::vector<Buffer> payloads;
    for (;;) {
      Buffer buffer(2000);
      if (!sandbox::wait_readable(socket_.get())) {
        ADD_FAILURE() << "the kernel does not deliver a plain packet";
        return payloads;
      }
      const ssize_t size = ::recv(socket_.get(), buffer.data(), buffer.size(), 0);
      buffer.resize(size < 0 ? 0 : static_cast<std::size_t>(size));
      if (size < 0 || buffer == sentinel) return payloads;
      payloads.push_back(buffer);
    }
  }
  std::vector<Buffer> by_us(const std::vector<Buffer>& all) {
    recorder_.received.clear();
    for (const Buffer& one : all) tun_.deliver(demux_, one);
    return recorder_.received;
  }
  std::optional<Device> device_;
  UniqueFd socket_;
  FakeTransport tun_{DeviceKind::tun};
  Recorder recorder_;
  IpDemux demux_;
};

bool is_fragment_header(const Header& header) { return header.number == ip_protocol::ipv6_fragment; }
bool is_extension(const Header& header) { return header.number != ip_protocol::no_next_header; }

// On purpose Linux and tunport differ over a second fragment header: Linux refuses the packet, tunport
// follows RFC 8200 4.1, which has extension headers accepted any number of times.
TEST_F(KernelExtensionHeaders, EveryChainOfThreeIsReadAlike) {
  const Buffer payload = hex("0102030405060708 090a");
  std::size_t delivered = 0;
  std::size_t chains = 0;
  const auto compare = [&](const Chain& chain) {
    const auto packet_of = [&](const Chain& of) {
      const auto [first, bytes] = with_payload(of, payload);
      return std::vector<Buffer>{packet(first, bytes)};
    };
    // The chain with its first fragment header only.
    Chain once = chain;
    const auto second = std::ranges::find_if(once, is_fragment_header);
    if (second != once.end())
      once.erase(std::remove_if(second + 1, once.end(), is_fragment_header), once.end());
    const auto kernels = by_kernel(packet_of(once));
    EXPECT_EQ(by_us(packet_of(chain)), kernels) << text_of(chain);
    if (once.size() != chain.size()) {
      EXPECT_TRUE(by_kernel(packet_of(chain)).empty()) << text_of(chain);
    }
    delivered += kernels.size();
    ++chains;
  };
  compare({});
  for (const Header& one : headers) {
    compare({one});
    for (const Header& two : headers) {
      compare({one, two});
      for (const Header& three : headers) compare({one, two, three});
    }
  }
  EXPECT_GT(delivered, 200U) << "of " << chains;
  EXPECT_LT(delivered, chains / 2);
}

// RFC 8200 4.5: the first fragment has all headers. On purpose Linux and tunport differ over a first fragment
// that ends before an extension header: Linux looks at the header of the upper layer only, if that header is
// next.
TEST_F(KernelExtensionHeaders, AChainCutAnywhereIsJudgedAlike) {
  const Buffer payload = hex("0102030405060708 1112131415161718 21");
  std::uint32_t identification = 0;
  std::size_t delivered = 0;
  std::size_t different = 0;
  const auto compare = [&](const Chain& chain) {
    const auto [first, bytes] = with_payload(chain, payload);
    const auto whole = by_kernel({packet(first, bytes)});
    std::size_t last_header = 0;
    std::size_t at = 0;
    for (const Header& one : chain) {
      if (is_extension(one)) last_header = at;
      at += hex(one.bytes).size();
    }
    for (std::size_t cut = 8; cut < bytes.size(); cut += 8) {
      const std::string what = text_of(chain) + ", cut at " + std::to_string(cut);
      ++identification;
      std::vector<Buffer> parts;
      for (const bool more : {true, false}) {
        Buffer fragment(8);
        store_u8(fragment, 0, first);
        store_be16(fragment, 2, static_cast<std::uint16_t>(more ? 1 : cut));
        store_be32(fragment, 4, identification);
        const Bytes part = more ? Bytes{bytes}.first(cut) : Bytes{bytes}.subspan(cut);
        parts.push_back(packet(ip_protocol::ipv6_fragment, ipv6_kit::joined(fragment, part)));
      }
      const auto kernels = by_kernel(parts);
      if (last_header >= cut) {
        EXPECT_EQ(by_us(parts), std::vector<Buffer>{}) << what;
        // Hop-by-hop options are allowed in the whole packet, not behind the fragment header.
        if (chain[0].number != ip_protocol::hop_by_hop) {
          EXPECT_EQ(kernels, whole) << what;
        }
        different += kernels.size();
      } else {
        EXPECT_EQ(by_us(parts), kernels) << what;
        delivered += kernels.size();
      }
    }
  };
  compare({});
  for (const Header& one : headers) {
    if (is_fragment_header(one)) continue;  // a second fragment header: see above
    compare({one});
    for (const Header& two : headers)
      if (!is_fragment_header(two)) compare({one, two});
  }
  EXPECT_GT(delivered, 50U) << "of " << identification;
  EXPECT_GT(different, 0U);
}

}  // namespace
}  // namespace tunport
