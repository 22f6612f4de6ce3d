#include "tunport/device/device.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <functional>
#include <future>
#include <optional>
#include <thread>
#include <tuple>
#include <vector>

#include <fcntl.h>
#include <gmock/gmock.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sys/ioctl.h>

#include "tunport/testing/memory_system.hpp"

namespace tunport {
namespace {

using Buffer = std::vector<std::byte>;

/// A kernel that says what the test wants it to. What it is not asked for here fails.
class ScriptedIo final : public IoSystem {
 public:
  int open(const char*, int flags_asked) override {
    ++opened;
    open_flags = flags_asked;
    return open_result < 0 ? open_result : ::open("/dev/null", O_RDWR | O_CLOEXEC);
  }
  int access(const char*, int) override { return access_result; }
  int ioctl(int, unsigned long request, void* argument) override {
    if (request == TUNSETIFF) {
      ifreq asked{};
      std::memcpy(&asked, argument, sizeof asked);
      asked_flags.push_back(static_cast<unsigned short>(asked.ifr_flags));
      if ((asked.ifr_flags & IFF_TUN_EXCL) != 0) return -EBUSY;  // the device is there
      return (asked.ifr_flags & IFF_VNET_HDR) != 0 && !knows_header ? -EINVAL : bind_result;
    }
    if (request == TUNGETIFF) {
      ifreq answer{};
      std::memcpy(answer.ifr_name, "tp0", 4);
      answer.ifr_flags = static_cast<short>(flags);
      std::memcpy(argument, &answer, sizeof answer);
      return 0;
    }
    if (request == TUNGETVNETHDRSZ) {
      std::memcpy(argument, &header_size, sizeof header_size);
      return 0;
    }
    if (request == TUNGETVNETLE || request == TUNGETVNETBE) {
      const auto& set = request == TUNGETVNETLE ? little_endian : big_endian;
      if (!set) return -EINVAL;
      std::memcpy(argument, &*set, sizeof *set);
      return 0;
    }
    return -ENOTTY;
  }
  int ioctl_value(int, unsigned long request, unsigned long argument) override {
    if (request != TUNSETOFFLOAD) return -ENOTTY;
    masks.push_back(argument);
    return (argument & ~known_mask) != 0 || !knows_masks ? -EINVAL : 0;
  }
  ssize_t read(int fd, void*, std::size_t size) override {
    read_size = size;
    if (on_read) on_read(fd);
    return read_result;
  }
  ssize_t readv(int, std::span<const iovec> parts) override {
    std::copy_n(header.begin(), std::min(header.size(), parts[0].iov_len),
                static_cast<std::byte*>(parts[0].iov_base));
    return read_result;
  }
  ssize_t write(int, const void* data, std::size_t size) override {
    return writev(-1, std::array{iovec{const_cast<void*>(data), size}});
  }
  ssize_t writev(int, std::span<const iovec> parts) override {
    written.clear();
    for (const iovec& part : parts) {
      const auto* const from = static_cast<const std::byte*>(part.iov_base);
      written.insert(written.end(), from, from + part.iov_len);
    }
    return static_cast<ssize_t>(written.size());
  }
  int get_flags(int) override { return O_RDWR; }
  int set_flags(int, int, bool) override { return ++flags_set, 0; }
  int socket(int, int, int) override { return -ENOTTY; }
  int bind(int, const sockaddr*, socklen_t) override { return -ENOTTY; }
  int getsockname(int, sockaddr*, socklen_t*) override { return -ENOTTY; }
  int getsockopt(int, int, int, void*, socklen_t*) override { return -ENOTTY; }
  int setsockopt(int, int, int, const void*, socklen_t) override { return -ENOTTY; }
  int connect(int, const sockaddr*, socklen_t) override { return -ENOTTY; }
  ssize_t recvmsg(int, msghdr*, int) override { return -ENOTTY; }
  ssize_t sendmsg(int, const msghdr*, int) override { return -ENOTTY; }

