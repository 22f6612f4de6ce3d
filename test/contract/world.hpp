#pragma once
/// The contract suite's two worlds: the fake kernel and the real one. Each test runs in both worlds; where
/// results differ, the fake is wrong.

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
#include "tunport/testing/memory_offload_internal.hpp"

#include "kernel/sandbox.hpp"

namespace tunport::contract {

using Packet = std::vector<std::byte>;

/// A system behind its seams, and the kernel's side of its devices.
class World {
 public:
  virtual ~World() = default;
  /// The calls for descriptors.
  virtual IoSystem& io() = 0;
  /// The calls for interfaces.
  virtual LinkSystem& links() = 0;
  /// The path of a clone device that every user may open.
  virtual std::string clone_path() { return "/dev/net/tun"; }
  /// Has the kernel send a packet to the interface.
  virtual void inject(const std::string& interface, Bytes packet) = 0;
  /// Has the kernel send a packet with the work left to do in `offload`.
  virtual void inject(const std::string& interface, Bytes packet, const PacketOffload& offload) = 0;
  /// Records the packets written to the interface from now on, for `collect`.
  virtual void listen(const std::string& interface) = 0;
  /// The next packet written to the interface, without framing, and the work left to do.
  virtual std::optional<WrittenPacket> collect_packet(const std::string& interface) = 0;
  /// The next packet written to the interface, without framing.
  std::optional<Packet> collect(const std::string& interface) {
    auto packet = collect_packet(interface);
    if (!packet) return std::nullopt;
    return std::move(packet->bytes);
  }
  /// `ip tuntap add`, with an owner and a group if given.
  virtual void prepare(const std::string& name, DeviceKind kind, std::optional<std::uint32_t> owner,
                       std::optional<std::uint32_t> group) = 0;
  /// Sets the length of the ring between interface and descriptor.
  virtual void set_tx_queue_length(const std::string& interface, unsigned packets) = 0;
  /// Runs `body` as user and group `id`, without privilege. Returns the result, or -1 without the right to do
  /// so.
  virtual int as_user(std::uint32_t id, const std::function<int()>& body) = 0;

  operator System() { return {io(), links()}; }  // NOLINT(google-explicit-constructor)
};

enum class WorldKind : std::uint8_t { fake, kernel };
inline std::ostream& operator<<(std::ostream& out, WorldKind kind) {
  return out << (kind == WorldKind::fake ? "fake" : "kernel");
}

/// A test for either world. IPv6 is off in the kernel, to keep the kernel from sending packets unasked;
/// `with_ipv6` leaves IPv6 on.
class Contract : public sandbox::KernelTest, public ::testing::WithParamInterface<WorldKind> {
 protected:
  explicit Contract(bool with_ipv6 = false) : with_ipv6_{with_ipv6} {}
  void SetUp() override;

  World& world() { return *world_; }
  IoSystem& io() { return world_->io(); }
  LinkSystem& links() { return world_->links(); }

  /// A non-blocking descriptor of the clone device.
  UniqueFd clone();
  /// TUNSETIFF: zero or a negated errno; `name` becomes the kernel's name.
  int bind(const UniqueFd& fd, std::string& name, int flags);
  int bind(const UniqueFd& fd, std::string&& name, int flags) { return bind(fd, name, flags); }
  /// Makes a device named `name`; `up`: sets the interface up.
  UniqueFd make(std::string name, int flags, bool up = true);
  void set_up(const std::string& name, bool up);
  bool exists(const std::string& name);
  /// TUNGETIFF's flags, or a negated errno.
  int flags_of(const UniqueFd& fd);
  /// Reads once into a buffer of `room` bytes. Returns the size, or a negated errno.
  ssize_t read(const UniqueFd& fd, Packet& packet, std::size_t room = 2048);
  ssize_t write(const UniqueFd& fd, Bytes packet) {
    return io().write(fd.get(), packet.data(), packet.size());
  }
  /// The events that poll(2) reports now.
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
