// Fragments in every order and overlap, put together by the kernel and by tunport.
//
// The same fragments are written into the kernel by a TUN, and delivered to an `IpDemux`. A raw socket of the
// kernel receives the payloads of the datagrams that the kernel puts together. Each set of fragments has a
// source address of its own. A whole datagram follows the set: the kernel takes packets in order, so what is
// not there before that datagram does not come.
#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <map>
#include <random>

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "tunport/device/device.hpp"
#include "tunport/protocol/ip_demux.hpp"
#include "tunport/testing/fake_transport.hpp"

#include "kernel/sandbox.hpp"
#include "support/fragment_rules.hpp"
#include "support/ipv6_kit.hpp"

namespace tunport {
namespace {

using fragment_rules::delivered;
using fragment_rules::Payload;
using fragment_rules::Piece;
using fragment_rules::Pieces;
using fragment_rules::Rules;
using packets::Buffer;

constexpr std::uint8_t some_protocol = 253;  // for experiments (RFC 3692)

/// Every difference between Linux and tunport, on purpose.
struct Difference {
  const char* name;
  bool Rules::*rule;
  bool v4;
  bool v6;
  const char* reason;
};
constexpr Difference differences[] = {
    {"after an overlap the rest is a new datagram", &Rules::forgets, true, true,
     "RFC 5722 4 has fragments not yet received discarded as well; Linux has forgotten the datagram"},
    {"a duplicate is recognized within fragments that came in order only", &Rules::duplicates_in_runs, true,
     true,
     "Linux compares with runs; with other fragments a copy of several is an overlap. Nothing new comes "
     "either way"},
    {"the end told by a duplicate is believed", &Rules::end_of_duplicate, true, true,
     "a fragment that was not the last, and is the last now, is no exact duplicate (RFC 8200 4.5)"},
    {"an empty fragment costs the whole datagram", &Rules::empty_ends, true, true,
     "an empty fragment has no bytes to overlap, so it is dropped alone"},
    {"a fragment of an odd size is cut", &Rules::odd_is_cut, true, false,
     "RFC 791 3.2 knows no such fragment; RFC 8200 4.5 has it discarded, and so Linux does for IPv6"},
};

Rules rules_of_linux(bool v4) {
  Rules rules{.v6 = !v4};
  for (const Difference& one : differences) rules.*one.rule = v4 ? one.v4 : one.v6;
  return rules;
}

/// Records payloads as `Payload`.
struct Recorder : TransportProtocol {
  void datagram_received(const IpDatagram& datagram) override {
    received.push_back(payload_of(datagram.payload()));
  }
  static Payload payload_of(Bytes bytes) {
    Payload payload;
    for (const std::byte byte : bytes) payload.push_back(std::to_integer<std::uint8_t>(byte));
    return payload;
  }
  std::vector<Payload> received;
};

class KernelReassembly : public sandbox::KernelTest, public testing::WithParamInterface<const char*> {
 protected:
  void SetUp() override {
    KernelTest::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    device_.emplace(Device::open(DeviceKind::tun, "tp0"));
    links.set_up("tp0", true, ec);
    ASSERT_FALSE(ec) << ec.message();
    links.add_address("tp0", v4() ? IpPrefix{"10.0.0.1/8"} : IpPrefix{"fd00::1/64"}, ec);
    ASSERT_FALSE(ec) << ec.message();
    socket_ = UniqueFd{::socket(v4() ? AF_INET : AF_INET6, SOCK_RAW | SOCK_CLOEXEC, some_protocol)};
    ASSERT_TRUE(socket_) << std::strerror(errno);
    demux_.add_proto(some_protocol, recorder_);
    // An address of IPv6 is tentative at first.
    ASSERT_TRUE(sandbox::wait_until([&] {
      EXPECT_EQ(device_->write(packet(sentinel_number, {})), 0);
      std::byte byte{};
      return ::recv(socket_.get(), &byte, 1, MSG_DONTWAIT) >= 0;
    }));
  }
  bool v4() const { return std::string{GetParam()} == "IPv4"; }

