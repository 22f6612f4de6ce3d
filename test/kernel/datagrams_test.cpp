// Damaged datagrams to the kernel and to the host: a UDP socket of the kernel receives a datagram exactly if
// an endpoint of the host does, from the same source and with the same payload. As in reassembly_test.cpp, a
// sound datagram follows every question.
#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <map>
#include <optional>
#include <random>
#include <string>
#include <tuple>
#include <vector>

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "tunport/device/device.hpp"
#include "tunport/host/host.hpp"
#include "tunport/testing/fake_transport.hpp"
#include "tunport/wire/checksum.hpp"

#include "kernel/sandbox.hpp"
#include "support/ipv6_kit.hpp"

namespace tunport {
namespace {

using packets::Buffer;
using packets::hex;

constexpr std::uint16_t port = 42;

struct Received {
  Endpoint from;
  Buffer payload;
  bool operator==(const Received&) const = default;
};
void PrintTo(const Received& one, std::ostream* out) {
  *out << packets::to_hex(one.payload) << " from " << to_string(one.from);
}

struct Recorder : DatagramProtocol {
  void datagram_received(const Datagram& datagram) override {
    received.push_back({datagram.from, {datagram.data.begin(), datagram.data.end()}});
  }
  std::vector<Received> received;
};

/// The datagrams that one of the two takes and the other does not, on purpose.
struct Difference {
  const char* name;
  bool (*holds)(const Buffer& packet);
  bool kernel_takes;
  const char* reason;
};

bool is_v4(const Buffer& packet) { return !packet.empty() && load_u8(packet, 0) >> 4 == 4; }
std::size_t header_length(const Buffer& packet) { return (load_u8(packet, 0) & 15U) * 4; }

Ipv4Address source_of(const Buffer& packet) { return Ipv4Address::load(packet, 12); }

/// True for PadN with other bytes than zeros in the first extension header.
bool pads_with_contents(const Buffer& packet) {
  if (is_v4(packet) || packet.size() < 48 ||
      (load_u8(packet, 6) != ip_protocol::destination_options && load_u8(packet, 6) != 0))
    return false;
  const std::size_t end =
      std::min(packet.size(), Ipv6Header::size + (load_u8(packet, 41) + std::size_t{1}) * 8);
  for (std::size_t at = 42; at + 1 < end;) {
    const std::uint8_t type = load_u8(packet, at);
    const std::size_t next = type == 0 ? at + 1 : at + 2 + load_u8(packet, at + 1);
    if (type == 1)
      for (std::size_t i = at + 2; i < std::min(next, end); ++i)
        if (load_u8(packet, i) != 0) return true;
    at = next;
  }
  return false;
}

constexpr Difference differences[] = {
    {"options of IPv4 that are malformed, or a spent source route",
     [](const Buffer& packet) { return is_v4(packet) && header_length(packet) > Ipv4Header::size; }, false,
     "RFC 1122 3.2.1.8 has unknown options ignored; Linux checks the form of those it knows, and refuses "
     "source routes"},
    {"from 0.0.0.0/8, except 0.0.0.0",
     [](const Buffer& packet) { return is_v4(packet) && source_of(packet).value() >> 24 == 0; }, true,
     "RFC 1122 3.2.1.3 (a); Linux has taken it for ordinary since 5.3"},
    {"from the subnet's first address",
     [](const Buffer& packet) { return is_v4(packet) && source_of(packet) == Ipv4Address{"10.0.0.0"}; }, true,
     "RFC 1122 3.3.6 has it for an old broadcast address; Linux has taken it for ordinary since 5.14"},
    {"padding of IPv6 options with contents", pads_with_contents, false,
     "RFC 8200 4.2 has the contents zero, and does not ask the receiver to look; Linux looks (RFC 4942 "
     "2.1.9.5)"},
    {"from the receiver's own address, IPv6",
     [](const Buffer& packet) {
       return !is_v4(packet) && Ipv6Address::load(packet, 8) == Ipv6Address{"fd00::1"};
     },
     true, "nobody else has the address: forged"},
    {"a UDP length of 0, IPv6",
     [](const Buffer& packet) {
       DropReason why{};
       const auto ip = IpView::checked(packet, why);
       return ip && !ip->is_v4() && ip->payload().size() >= UdpHeader::size &&
              load_be16(ip->payload(), 4) == 0;
     },
     true, "a jumbogram (RFC 2675 4), not supported"},
};

class KernelDatagrams : public sandbox::KernelTest {
 protected:
  void SetUp() override {
    KernelTest::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    device_.emplace(Device::open(DeviceKind::tun, "tp0"));
    links.set_up("tp0", true, ec);
    ASSERT_FALSE(ec) << ec.message();
    // The source decides alone, not the way back.
    for (const char* which : {"all", "tp0"})
      std::ofstream{std::string{"/proc/sys/net/ipv4/conf/"} + which + "/rp_filter"} << "0" << std::flush;
    for (const char* prefix : {"10.0.0.1/8", "fd00::1/64"}) {
      links.add_address("tp0", *IpPrefix::parse(prefix), ec);
      ASSERT_FALSE(ec) << ec.message();
    }
    socket_ = UniqueFd{::socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0)};
    ASSERT_TRUE(socket_) << std::strerror(errno);
    sockaddr_in6 any{};
    any.sin6_family = AF_INET6;
    any.sin6_port = htons(port);
    ASSERT_EQ(::bind(socket_.get(), reinterpret_cast<const sockaddr*>(&any), sizeof(any)), 0);
    host_.add_udp(port, recorder_);
    host_.ip().connect(tun_);
    for (const bool v4 : {true, false})
      ASSERT_TRUE(sandbox::wait_until([&] {
        EXPECT_EQ(device_->write(sound(v4, "sentinel")), 0);
        std::byte byte{};
        return ::recv(socket_.get(), &byte, 1, MSG_DONTWAIT) >= 0;
      }));
    tun_.deliver(host_.ip(), sound(true, ""));
    ASSERT_EQ(recorder_.received.size(), 1U) << "the host is up";
  }

