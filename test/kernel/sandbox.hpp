#pragma once
/// The base of tests against the kernel: a network namespace for each test, and tools to look into it.
///
/// Each test runs in a fresh network namespace: the machine is not touched, and nothing is left behind. A
/// process without root first enters a private user namespace, to be root there. If neither is allowed, the
/// test is skipped, with a line about the remedy.

#include <chrono>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <sys/types.h>

#include "tunport/base/bytes.hpp"
#include "tunport/base/unique_fd.hpp"
#include "tunport/device/linux_links_internal.hpp"

#include "support/forwarding_io.hpp"

namespace tunport::sandbox {

using std::chrono::milliseconds;
using std::chrono::seconds;

/// A test in a fresh network namespace: loopback up, nothing else.
class KernelTest : public ::testing::Test {
 protected:
  void SetUp() override;

  LinuxLinks links;
  std::error_code ec;
};

/// True for root on the machine itself, with the right to make device nodes and to become another user.
bool is_real_root();

/// Switches IPv6 off for all interfaces of the namespace, present and future. Otherwise the kernel sends
/// router solicitations, duplicate address probes and group reports unasked on every interface that is up.
void disable_ipv6();

/// True as soon as `holds` is; false after `longest`.
bool wait_until(const std::function<bool()>& holds, milliseconds longest = seconds{5});
/// True if the descriptor becomes readable in time; false after `longest`.
bool wait_readable(int fd, milliseconds longest = seconds{5});
/// The number of open descriptors of the process.
std::size_t open_descriptors();

struct CommandResult {
  int status = -1;  ///< the exit status; 128 + N after signal N
  bool timed_out = false;
  std::string output;  ///< stdout and stderr
};
/// Runs a program, searched in PATH, and waits for its end; kills the program after `longest`.
CommandResult run(const std::vector<std::string>& arguments, milliseconds longest = seconds{10});
/// Runs `body` in a child process as user and group `id` without privilege. Returns the body's result (0 to
/// 255), or -1 if the child fails before. Precondition: `is_real_root()`.
int as_user(uid_t id, const std::function<int()>& body);

/// A clone device like /dev/net/tun that every user may open, as on most machines. Has a directory of its
/// own, removed by the destructor. Precondition: `is_real_root()`.
class PublicCloneDevice {
 public:
  PublicCloneDevice();
  ~PublicCloneDevice();
  PublicCloneDevice(const PublicCloneDevice&) = delete;
  PublicCloneDevice& operator=(const PublicCloneDevice&) = delete;
  /// The path of the device node.
  const std::string& path() const { return path_; }

 private:
  std::string directory_;
  std::string path_;
};

/// The other end of a device: packets sent here come out of the device's descriptor, packets written to the
/// descriptor arrive here. On TAP with the Ethernet header, on TUN from the IP header on.
class PacketSocket {
 public:
  /// With `virtio_header`, ten bytes of virtio header precede each packet in both directions.
  explicit PacketSocket(const std::string& interface, bool virtio_header = false);
  int fileno() const { return fd_.get(); }
  /// Sends a packet to the device. Returns zero or a positive errno.
  int send(Bytes packet);
  /// The next packet out of the device, except packets sent here; none after `longest`.
  std::optional<std::vector<std::byte>> receive(milliseconds longest = seconds{5});

 private:
  UniqueFd fd_;
  int index_ = 0;
  std::size_t header_ = 0;
  bool is_ethernet_ = false;
};

using test_support::ForwardingIo;

/// An Ethernet frame of `size` bytes, with an EtherType that no stack answers (0x88b5).
std::vector<std::byte> make_frame(std::size_t size, std::uint8_t fill = 0);
/// An IPv4 packet of `size` bytes with a valid header, with a protocol that no stack answers (253).
std::vector<std::byte> make_ipv4(std::size_t size, std::uint8_t fill = 0);

}  // namespace tunport::sandbox