  /// The address of a set of fragments.
  IpAddress source(std::uint32_t number) const {
    if (v4()) return Ipv4Address{0x0a010000U + number};
    std::array<std::uint8_t, 16> octets{0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1};
    for (std::size_t i = 0; i < 4; ++i) octets[12 + i] = static_cast<std::uint8_t>(number >> (24 - 8 * i));
    return Ipv6Address{octets};
  }
  /// A packet of the payload, with a fragment header in IPv6, also around a whole datagram (RFC 6946).
  Buffer packet(std::uint32_t number, Bytes payload, unsigned offset = 0, bool more = false,
                std::uint8_t protocol = some_protocol) const {
    if (v4())
      return packets::ipv4({.identification = static_cast<std::uint16_t>(number),
                            .more_fragments = more,
                            .fragment_offset = static_cast<std::uint16_t>(offset),
                            .protocol = protocol,
                            .source = source(number).v4(),
                            .destination = "10.0.0.1"},
                           payload);
    const Ipv6Header header{.next_header = protocol, .source = source(number).v6(), .destination = "fd00::1"};
    Buffer fragment(8);
    store_u8(fragment, 0, protocol);
    store_be16(fragment, 2, static_cast<std::uint16_t>(offset | (more ? 1U : 0U)));
    store_be32(fragment, 4, number);
    Ipv6Header outer = header;
    outer.next_header = ip_protocol::ipv6_fragment;
    return ipv6_kit::ipv6(outer, ipv6_kit::joined(fragment, payload));
  }

  /// The payloads that the kernel's socket receives of the packets.
  std::vector<Payload> by_kernel(const std::vector<Buffer>& all) {
    const Buffer sentinel = packets::hex("5e 47 14 e1");
    for (const Buffer& one : all) EXPECT_EQ(device_->write(one), 0);
    EXPECT_EQ(device_->write(packet(sentinel_number, sentinel)), 0);
    std::vector<Payload> payloads;
    for (;;) {
      Buffer buffer(2000);
      if (!sandbox::wait_readable(socket_.get())) {
        ADD_FAILURE() << "the kernel does not deliver a whole datagram";
        return payloads;
      }
      const ssize_t size = ::recv(socket_.get(), buffer.data(), buffer.size(), 0);
      if (size < 0) {
        ADD_FAILURE() << std::strerror(errno);
        return payloads;
      }
      // A raw socket of IPv4 has the header in front.
      Bytes payload = Bytes{buffer}.first(static_cast<std::size_t>(size));
      if (v4()) payload = payload.subspan(Ipv4Header::size);
      if (std::ranges::equal(payload, sentinel)) return payloads;
      payloads.push_back(Recorder::payload_of(payload));
    }
  }
  std::vector<Payload> by_us(const std::vector<Buffer>& all) {
    recorder_.received.clear();
    for (const Buffer& one : all) tun_.deliver(demux_, one);
    return recorder_.received;
  }

  /// Compares the kernel, tunport and the rules over a set of fragments. False for a difference.
  bool compare(const Pieces& pieces) {
    const std::uint32_t number = next_++;
    std::vector<Buffer> all;
    for (std::size_t i = 0; i < pieces.size(); ++i) {
      Buffer payload;
      for (unsigned at = pieces[i].begin; at < pieces[i].end; ++at)
        payload.push_back(std::byte{fragment_rules::byte_of(i, at)});
      all.push_back(packet(number, payload, pieces[i].begin, pieces[i].more));
    }
    const Rules ours{.v6 = !v4()};
    const Rules linux_rules = rules_of_linux(v4());
    const auto expected = delivered(pieces, ours);
    const auto expected_of_linux = delivered(pieces, linux_rules);
    EXPECT_EQ(by_kernel(all), expected_of_linux) << "the kernel: " << fragment_rules::text_of(pieces);
    EXPECT_EQ(by_us(all), expected) << "tunport: " << fragment_rules::text_of(pieces);
    // The kernel's memory for datagrams in parts is bounded: an empty fragment ends the datagram there.
    EXPECT_EQ(device_->write(packet(number, {}, 8, false)), 0);
    if (expected == expected_of_linux) {
      ++agreed_;
      return !HasFailure();
    }
    for (const Difference& one : differences) {
      Rules changed = linux_rules;
      changed.*one.rule = false;
      if (delivered(pieces, changed) != expected_of_linux) ++mattered_[one.name];
    }
    return !HasFailure();
  }
  /// Compares every sequence of the pieces, of the given length.
  void compare_all(const Pieces& from, std::size_t length) {
    std::vector<std::size_t> digits(length);
    for (;;) {
      Pieces pieces;
      for (const std::size_t digit : digits) pieces.push_back(from[digit]);
      if (!compare(pieces)) return;
      std::size_t at = 0;
      while (at < length && ++digits[at] == from.size()) digits[at++] = 0;
      if (at == length) return;
    }
  }

