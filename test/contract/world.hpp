#pragma once
/// The contract suite's two worlds: the fake kernel and the real one. What both can show is tested on both;
/// when they differ, the fake is wrong.

#include <functional>
#include <memory>
#include <optional>
#include <ostream>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "tunport/base/bytes.hpp"
#include "tunport/device/system.hpp"
#include "tunport/offload/offload.hpp"
#include "tunport/testing/memory_offload.hpp"

#include "kernel/sandbox.hpp"

namespace tunport::contract {

using Packet = std::vector<std::byte>;

/// A system to be used through its seams, and the kernel's side of its devices.
class World {
 public:
  virtual ~World() = default;
  virtual IoSystem& io() = 0;
  virtual LinkSystem& links() = 0;
  /// A clone device that every user may open.
  virtual std::string clone_path() { return "/dev/net/tun"; }
  /// The kernel sends a packet to the interface.
  virtual void inject(const std::string& interface, Bytes packet) = 0;
  /// The same for a packet on which this is left to do.
  virtual void inject(const std::string& interface, Bytes packet, const PacketOffload& offload) = 0;
  /// From now on what is written to the interface is seen by `collect`.
  virtual void listen(const std::string& interface) = 0;
  /// The next packet that was written to it, without framing, and what is left to do on it.
  virtual std::optional<WrittenPacket> collect_packet(const std::string& interface) = 0;
  /// The packet alone.
  std::optional<Packet> collect(const std::string& interface) {
    auto packet = collect_packet(interface);
    if (!packet) return std::nullopt;
    return std::move(packet->bytes);
  }
  /// `ip tuntap add`, with an owner and a group if given.
  virtual void prepare(const std::string& name, DeviceKind kind, std::optional<std::uint32_t> owner,
                       std::optional<std::uint32_t> group) = 0;
  virtual void set_tx_queue_length(const std::string& interface, unsigned packets) = 0;
  /// Runs `body` as that user and group, without privilege: its result, or -1 where that cannot be done.
  virtual int as_user(std::uint32_t id, const std::function<int()>& body) = 0;

  operator System() { return {io(), links()}; }  // NOLINT(google-explicit-constructor)
};

enum class WorldKind : std::uint8_t { fake, kernel };
inline std::ostream& operator<<(std::ostream& out, WorldKind kind) {
  return out << (kind == WorldKind::fake ? "fake" : "kernel");
}

/// A test that runs in either world. IPv6 is off on the kernel, which would send packets of its own, except
/// in suites that say otherwise.
class Contract : public sandbox::KernelTest, public ::testing::WithParamInterface<WorldKind> {
 protected:
  explicit Contract(bool with_ipv6 = false) : with_ipv6_{with_ipv6} {}
  void SetUp() override;

  World& world() { return *world_; }
  IoSystem& io() { return world_->io(); }
  LinkSystem& links() { return world_->links(); }

  /// A non-blocking descriptor of the clone device.
  UniqueFd clone();
  /// TUNSETIFF: zero or a negated errno; `name` becomes what the kernel made of it.
  int bind(const UniqueFd& fd, std::string& name, int flags);
  int bind(const UniqueFd& fd, std::string&& name, int flags) { return bind(fd, name, flags); }
  /// A new device of that name, up unless told otherwise.
  UniqueFd make(std::string name, int flags, bool up = true);
  void set_up(const std::string& name, bool up);
  bool exists(const std::string& name);
  /// TUNGETIFF's flags, or a negated errno.
  int flags_of(const UniqueFd& fd);
  /// One read into a buffer of `room` bytes; the errno, negated, in place of the size on failure.
  ssize_t read(const UniqueFd& fd, Packet& packet, std::size_t room = 2048);
  ssize_t write(const UniqueFd& fd, Bytes packet) {
    return io().write(fd.get(), packet.data(), packet.size());
  }
  /// What poll(2) says now.
  static short ready(const UniqueFd& fd, short events);

  std::error_code ec;

 private:
  bool with_ipv6_;
  std::unique_ptr<World> world_;
};

/// The suite in both worlds, as fake/SUITE.TEST/0 and kernel/SUITE.TEST/0.
#define TUNPORT_IN_BOTH_WORLDS(suite)                                                             \
  INSTANTIATE_TEST_SUITE_P(fake, suite, ::testing::Values(::tunport::contract::WorldKind::fake)); \
  INSTANTIATE_TEST_SUITE_P(kernel, suite, ::testing::Values(::tunport::contract::WorldKind::kernel))

using sandbox::make_frame;
using sandbox::make_ipv4;

}  // namespace tunport::contract
