// The kernel as the second reference: super-packets are written into an interface, and the kernel's segments
// are read from another interface without offload. The segments must equal the segmenter's, byte by byte.
//
// TUN: routed, with the TTL one less. TAP: bridged, without changes.

#include <array>
#include <cerrno>
#include <cstring>
#include <fstream>

#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/uio.h>
#include <unistd.h>

#include "tunport/offload/layout_internal.hpp"
#include "tunport/offload/segmenter_internal.hpp"
#include "tunport/offload/virtio_header_internal.hpp"
#include "tunport/testing/packets.hpp"

#include "kernel/sandbox.hpp"
#include "support/shape.hpp"

namespace tunport {
namespace {

using packets::to_hex;
using shapes::Buffer;
using shapes::Shape;

class KernelSegments : public sandbox::KernelTest {
 protected:
  void SetUp() override {
    KernelTest::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    sandbox::disable_ipv6();
  }

  /// Opens an interface, sets it up, and returns the descriptor.
  UniqueFd open_device(DeviceKind kind, const char* name, bool virtio_header) {
    UniqueFd fd{::open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK)};
    ifreq request{};
    std::strncpy(request.ifr_name, name, IFNAMSIZ - 1);
    const int flags =
        (kind == DeviceKind::tun ? IFF_TUN : IFF_TAP) | IFF_NO_PI | (virtio_header ? IFF_VNET_HDR : 0);
    request.ifr_flags = static_cast<short>(flags);
    EXPECT_EQ(::ioctl(fd.get(), TUNSETIFF, &request), 0) << std::strerror(errno);
    EXPECT_EQ(::ioctl(fd.get(), TUNSETOFFLOAD, 0UL), 0) << std::strerror(errno);
    links.set_up(name, true, ec);
    EXPECT_FALSE(ec) << ec.message();
    return fd;
  }

  static void command(const std::vector<std::string>& arguments) {
    const auto result = sandbox::run(arguments);
    ASSERT_EQ(result.status, 0) << arguments[0] << ": " << result.output;
  }

  static void set(const std::string& name, const char* value) {
    std::ofstream file{"/proc/sys/net/" + name};
    file << value << std::flush;
    ASSERT_TRUE(file.good()) << name;
  }

  void address(const char* name, const char* prefix) {
    links.add_address(name, *IpPrefix::parse(prefix), ec);
    ASSERT_FALSE(ec) << prefix << ": " << ec.message();
  }

  /// Writes a super-packet into tp0, and reads the kernel's segments from tp1.
  std::vector<Buffer> segmented(Buffer packet, const PacketOffload& offload, DeviceKind kind,
                                std::size_t expected) {
    std::array<std::byte, virtio_header::size> header{};
    virtio_header::encode(offload, std::endian::native, header);
    const iovec parts[] = {{header.data(), header.size()}, {packet.data(), packet.size()}};
    const ssize_t written = ::writev(in_.get(), parts, 2);
    EXPECT_EQ(written, static_cast<ssize_t>(header.size() + packet.size())) << std::strerror(errno);
    std::vector<Buffer> result;
    while (written > 0 && result.size() < expected &&
           sandbox::wait_readable(out_.get(), sandbox::seconds{2})) {
      Buffer buffer(70000);
      const ssize_t size = ::read(out_.get(), buffer.data(), buffer.size());
      if (size <= 0) break;
      buffer.resize(static_cast<std::size_t>(size));
      if (find_layout(buffer, kind)) result.push_back(buffer);  // except packets of the kernel's own
    }
    return result;
  }

  /// Compares the kernel's datagrams of one shape with the segmenter's.
  void compare(const Shape& shape, std::size_t payload_size, std::size_t segment_size) {
    const std::string what =
        shape.name() + ", " + std::to_string(payload_size) + " by " + std::to_string(segment_size);
    const PacketOffload offload = shapes::offload_of(shape, segment_size);
    const Buffer packet = shapes::super_packet(shape, shapes::some_bytes(payload_size));
    const std::size_t count = datagrams_in(packet.size(), offload);
    const auto kernels = segmented(packet, offload, shape.kind, count);
    ASSERT_EQ(kernels.size(), count) << what;
    Buffer work = packet;
    Segmenter segmenter;
    segmenter.start(work, offload, shape.kind);
    for (const Buffer& kernels_own : kernels) {
      const MutableBytes ours = segmenter.next_in_place(ChecksumState::verified);
      Buffer normalised(ours.begin(), ours.end());
      if (shape.kind == DeviceKind::tun) route(normalised, shape);
      ASSERT_EQ(to_hex(kernels_own), to_hex(normalised)) << what;
    }
    EXPECT_TRUE(segmenter.done()) << what;
  }