  static constexpr std::uint32_t sentinel_number = 0;
  std::uint32_t next_ = 1;
  std::size_t agreed_ = 0;
  std::map<std::string, std::size_t> mattered_;
  std::optional<Device> device_;
  UniqueFd socket_;
  FakeTransport tun_{DeviceKind::tun};
  Recorder recorder_;
  IpDemux demux_;
};

INSTANTIATE_TEST_SUITE_P(Versions, KernelReassembly, testing::Values("IPv4", "IPv6"),
                         [](const auto& version) { return std::string{version.param}; });

/// Every fragment of a datagram of up to `blocks` times eight bytes, with and without more to follow.
Pieces every_piece(unsigned blocks) {
  Pieces all;
  for (unsigned begin = 0; begin < blocks; ++begin)
    for (unsigned end = begin + 1; end <= blocks; ++end)
      for (const bool more : {true, false}) all.push_back({begin * 8, end * 8, more});
  return all;
}

TEST_P(KernelReassembly, EverySequenceOfUpToFourIsJudgedAlike) {
  Pieces all = every_piece(3);
  // The end of a datagram anywhere; empty ones; odd ones.
  for (const Piece& piece :
       {Piece{16, 21, false}, Piece{0, 3, false}, Piece{0, 0, true}, Piece{8, 8, true}, Piece{8, 8, false},
        Piece{24, 24, false}, Piece{0, 13, true}, Piece{8, 11, true}})
    all.push_back(piece);
  for (std::size_t length = 1; length <= 3; ++length) compare_all(all, length);
  compare_all(every_piece(3), 4);
  // Without sets that matter a row of the table says nothing.
  for (const Difference& one : differences)
    EXPECT_EQ(mattered_[one.name] > 0, v4() ? one.v4 : one.v6) << one.name << ": " << one.reason;
  EXPECT_GT(agreed_, next_ * 3 / 4) << "differences are the exception";
}

TEST_P(KernelReassembly, FourInEveryOrderWithADuplicateAtEveryPlace) {
  const Pieces whole{{0, 8, true}, {8, 24, true}, {24, 32, true}, {32, 37, false}};
  std::vector<std::size_t> order{0, 1, 2, 3};
  do {
    Pieces pieces;
    for (const std::size_t i : order) pieces.push_back(whole[i]);
    ASSERT_TRUE(compare(pieces));
    ASSERT_EQ(recorder_.received.size(), 1U);
    for (std::size_t place = 0; place <= 4; ++place)
      for (const Piece& extra :
           {whole[0], whole[1], whole[2], whole[3], Piece{8, 16, true}, Piece{16, 24, true},
            Piece{0, 16, true}, Piece{0, 24, true}, Piece{0, 37, false}, Piece{32, 36, false},
            Piece{32, 40, true}, Piece{24, 40, false}}) {
        Pieces more = pieces;
        more.insert(more.begin() + static_cast<std::ptrdiff_t>(place), extra);
        ASSERT_TRUE(compare(more));
      }
  } while (std::ranges::next_permutation(order).found);
}

TEST_P(KernelReassembly, LongSequencesAtRandomAreJudgedAlike) {
  std::mt19937 random{5};
  const Pieces all = every_piece(5);
  for (int i = 0; i < 4000; ++i) {
    Pieces pieces(5 + random() % 6);
    for (Piece& piece : pieces) piece = all[random() % all.size()];
    // Mostly fragments that fit, so that datagrams become whole.
    if (i % 4 != 0)
      for (std::size_t k = 0; k < pieces.size(); ++k)
        if (random() % 5 != 0)
          pieces[k] = {static_cast<unsigned>(k % 5) * 8, static_cast<unsigned>(k % 5) * 8 + 8, k % 5 != 4};
    if (i % 2 != 0) std::shuffle(pieces.begin(), pieces.end(), random);
    ASSERT_TRUE(compare(pieces));
  }
}

}  // namespace
}  // namespace tunport