  void TearDown() override { host_.ip().disconnect(tun_); }

  static Buffer udp(const IpAddress& from, const IpAddress& to, packets::Content data) {
    return packets::udp_datagram({from, 4000}, {to, port}, data);
  }
  static Buffer sound(bool v4, packets::Content data, Bytes options = {}) {
    if (v4)
      return packets::ipv4(
          {.protocol = ip_protocol::udp, .source = "10.0.0.2", .destination = "10.0.0.1", .options = options},
          udp("10.0.0.2", "10.0.0.1", data));
    return ipv6_kit::ipv6({.next_header = ip_protocol::udp, .source = "fd00::2", .destination = "fd00::1"},
                          udp("fd00::2", "fd00::1", data));
  }
  static Buffer with_destination_options() {
    const Buffer payload = ipv6_kit::joined(hex("11 00 0104 00000000"), udp("fd00::2", "fd00::1", "payload"));
    return ipv6_kit::ipv6(
        {.next_header = ip_protocol::destination_options, .source = "fd00::2", .destination = "fd00::1"},
        payload);
  }

  /// The endpoint without a scope, and of IPv4 if the address is IPv4's in the form of IPv6 (RFC
  /// 4291 2.5.5.2).
  static Endpoint unmapped(const Endpoint& endpoint) {
    const auto& octets = endpoint.address.v6().octets();
    constexpr std::array<std::uint8_t, 12> prefix{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
    if (!std::equal(prefix.begin(), prefix.end(), octets.begin())) return {endpoint.address, endpoint.port};
    std::uint32_t value = 0;
    for (std::size_t i = 12; i < 16; ++i) value = value << 8 | octets[i];
    return {Ipv4Address{value}, endpoint.port};
  }

  std::vector<Received> by_kernel(const Buffer& packet) {
    // The driver refuses a packet of neither version.
    const int error = device_->write(packet);
    EXPECT_TRUE(error == 0 || error == EINVAL) << std::strerror(error);
    EXPECT_EQ(device_->write(sound(true, "sentinel")), 0);
    std::vector<Received> all;
    for (;;) {
      Buffer buffer(2000);
      sockaddr_storage from{};
      socklen_t size_of_from = sizeof(from);
      if (!sandbox::wait_readable(socket_.get())) {
        ADD_FAILURE() << "the kernel does not deliver a sound datagram";
        return all;
      }
      const ssize_t size = ::recvfrom(socket_.get(), buffer.data(), buffer.size(), 0,
                                      reinterpret_cast<sockaddr*>(&from), &size_of_from);
      if (size < 0) {
        ADD_FAILURE() << std::strerror(errno);
        return all;
      }
      buffer.resize(static_cast<std::size_t>(size));
      if (packets::to_hex(buffer) == packets::to_hex(as_bytes("sentinel"))) return all;
      all.push_back({unmapped(Endpoint::from_sockaddr(from).value_or(Endpoint{})), buffer});
    }
  }
  std::vector<Received> by_host(const Buffer& packet) {
    recorder_.received.clear();
    tun_.deliver(host_.ip(), packet);
    return recorder_.received;
  }

  void compare(const Buffer& packet) {
    const auto kernels = by_kernel(packet);
    const auto ours = by_host(packet);
    ++compared_;
    delivered_ += ours.size();
    if (kernels == ours) return;
    for (const Difference& one : differences)
      if (one.holds(packet) && kernels.empty() != one.kernel_takes && ours.empty() == one.kernel_takes) {
        ++mattered_[one.name];
        return;
      }
    ADD_FAILURE() << packets::to_hex(packet) << "\n  the kernel " << testing::PrintToString(kernels)
                  << "\n  the host " << testing::PrintToString(ours) << ", dropped " << tun_.drops;
  }

  /// The packet with right checksums: of IPv4's header if `ip`, of UDP if `transport`, as far as the headers
  /// allow.
  static Buffer repaired(Buffer packet, bool transport) {
    DropReason why{};
    if (is_v4(packet) && packet.size() >= Ipv4Header::size && header_length(packet) <= packet.size()) {
      store_be16(packet, 10, 0);
      store_be16(packet, 10, internet_checksum(Bytes{packet}.first(header_length(packet))));
    }
    const auto ip = IpView::checked(packet, why);
    if (!transport || !ip || ip->payload().size() < UdpHeader::size) return packet;
    const std::size_t at = static_cast<std::size_t>(ip->payload().data() - packet.data());
    const std::size_t told = load_be16(packet, at + 4);
    const std::size_t length =
        told < UdpHeader::size || told > ip->payload().size() ? ip->payload().size() : told;
    store_be16(packet, at + 6, 0);
    const std::uint16_t sum = Checksum{}
                                  .add_pseudo_header(ip->source(), ip->destination(), ip_protocol::udp,
                                                     static_cast<std::uint32_t>(length))
                                  .add(Bytes{packet}.subspan(at, length))
                                  .finish();
    store_be16(packet, at + 6, sum == 0 ? 0xffff : sum);
    return packet;
  }
  /// The packet as it is, with a right header checksum, and with all checksums right.
  void compare_repaired(const Buffer& packet) {
    compare(packet);
    compare(repaired(packet, false));
    compare(repaired(packet, true));
  }

  std::vector<Buffer> sound_packets() const {
    return {sound(true, "payload"),
            sound(true, "payload", hex("01010101")),
            sound(true, "payload", hex("0707040000000000")),
            sound(true, "payload", hex("4408050000000000")),
            sound(true, "payload", hex("83070400000000 00")),
            sound(false, "payload"),
            with_destination_options()};
  }

  std::optional<Device> device_;
  UniqueFd socket_;
  FakeTransport tun_{DeviceKind::tun};
  Recorder recorder_;
  Host host_{{.addresses = {"10.0.0.1", "fd00::1"}, .subnets = {"10.0.0.1/8", "fd00::1/64"}}};
  std::size_t compared_ = 0;
  std::size_t delivered_ = 0;
  std::map<std::string, std::size_t> mattered_;
};

TEST_F(KernelDatagrams, EveryByteOfTheHeadersIsJudgedAlike) {
  for (const Buffer& packet : sound_packets())
    for (std::size_t at = 0; at + 7 < packet.size(); ++at) {
      for (unsigned bit = 0; bit < 8; ++bit) {
        Buffer changed = packet;
        changed[at] ^= std::byte{static_cast<std::uint8_t>(1U << bit)};
        compare_repaired(changed);
      }
      for (const int value : {0, 1, 2, 7, 44, 60, 127, 128, 224, 240, 255}) {
        Buffer changed = packet;
        changed[at] = static_cast<std::byte>(value);
        compare_repaired(changed);
      }
    }
  EXPECT_GT(delivered_, compared_ / 10);
  EXPECT_LT(delivered_, compared_ * 9 / 10);
}

TEST_F(KernelDatagrams, EveryLengthIsJudgedAlike) {
  for (const Buffer& packet : sound_packets()) {
    for (std::size_t size = 1; size <= packet.size(); ++size)
      compare_repaired({packet.begin(), packet.begin() + static_cast<std::ptrdiff_t>(size)});
    for (std::size_t size = 1; size < 20; ++size)
      compare_repaired(packets::padded(packet, packet.size() + size, std::byte{0xee}));
    // Each length field by itself, and both.
    const std::size_t udp_at = packet.size() - UdpHeader::size - 7;
    for (std::uint16_t length = 0; length < packet.size() + 4; ++length) {
      Buffer changed = packet;
      store_be16(changed, is_v4(packet) ? 2 : 4, length);
      compare_repaired(changed);
      store_be16(changed, udp_at + 4, length);
      compare_repaired(changed);
      changed = packet;
      store_be16(changed, udp_at + 4, length);
      compare_repaired(changed);
    }
  }
}

TEST_F(KernelDatagrams, ManyChangesAtOnceAreJudgedAlike) {
  std::mt19937 random{11};
  const auto all = sound_packets();
  for (int i = 0; i < 20'000; ++i) {
    Buffer packet = all[random() % all.size()];
    for (std::size_t changes = 1 + random() % 3; changes > 0; --changes)
      packet[random() % packet.size()] =
          std::byte{static_cast<std::uint8_t>(random() % 3 == 0 ? random() % 256 : random() % 4)};
    compare(repaired(packet, random() % 4 != 0));
  }
  for (const Difference& one : differences)
    EXPECT_GT(mattered_[one.name], 0U) << one.name << ": " << one.reason;
}

}  // namespace
}  // namespace tunport