  int open_result = 0;
  int access_result = -EACCES;
  int bind_result = 0;
  int flags = IFF_TAP | IFF_NO_PI;
  int header_size = 10;
  bool knows_header = true;
  bool knows_masks = true;
  unsigned long known_mask = 0x7f;
  std::optional<int> little_endian = 0;  ///< nothing: does not know the request
  std::optional<int> big_endian;
  std::vector<unsigned short> asked_flags;
  std::vector<unsigned long> masks;
  ssize_t read_result = 0;
  std::size_t read_size = 0;
  std::function<void(int fd)> on_read;
  Buffer header;  ///< what lies in the first part of a readv
  int opened = 0;
  int open_flags = 0;
  int flags_set = 0;
  Buffer written;
};

class DeviceTest : public ::testing::Test {
 protected:
  std::error_code error_of_open(const std::string& name, const DeviceOptions& options = {}) {
    std::error_code ec;
    const Device device = Device::open(DeviceKind::tap, name, options, system(), ec);
    EXPECT_EQ(static_cast<bool>(device), !ec);
    return ec;
  }
  System system() { return {io, no_links.links()}; }

  ScriptedIo io;
  MemorySystem no_links;
};

TEST_F(DeviceTest, NamesThatAnInterfaceCanHave) {
  for (const std::string name : {"", "a", "tp0", "tp%d", "%d", "%dtp", "fifteen-letters", "thirteen-char%d",
                                 "...", ".a", "a\"b", "t\xc3\xbc"}) {
    EXPECT_FALSE(error_of_open(name)) << '"' << name << '"';
  }
}

TEST_F(DeviceTest, NamesThatItCannotHaveAreRefusedBeforeAnythingIsOpened) {
  using namespace std::string_literals;
  for (const std::string& name :
       {"."s, ".."s, "a/b"s, "a:b"s, "a b"s, "a\tb"s, "a\nb"s, "a\0b"s, "a\xa0"s, "sixteen-letters-"s,
        "fourteenletter%d"s, "%"s, "tp%"s, "tp%s"s, "tp%d%d"s, "%dtp%d"s, "%%d"s, "tp%02d"s})
    EXPECT_EQ(error_of_open(name), Errc::invalid_name) << '"' << name << '"';
  EXPECT_EQ(io.opened, 0);
}

// Later would be too late: another thread may fork and exec in between.
TEST_F(DeviceTest, NonBlockingAndCloseOnExecFromTheStart) {
  for (const bool blocking : {false, true}) {
    const Device device = Device::open(DeviceKind::tap, "tp0", {.blocking = blocking}, system());
    EXPECT_EQ(io.open_flags, O_RDWR | O_CLOEXEC | O_NONBLOCK);
    EXPECT_EQ(io.flags_set, 0);
  }
}

TEST_F(DeviceTest, ErrorsOfTheCloneDevice) {
  const auto error_for = [&](int number) {
    io.open_result = -number;
    return error_of_open("tp0");
  };
  EXPECT_EQ(error_for(ENOENT), Errc::no_driver);
  EXPECT_EQ(error_for(ENODEV), Errc::no_driver);
  EXPECT_EQ(error_for(ENXIO), Errc::no_driver);
  EXPECT_EQ(error_for(EACCES), Errc::clone_device_denied);
  io.access_result = 0;
  EXPECT_EQ(error_for(EACCES), Errc::clone_device_forbidden) << "the mode allows it: a mount with nodev";
  EXPECT_EQ(error_for(EPERM), Errc::clone_device_forbidden);
  EXPECT_EQ(error_for(EISDIR), Errc::not_clone_device);
  EXPECT_EQ(error_for(EMFILE), errno_code(EMFILE));
}

TEST_F(DeviceTest, ErrorsOfBinding) {
  const auto error_for = [&](int number) {
    io.bind_result = -number;
    return error_of_open("no-such-link");
  };
  EXPECT_EQ(error_for(EPERM), Errc::not_permitted);
  EXPECT_EQ(error_for(EBUSY), Errc::device_busy);
  EXPECT_EQ(error_for(EEXIST), Errc::device_exists);
  EXPECT_EQ(error_for(EINVAL), errno_code(EINVAL));
  EXPECT_EQ(error_for(E2BIG), Errc::too_many_queues);
  EXPECT_EQ(error_for(ENOTTY), Errc::not_clone_device);
}

TEST_F(DeviceTest, CapabilitiesAreWhatWasReadBack) {
  io.flags = IFF_TUN | IFF_NO_PI | IFF_VNET_HDR | IFF_MULTI_QUEUE | IFF_PERSIST;
  io.header_size = 12;
  const Device device = Device::open(DeviceKind::tap, "other", {.packet_information = true}, system());
  EXPECT_EQ(device.name(), "tp0");
  EXPECT_EQ(to_string(device.capabilities()),
            "tun, packet information, virtio header, multi-queue, persistent");
  EXPECT_EQ(device.capabilities().framing, 16U);
}

TEST_F(DeviceTest, HeaderSizeIsNotTrusted) {
  io.flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR;
  for (const int size : {-1, 0, 9, 65, 1 << 30}) {
    io.header_size = size;
    EXPECT_EQ(error_of_open("tp0"), Errc::bad_header_size) << size;
  }
  io.header_size = 64;
  EXPECT_FALSE(error_of_open("tp0"));
  EXPECT_EQ(error_of_open("tp0", {.packet_information = true}), Errc::bad_header_size);
}

TEST_F(DeviceTest, ReadShorterThanTheFramingIsAnError) {
  Device device = Device::open(DeviceKind::tap, "tp0", {.packet_information = true}, system());
  Buffer buffer(100);
  for (const ssize_t size : {0, 3}) {
    io.read_result = size;
    EXPECT_EQ(device.read(buffer).error, EINVAL);
    EXPECT_EQ(device.read_framed(buffer).error, EINVAL);
  }
  io.read_result = 4;
  EXPECT_EQ(device.read(buffer).error, 0);
  EXPECT_EQ(device.read(buffer).size, 0U);
  io.read_result = -EINTR;
  EXPECT_EQ(device.read(buffer).error, EINTR);
}

TEST_F(DeviceTest, WritesZeroedVirtioHeaderAfterPacketInformation) {
  io.flags = IFF_TAP | IFF_VNET_HDR;
  io.header_size = 12;
  Device device = Device::open(DeviceKind::tap, "tp0", {.packet_information = true}, system());
  Buffer frame(60, std::byte{0xee});
  // The EtherType lies across parts.
  const std::array<Bytes, 3> parts{Bytes{frame}.first(13), Bytes{}, Bytes{frame}.subspan(13)};
  EXPECT_EQ(device.write_sequence(parts), 0);
  Buffer expected(16);
  store_be16(expected, 2, 0xeeee);
  expected.insert(expected.end(), frame.begin(), frame.end());
  EXPECT_EQ(io.written, expected);
}

TEST_F(DeviceTest, WithoutOffloadWantedNoneIsAskedForAndTheMaskIsCleared) {
  const Device device = Device::open(DeviceKind::tap, "tp0", {}, system());
  EXPECT_EQ(io.asked_flags,
            (std::vector<unsigned short>{IFF_TAP | IFF_NO_PI | IFF_TUN_EXCL, IFF_TAP | IFF_NO_PI}));
  EXPECT_EQ(io.masks, (std::vector<unsigned long>{0}));
  EXPECT_FALSE(device.capabilities().offload.any());
}

TEST_F(DeviceTest, OffloadThatIsWantedAndGranted) {
  io.flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR;
  const Device device = Device::open(DeviceKind::tap, "tp0", {.offload = OffloadFeatures::all()}, system());
  EXPECT_EQ(io.asked_flags.back(), IFF_TAP | IFF_NO_PI | IFF_VNET_HDR);
  EXPECT_EQ(io.masks, (std::vector<unsigned long>{0x6f}));
  EXPECT_EQ(device.capabilities().offload, OffloadFeatures::all());
  EXPECT_EQ(device.capabilities().framing, 10U);
  EXPECT_EQ(to_string(device.capabilities()), "tap, virtio header, offload checksum+tso4+tso6+ecn+uso");
}

TEST_F(DeviceTest, WhatIsWantedIsMadeConsistentBeforeItIsAskedFor) {
  io.flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR;
  const std::pair<OffloadFeatures, unsigned long> table[] = {
      {{.tso4 = true, .tso6 = true, .ecn = true, .uso = true}, 0},
      {{.checksum = true}, 1},
      {{.checksum = true, .ecn = true}, 1},
      {{.checksum = true, .tso4 = true, .ecn = true}, 0xb},
      {{.checksum = true, .tso6 = true, .ecn = true}, 0xd},
      {{.checksum = true, .uso = true}, 0x61},
  };
  for (const auto& [wanted, mask] : table) {
    io.masks.clear();
    const Device device = Device::open(DeviceKind::tap, "tp0", {.offload = wanted}, system());
    EXPECT_EQ(io.masks, (std::vector<unsigned long>{mask}));
    EXPECT_TRUE(wanted.checksum || device.capabilities().offload == OffloadFeatures::none());
  }
  EXPECT_EQ(io.asked_flags.front(), IFF_TAP | IFF_NO_PI | IFF_TUN_EXCL) << "nothing that could be granted";
}

TEST_F(DeviceTest, LessIsAskedForUntilTheKernelTakesIt) {
  io.flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR;
  const std::tuple<unsigned long, std::vector<unsigned long>, OffloadFeatures> table[] = {
      {0x1f, {0x6f, 0xf}, {.checksum = true, .tso4 = true, .tso6 = true, .ecn = true}},
      {0x07, {0x6f, 0xf, 7}, {.checksum = true, .tso4 = true, .tso6 = true}},
      {0x03, {0x6f, 0xf, 7, 3}, {.checksum = true, .tso4 = true}},
      {0x01, {0x6f, 0xf, 7, 3, 1}, {.checksum = true}},
      {0x00, {0x6f, 0xf, 7, 3, 1, 0}, {}},
  };
  for (const auto& [known, masks, granted] : table) {
    io.known_mask = known;
    io.masks.clear();
    const Device device = Device::open(DeviceKind::tap, "tp0", {.offload = OffloadFeatures::all()}, system());
    EXPECT_EQ(io.masks, masks);
    EXPECT_EQ(device.capabilities().offload, granted);
    EXPECT_EQ(device.capabilities().framing, 10U) << "the header is there all the same";
  }
}

TEST_F(DeviceTest, AKernelThatKnowsOfNoMaskIsNoError) {
  io.knows_masks = false;
  EXPECT_FALSE(error_of_open("tp0"));
  io.flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR;
  EXPECT_FALSE(error_of_open("tp0", {.offload = OffloadFeatures::all()}));
}

TEST_F(DeviceTest, AKernelThatRefusesTheHeaderIsAskedWithout) {
  io.knows_header = false;
  const Device device =
      Device::open(DeviceKind::tap, "no-such-link", {.offload = OffloadFeatures::all()}, system());
  EXPECT_EQ(io.asked_flags,
            (std::vector<unsigned short>{IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | IFF_TUN_EXCL,
                                         IFF_TAP | IFF_NO_PI | IFF_VNET_HDR,
                                         IFF_TAP | IFF_NO_PI | IFF_TUN_EXCL, IFF_TAP | IFF_NO_PI}));
  EXPECT_EQ(io.masks, (std::vector<unsigned long>{0}));
  EXPECT_EQ(device.capabilities().framing, 0U);
  EXPECT_FALSE(device.capabilities().offload.any());
}

TEST_F(DeviceTest, ADescriptorWithoutTheHeaderIsGrantedNothing) {
  Device device = Device::open(DeviceKind::tap, "tp0", {.offload = OffloadFeatures::all()}, system());
  EXPECT_FALSE(device.capabilities().offload.any());
  std::error_code ec;
  device.set_offload(OffloadFeatures::all(), ec);
  EXPECT_FALSE(ec);
  EXPECT_FALSE(device.capabilities().offload.any());
  EXPECT_EQ(io.masks, (std::vector<unsigned long>{0, 0}));
}

TEST_F(DeviceTest, TheMaskCanBeChanged) {
  io.flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR;
  Device device = Device::open(DeviceKind::tap, "tp0", {.offload = OffloadFeatures::all()}, system());
  OffloadFeatures wanted = OffloadFeatures::all();
  wanted.uso = false;
  std::error_code ec;
  device.set_offload(wanted, ec);
  EXPECT_FALSE(ec);
  EXPECT_EQ(device.capabilities().offload, wanted);
  EXPECT_EQ(io.masks.back(), 0xfU);
}

TEST_F(DeviceTest, ByteOrderAsReadBack) {
  io.flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR;
  constexpr std::nullopt_t unknown = std::nullopt;
  const std::tuple<std::optional<int>, std::optional<int>, std::endian> table[] = {
      {unknown, unknown, std::endian::native}, {0, unknown, std::endian::native}, {0, 0, std::endian::native},
      {1, unknown, std::endian::little},       {0, 1, std::endian::big},          {1, 1, std::endian::little},
  };
  for (const auto& [little, big, order] : table) {
    io.little_endian = little;
    io.big_endian = big;
    const Device device = Device::open(DeviceKind::tap, "tp0", {}, system());
    EXPECT_EQ(device.capabilities().byte_order, order);
    const bool is_said = to_string(device.capabilities()).find("endian") != std::string::npos;
    EXPECT_EQ(is_said, order != std::endian::native);
  }
}

TEST_F(DeviceTest, FramingAndPacketReadAsTheyLie) {
  io.flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR;
  io.header_size = 12;
  Device device = Device::open(DeviceKind::tap, "tp0", {}, system());
  Buffer buffer(12 + 100 + 1);
  const std::tuple<ssize_t, std::size_t, bool, int> table[] = {
      {0, 0, false, EINVAL}, {11, 0, false, EINVAL}, {12, 0, false, 0},
      {112, 100, false, 0},  {113, 100, true, 0},    {-EAGAIN, 0, false, EAGAIN},
  };
  for (const auto& [given, size, truncated, error] : table) {
    io.read_result = given;
    const ReadResult result = device.read_framed(buffer);
    EXPECT_EQ(result.size, size) << given;
    EXPECT_EQ(result.truncated, truncated) << given;
    EXPECT_EQ(result.error, error) << given;
  }
  EXPECT_EQ(io.read_size, buffer.size());
  io.read_size = 0;
  EXPECT_EQ(device.read_framed(MutableBytes{buffer}.first(12)).error, EINVAL);
  EXPECT_EQ(io.read_size, 0U) << "the packet is not lost";
}

TEST_F(DeviceTest, AHeaderThatDoesNotFitItsPacketIsAnError) {
  io.flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR;
  Device device = Device::open(DeviceKind::tap, "tp0", {}, system());
  Buffer buffer(101);
  io.read_result = 10 + 100;
  io.header = Buffer(10);
  EXPECT_EQ(device.read(buffer).error, 0);
  io.header[0] = std::byte{1};  // a checksum to fill, far beyond the packet
  io.header[6] = io.header[7] = std::byte{0xff};
  EXPECT_EQ(device.read(buffer).error, EBADMSG);
  Buffer framed = io.header;
  framed.resize(110);
  DropReason why{};
  EXPECT_FALSE(device.offload_of(framed, why));
  EXPECT_EQ(why, DropReason::bad_offload);
}

TEST_F(DeviceTest, FramingIsWrittenWhole) {
  io.flags = IFF_TUN | IFF_VNET_HDR;
  io.header_size = 12;
  io.big_endian = 1;
  const Device device = Device::open(DeviceKind::tun, "tp0", {.packet_information = true}, system());
  Buffer framing(16, std::byte{0xee});
  const PacketOffload left{.checksum = ChecksumState::to_fill, .checksum_start = 40, .checksum_offset = 16};
  EXPECT_TRUE(device.emit_framing(framing, Buffer(1, std::byte{0x60}), left));
  Buffer expected(16);
  store_be16(expected, 2, 0x86dd);
  store_u8(expected, 4, 1);
  store_be16(expected, 10, 40);
  store_be16(expected, 12, 16);
  EXPECT_EQ(framing, expected);
  EXPECT_FALSE(device.emit_framing(framing, Buffer(1), left)) << "neither IPv4 nor IPv6";
}

TEST_F(DeviceTest, FramingAndPacketAreWrittenAsTheyLie) {
  io.flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR;
  Device device = Device::open(DeviceKind::tap, "tp0", {}, system());
  Buffer framed(70, std::byte{0xee});
  EXPECT_EQ(device.write_framed(Bytes{framed}), 0);
  EXPECT_EQ(io.written, framed);
  const std::array parts{iovec{framed.data(), 3}, iovec{framed.data() + 3, 67}};
  EXPECT_EQ(device.write_framed(std::span<const iovec>{parts}), 0);
  EXPECT_EQ(io.written, framed);
}

/// What is left of the mask when the device is closed, destroyed or assigned to; nothing where it is let go.
TEST_F(DeviceTest, ClosingAPersistentDeviceClearsItsMask) {
  const auto masks_after = [&](int flags, const OffloadFeatures& wanted, auto end) {
    io.flags = flags;
    Device device = Device::open(DeviceKind::tap, "tp0", {.offload = wanted}, system());
    io.masks.clear();
    end(device);
    return io.masks;
  };
  const auto close = [](Device& device) { device.close(); };
  const std::vector<unsigned long> nothing;
  const std::vector<unsigned long> cleared{0};
  constexpr int flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR;
  EXPECT_EQ(masks_after(flags | IFF_PERSIST, OffloadFeatures::all(), close), cleared);
  EXPECT_EQ(
      masks_after(flags | IFF_PERSIST, OffloadFeatures::all(), [](Device& device) { device = Device{}; }),
      cleared);
  EXPECT_EQ(masks_after(flags | IFF_PERSIST, OffloadFeatures::all(),
                        [](Device& device) { Device{std::move(device)}; }),
            cleared);
  EXPECT_EQ(
      masks_after(flags | IFF_PERSIST, OffloadFeatures::all(), [](Device& device) { device.release(); }),
      nothing);
  EXPECT_EQ(masks_after(flags | IFF_PERSIST, {}, close), nothing) << "there was none";
  EXPECT_EQ(masks_after(flags, OffloadFeatures::all(), close), nothing) << "it vanishes";
  EXPECT_EQ(masks_after(flags | IFF_PERSIST | IFF_MULTI_QUEUE, OffloadFeatures::all(), close), nothing)
      << "it is the other queues' too";
}

// What stands behind the number of a closed descriptor may be another file.
TEST_F(DeviceTest, CloseWaitsForACallThatIsMadeAgain) {
  Device device = Device::open(DeviceKind::tap, "tp0", {.blocking = true}, system());
  std::promise<void> called_again;
  std::promise<void> go_on;
  std::atomic<int> calls{0};
  std::atomic<bool> was_open{false};
  std::atomic<bool> closed{false};
  io.read_result = -EAGAIN;
  io.on_read = [&](int fd) {
    if (++calls != 2) return;
    called_again.set_value();
    go_on.get_future().wait();
    was_open = ::fcntl(fd, F_GETFD) >= 0;
  };
  Buffer buffer(100);
  std::thread reader{[&] { EXPECT_EQ(device.read_framed(buffer).error, ECANCELED); }};
  called_again.get_future().wait();
  std::thread closer{[&] {
    device.close();
    closed = true;
  }};
  std::this_thread::sleep_for(std::chrono::milliseconds{50});
  EXPECT_FALSE(closed);
  go_on.set_value();
  reader.join();
  closer.join();
  EXPECT_TRUE(was_open);
  const int before = calls;
  EXPECT_EQ(device.read_framed(buffer).error, ECANCELED) << "as one that was late";
  EXPECT_EQ(calls, before);
}

TEST_F(DeviceTest, MovesAndCloses) {
  Device device = Device::open(DeviceKind::tap, "tp0", {}, system());
  const int number = device.fileno();
  Device other = std::move(device);
  EXPECT_EQ(other.fileno(), number);
  other.close();
  other.close();
  EXPECT_FALSE(other);
  EXPECT_EQ(::fcntl(number, F_GETFD), -1);
  EXPECT_FALSE(Device{});
}

}  // namespace
}  // namespace tunport
