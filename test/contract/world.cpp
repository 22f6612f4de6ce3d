#include "contract/world.hpp"

#include <bit>
#include <cerrno>
#include <cstring>
#include <deque>
#include <map>

#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <poll.h>
#include <sys/ioctl.h>

#include "tunport/device/linux_links_internal.hpp"
#include "tunport/testing/memory_system.hpp"

namespace tunport::contract {
namespace {

class FakeWorld final : public World {
 public:
  IoSystem& io() override { return kernel_; }
  LinkSystem& links() override { return kernel_.links(); }
  void inject(const std::string& interface, Bytes packet) override {
    kernel_.tunnel(interface).inject(packet);
  }
  void inject(const std::string& interface, Bytes packet, const PacketOffload& offload) override {
    kernel_.tunnel(interface).inject(packet, offload);
  }
  void listen(const std::string&) override {}
  std::optional<WrittenPacket> collect_packet(const std::string& interface) override {
    auto& queue = collected_[interface];
    for (WrittenPacket& packet : kernel_.tunnel(interface).collect_packets())
      queue.push_back(std::move(packet));
    if (queue.empty()) return std::nullopt;
    WrittenPacket first = std::move(queue.front());
    queue.pop_front();
    return first;
  }
  void prepare(const std::string& name, DeviceKind kind, std::optional<std::uint32_t> owner,
               std::optional<std::uint32_t> group) override {
    kernel_.add_persistent(kind, name, {.owner = owner, .group = group});
  }
  void set_tx_queue_length(const std::string& interface, unsigned packets) override {
    kernel_.tunnel(interface).set_tx_queue_length(packets);
  }
  int as_user(std::uint32_t id, const std::function<int()>& body) override {
    kernel_.set_privileged(false);
    kernel_.set_user(id, id);
    const int result = body();
    kernel_.set_user(0, 0);
    kernel_.set_privileged(true);
    return result;
  }

 private:
  MemorySystem kernel_;
  std::map<std::string, std::deque<WrittenPacket>> collected_;
};

class KernelWorld final : public World {
 public:
  IoSystem& io() override { return linux_io(); }
  LinkSystem& links() override { return links_; }
  std::string clone_path() override {
    if (!sandbox::is_real_root()) return World::clone_path();
    if (!clone_) clone_.emplace();
    return clone_->path();
  }
  void inject(const std::string& interface, Bytes packet) override {
    sandbox::PacketSocket{interface}.send(packet);
  }
  void listen(const std::string& interface) override {
    sockets_[interface] = std::make_unique<sandbox::PacketSocket>(interface, true);
  }
  void inject(const std::string& interface, Bytes packet, const PacketOffload& offload) override {
    Packet framed(MemoryVirtioHeader::size);
    MemoryVirtioHeader::of(offload).store(framed, std::endian::native);
    framed.insert(framed.end(), packet.begin(), packet.end());
    EXPECT_EQ(sandbox::PacketSocket(interface, true).send(framed), 0);
  }
  std::optional<WrittenPacket> collect_packet(const std::string& interface) override {
    const auto framed = sockets_.at(interface)->receive(std::chrono::milliseconds{100});
    if (!framed) return std::nullopt;
    const auto header = MemoryVirtioHeader::load(*framed, std::endian::native);
    WrittenPacket packet{{framed->begin() + MemoryVirtioHeader::size, framed->end()}, {}};
    const auto link = links_.find(interface, ec_);
    const DeviceKind kind = link && link->tunnel ? link->tunnel->kind : DeviceKind::tun;
    if (const auto offload = header.offload_of(packet.bytes, kind, {}))
      packet.offload = *offload;
    else
      ADD_FAILURE() << "a senseless virtio header from the kernel";
    return packet;
  }
  void prepare(const std::string& name, DeviceKind kind, std::optional<std::uint32_t> owner,
               std::optional<std::uint32_t> group) override {
    const char* const mode = kind == DeviceKind::tap ? "tap" : "tun";
    std::vector<std::string> arguments{"ip", "tuntap", "add", name, "mode", mode};
    if (owner) arguments.insert(arguments.end(), {"user", std::to_string(*owner)});
    if (group) arguments.insert(arguments.end(), {"group", std::to_string(*group)});
    const auto result = sandbox::run(arguments);
    EXPECT_EQ(result.status, 0) << result.output;
  }
  void set_tx_queue_length(const std::string& interface, unsigned packets) override {
    const auto result = sandbox::run({"ip", "link", "set", interface, "txqueuelen", std::to_string(packets)});
    EXPECT_EQ(result.status, 0) << result.output;
  }
  int as_user(std::uint32_t id, const std::function<int()>& body) override {
    return sandbox::is_real_root() ? sandbox::as_user(id, body) : -1;
  }

 private:
  LinuxLinks links_;
  std::error_code ec_;
  std::optional<sandbox::PublicCloneDevice> clone_;
  std::map<std::string, std::unique_ptr<sandbox::PacketSocket>> sockets_;
};

}  // namespace

void Contract::SetUp() {
  if (GetParam() == WorldKind::fake) {
    world_ = std::make_unique<FakeWorld>();
    return;
  }
  KernelTest::SetUp();
  if (IsSkipped()) return;
  if (!with_ipv6_) sandbox::disable_ipv6();
  world_ = std::make_unique<KernelWorld>();
}

UniqueFd Contract::clone() {
  UniqueFd fd{io().open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC)};
  EXPECT_TRUE(fd);
  return fd;
}

int Contract::bind(const UniqueFd& fd, std::string& name, int flags) {
  ifreq request{};
  name.copy(request.ifr_name, IFNAMSIZ - 1);
  request.ifr_flags = static_cast<short>(flags);
  const int result = io().ioctl(fd.get(), TUNSETIFF, &request);
  if (result == 0) name = request.ifr_name;
  return result;
}

UniqueFd Contract::make(std::string name, int flags, bool up) {
  UniqueFd fd = clone();
  EXPECT_EQ(bind(fd, name, flags), 0);
  if (up) set_up(name, true);
  return fd;
}

void Contract::set_up(const std::string& name, bool up) {
  links().set_up(name, up, ec);
  EXPECT_FALSE(ec) << ec.message();
}

bool Contract::exists(const std::string& name) { return links().find(name, ec).has_value(); }

int Contract::flags_of(const UniqueFd& fd) {
  ifreq request{};
  const int result = io().ioctl(fd.get(), TUNGETIFF, &request);
  return result < 0 ? result : static_cast<int>(static_cast<unsigned short>(request.ifr_flags));
}

ssize_t Contract::read(const UniqueFd& fd, Packet& packet, std::size_t room) {
  packet.resize(room);
  const ssize_t result = io().read(fd.get(), packet.data(), room);
  packet.resize(result < 0 ? 0 : static_cast<std::size_t>(result));
  return result;
}

short Contract::ready(const UniqueFd& fd, short events) {
  pollfd entry{fd.get(), events, 0};
  ::poll(&entry, 1, 0);
  return entry.revents;
}

}  // namespace tunport::contract