  /// Changes a packet as routing does.
  static void route(Buffer& packet, const Shape& shape) {
    const MutableBytes bytes{packet};
    if (shape.v6) {
      store_u8(bytes, 7, static_cast<std::uint8_t>(load_u8(bytes, 7) - 1));
      return;
    }
    store_u8(bytes, 8, static_cast<std::uint8_t>(load_u8(bytes, 8) - 1));
    store_be16(bytes, 10, 0);
    store_be16(bytes, 10, internet_checksum(bytes.first((load_u8(bytes, 0) & 0xfU) * std::size_t{4})));
  }

  /// True if the kernel has UDP super-packets, as since Linux 6.2; the device of tp0 answers.
  bool knows_uso() const {
    constexpr unsigned long checksum = 0x01;
    constexpr unsigned long uso4_and_uso6 = 0x20 | 0x40;  // TUN_F_USO4, TUN_F_USO6: not in linux-libc-dev 6.1
    const bool answer = ::ioctl(in_.get(), TUNSETOFFLOAD, checksum | uso4_and_uso6) == 0;
    EXPECT_EQ(::ioctl(in_.get(), TUNSETOFFLOAD, 0UL), 0);
    return answer;
  }

  void compare_all(DeviceKind kind) {
    const bool uso = knows_uso();
    for (Shape shape : shapes::all()) {
      if (shape.kind != kind || (!shape.is_tcp() && !uso)) continue;
      shape.destination4 = Ipv4Address{0x0a000102};  // behind tp1
      for (const unsigned flags :
           {unsigned{tcp_flag::ack}, unsigned{tcp_flag::ack} | tcp_flag::psh | tcp_flag::fin,
            unsigned{tcp_flag::ack} | tcp_flag::cwr | tcp_flag::ece,
            unsigned{tcp_flag::ack} | tcp_flag::cwr | tcp_flag::urg | tcp_flag::psh}) {
        if (!shape.is_tcp() && flags != tcp_flag::ack) continue;
        shape.flags = static_cast<std::uint8_t>(flags);
        ASSERT_NO_FATAL_FAILURE(compare(shape, 3001, 1000));
        ASSERT_NO_FATAL_FAILURE(compare(shape, 3000, 1000));
        ASSERT_NO_FATAL_FAILURE(compare(shape, 60, 1));
        ASSERT_NO_FATAL_FAILURE(compare(shape, 45UL * 1400 - 7, 1400));
      }
    }
  }

  UniqueFd in_;
  UniqueFd out_;
};

TEST_F(KernelSegments, OfTunAreOurs) {
  set("ipv6/conf/default/disable_ipv6", "0");
  set("ipv6/conf/all/disable_ipv6", "0");
  in_ = open_device(DeviceKind::tun, "tp0", true);
  out_ = open_device(DeviceKind::tun, "tp1", false);
  set("ipv4/ip_forward", "1");
  set("ipv6/conf/all/forwarding", "1");
  address("tp0", "10.0.0.254/24");
  address("tp1", "10.0.1.254/24");
  address("tp0", "fd00::fe/64");
  address("tp1", "fd00:0:0:1::fe/64");
  compare_all(DeviceKind::tun);
}

TEST_F(KernelSegments, OfTapWithTagsAreOurs) {
  in_ = open_device(DeviceKind::tap, "tp0", true);
  out_ = open_device(DeviceKind::tap, "tp1", false);
  const auto bridge = sandbox::run({"ip", "link", "add", "br0", "type", "bridge"});
  if (bridge.status != 0) GTEST_SKIP() << "this kernel has no bridge: " << bridge.output;
  command({"ip", "link", "set", "tp0", "master", "br0"});
  command({"ip", "link", "set", "tp1", "master", "br0"});
  command({"ip", "link", "set", "br0", "up"});
  compare_all(DeviceKind::tap);
}

}  // namespace
}  // namespace tunport
