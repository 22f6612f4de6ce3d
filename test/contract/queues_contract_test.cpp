/// Several queues of an interface: the kernel's choice of the queue, and `open_queues`.

#include <algorithm>
#include <array>
#include <cerrno>
#include <map>
#include <set>
#include <vector>

#include <gmock/gmock.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <poll.h>
#include <sys/ioctl.h>

#include "tunport/base/error.hpp"
#include "tunport/device/queues.hpp"
#include "tunport/testing/packets.hpp"

#include "contract/world.hpp"
#include "support/forwarding_io.hpp"

namespace tunport::contract {
namespace {

using ::testing::Each;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr int queue_flags = IFF_TUN | IFF_NO_PI | IFF_MULTI_QUEUE;
constexpr std::uint16_t first_port = 20000;

/// A datagram of flow number `flow`, to the program, and its answer.
Packet datagram(int flow) {
  return packets::udp({Ipv4Address{"10.77.0.1"}, static_cast<std::uint16_t>(first_port + flow)},
                      {Ipv4Address{"10.77.0.2"}, 42}, "ask");
}
Packet answer(int flow) {
  return packets::udp({Ipv4Address{"10.77.0.2"}, 42},
                      {Ipv4Address{"10.77.0.1"}, static_cast<std::uint16_t>(first_port + flow)}, "answer");
}

/// Fails a TUNSETIFF, or behaves as a kernel of former times.
class OddIo : public test_support::ForwardingIo {
 public:
  using ForwardingIo::ForwardingIo;
  int ioctl(int fd, unsigned long request, void* argument) override {
    if (request == TUNGETFEATURES) {
      const int result = ForwardingIo::ioctl(fd, request, argument);
      if (knows_no_queues) *static_cast<unsigned*>(argument) &= ~unsigned{IFF_MULTI_QUEUE};
      return tells_no_features ? -EINVAL : result;
    }
    if (request != TUNSETIFF) return ForwardingIo::ioctl(fd, request, argument);
    if (++binds == fails) return -ENOMEM;
    auto* const flags = &static_cast<ifreq*>(argument)->ifr_flags;
    if (knows_no_queues) *flags = static_cast<short>(*flags & ~IFF_MULTI_QUEUE);
    return ForwardingIo::ioctl(fd, request, argument);
  }
  int binds = 0;
  int fails = 0;  // which TUNSETIFF, from 1 on
  bool knows_no_queues = false;
  bool tells_no_features = false;
};

class Queues : public Contract {
 protected:
  System system() { return world(); }
  System odd() {
    if (!odd_) odd_ = std::make_unique<OddIo>(io());
    return {*odd_, links()};
  }
  /// The flows of the packets that wait at each queue, in order.
  std::vector<std::vector<int>> drain(const std::vector<UniqueFd>& queues) {
    std::vector<std::vector<int>> flows(queues.size());
    Packet packet;
    for (std::size_t i = 0; i < queues.size(); ++i)
      while (read(queues[i], packet) > 0) flows[i].push_back(load_be16(packet, 20) - first_port);
    return flows;
  }
  std::unique_ptr<OddIo> odd_;
};
TUNPORT_IN_BOTH_WORLDS(Queues);

TEST_P(Queues, AFlowStaysOnItsQueue) {
  std::vector<UniqueFd> queues;
  for (int i = 0; i < 4; ++i) queues.push_back(make("tp0", queue_flags));
  constexpr int flows = 64;
  for (int round = 0; round < 3; ++round)
    for (int flow = 0; flow < flows; ++flow) world().inject("tp0", datagram(flow));
  const auto seen = drain(queues);
  std::size_t all = 0;
  std::set<int> distinct;
  int used = 0;
  for (const std::vector<int>& queue : seen) {
    const std::set<int> here{queue.begin(), queue.end()};
    EXPECT_EQ(queue.size(), 3 * here.size()) << "all of a flow, or nothing";
    distinct.insert(here.begin(), here.end());
    all += queue.size();
    if (!queue.empty()) ++used;
  }
  EXPECT_EQ(all, 3U * flows);
  EXPECT_THAT(distinct, SizeIs(flows));
  EXPECT_GE(used, 2);
}

TEST_P(Queues, AFlowComesToTheQueueThatAnswered) {
  std::vector<UniqueFd> queues;
  for (int i = 0; i < 3; ++i) queues.push_back(make("tp0", queue_flags));
  for (std::size_t i = 0; i < queues.size(); ++i) {
    for (int flow = 0; flow < 8; ++flow)
      EXPECT_EQ(write(queues[i], answer(flow)), static_cast<ssize_t>(answer(flow).size()));
    for (int flow = 0; flow < 8; ++flow) world().inject("tp0", datagram(flow));
    EXPECT_THAT(drain(queues)[i], testing::ElementsAre(0, 1, 2, 3, 4, 5, 6, 7)) << "queue " << i;
  }
}

TEST_P(Queues, AClosedQueueLeavesItsFlowsToTheOthers) {
  std::vector<UniqueFd> queues;
  for (int i = 0; i < 2; ++i) queues.push_back(make("tp0", queue_flags));
  EXPECT_GT(write(queues[1], answer(1)), 0);
  queues.pop_back();
  world().inject("tp0", datagram(1));
  EXPECT_THAT(drain(queues)[0], testing::ElementsAre(1));
}

TEST_P(Queues, AreOfOneInterface) {
  const auto devices = open_queues(DeviceKind::tun, "tq%d", 3, {.offload = OffloadFeatures::all()}, system());
  ASSERT_THAT(devices, SizeIs(3));
  const Capabilities& first = devices[0].capabilities();
  for (const Device& device : devices) {
    EXPECT_EQ(device.name(), "tq0");
    EXPECT_TRUE(device.capabilities().multi_queue);
    EXPECT_EQ(device.capabilities().framing, first.framing);
    EXPECT_EQ(device.capabilities().offload, first.offload);
    EXPECT_TRUE(device.capabilities().offload.tso4);
  }
  EXPECT_EQ(links().find("tq0", ec)->tunnel->queues, 3U);
  EXPECT_FALSE(exists("tq1"));
}

TEST_P(Queues, AttachToWhatIsThere) {
  const auto some = open_queues(DeviceKind::tap, "tp0", 1, {.mode = OpenMode::create}, system());
  const auto more = open_queues(DeviceKind::tap, "tp0", 2, {.mode = OpenMode::attach}, system());
  EXPECT_EQ(links().find("tp0", ec)->tunnel->queues, 3U);
  EXPECT_THAT(open_queues(DeviceKind::tap, "tp0", 2, {.mode = OpenMode::create}, system(), ec), IsEmpty());
  EXPECT_EQ(ec, Errc::device_exists);
  EXPECT_THAT(open_queues(DeviceKind::tap, "tp1", 2, {.mode = OpenMode::attach}, system(), ec), IsEmpty());
  EXPECT_EQ(ec, Errc::no_such_device);
  EXPECT_FALSE(exists("tp1"));
}

TEST_P(Queues, WithoutNetlink) {
  const auto devices = open_queues(DeviceKind::tun, "tp0", 2, {.netlink = false}, system());
  EXPECT_EQ(links().find("tp0", ec)->tunnel->queues, 2U);
}

TEST_P(Queues, ThatFailHalfWayLeaveNothing) {
  const std::size_t before = sandbox::open_descriptors();
  const System failing = odd();
  odd_->fails = 3;
  EXPECT_THAT(open_queues(DeviceKind::tun, "tp0", 4, {}, failing, ec), IsEmpty());
  EXPECT_EQ(ec, errno_code(ENOMEM));
  EXPECT_EQ(odd_->binds, 3);
  EXPECT_FALSE(exists("tp0"));
  EXPECT_EQ(sandbox::open_descriptors(), before);
}

TEST_P(Queues, OnAnInterfaceOfASingleQueueAreRefused) {
  world().prepare("single", DeviceKind::tun, std::nullopt, std::nullopt);
  EXPECT_THAT(open_queues(DeviceKind::tun, "single", 2, {}, system(), ec), IsEmpty());
  EXPECT_EQ(ec, Errc::multi_queue_mismatch);
  const UniqueFd held = make("held", IFF_TUN | IFF_NO_PI);
  EXPECT_THAT(open_queues(DeviceKind::tun, "held", 2, {}, system(), ec), IsEmpty());
  EXPECT_EQ(ec, Errc::multi_queue_mismatch);
}

TEST_P(Queues, OnAKernelWithoutThemAreRefused) {
  const System former = odd();
  odd_->knows_no_queues = true;
  for (const bool tells : {true, false}) {
    odd_->tells_no_features = !tells;
    EXPECT_THAT(open_queues(DeviceKind::tun, "tp0", 2, {}, former, ec), IsEmpty());
    EXPECT_EQ(ec, not_supported(Knob::multi_queue));
    EXPECT_FALSE(exists("tp0"));
  }
}

TEST_P(Queues, OutOfServiceGetNoPackets) {
  std::vector<Device> queues = open_queues(DeviceKind::tun, "tp0", 2, {}, system());
  set_up("tp0", true);
  Packet buffer(2048);
  const auto wait_at = [&](Device& queue) {
    int packets = 0;
    while (queue.read(buffer).error == 0) ++packets;
    return packets;
  };
  EXPECT_EQ(queues[0].write(answer(1)), 0);
  world().inject("tp0", datagram(1));
  queues[0].set_queue_enabled(false);
  queues[0].set_queue_enabled(false);  // no effect
  EXPECT_EQ(wait_at(queues[0]), 0) << "packets that waited are lost";
  EXPECT_EQ(links().find("tp0", ec)->tunnel->queues, 2U) << "open still";
  EXPECT_EQ(queues[0].write(answer(1)), 0) << "writes go on";
  for (int flow = 0; flow < 8; ++flow) world().inject("tp0", datagram(flow));
  EXPECT_EQ(wait_at(queues[0]), 0);
  EXPECT_EQ(wait_at(queues[1]), 8);

  queues[1].set_queue_enabled(false);
  EXPECT_TRUE(links().find("tp0", ec)->carrier);
  const std::uint64_t dropped = links().find("tp0", ec)->tx_dropped;
  world().inject("tp0", datagram(1));
  EXPECT_EQ(links().find("tp0", ec)->tx_dropped, dropped + 1) << "no queue is in service";
  queues[0].set_queue_enabled(true);
  queues[0].set_queue_enabled(true);
  for (int flow = 0; flow < 8; ++flow) world().inject("tp0", datagram(flow));
  EXPECT_EQ(wait_at(queues[0]), 8);
  EXPECT_EQ(wait_at(queues[1]), 0);

  queues.erase(queues.begin());
  EXPECT_TRUE(exists("tp0")) << "a queue out of service holds the interface";
  Device adopted = Device::adopt(queues[0].release(), {}, system());
  adopted.set_queue_enabled(true);
  world().inject("tp0", datagram(1));
  EXPECT_EQ(wait_at(adopted), 1);
  adopted.set_queue_enabled(false);
  adopted.close();
  EXPECT_FALSE(exists("tp0"));
}

TEST_P(Queues, OfASingleOneOrADeletedDeviceStayAsTheyAre) {
  Device single = Device::open(DeviceKind::tun, "single", {}, system());
  for (const bool enabled : {true, false}) {
    single.set_queue_enabled(enabled, ec);
    EXPECT_EQ(ec, Errc::multi_queue_mismatch);
  }
  Device gone = Device::open(DeviceKind::tun, "gone", {.multi_queue = true}, system());
  links().remove("gone");
  for (const bool enabled : {true, false}) {
    gone.set_queue_enabled(enabled, ec);
    EXPECT_EQ(ec, Errc::device_gone);
  }
  EXPECT_THROW(gone.set_queue_enabled(false), Error);
}

TEST_P(Queues, ServiceByRequest) {
  const UniqueFd fd = make("tp0", queue_flags);
  const auto set_queue = [&](const UniqueFd& queue, int flags) {
    ifreq request{};
    request.ifr_flags = static_cast<short>(flags);
    return io().ioctl(queue.get(), TUNSETQUEUE, &request);
  };
  EXPECT_EQ(set_queue(clone(), IFF_DETACH_QUEUE), -EINVAL);
  EXPECT_EQ(set_queue(fd, 0), -EINVAL);
  EXPECT_EQ(set_queue(fd, IFF_ATTACH_QUEUE), -EINVAL);
  EXPECT_EQ(set_queue(fd, IFF_DETACH_QUEUE), 0);
  EXPECT_EQ(set_queue(fd, IFF_DETACH_QUEUE), -EINVAL);
  EXPECT_EQ(flags_of(fd), queue_flags | IFF_DETACH_QUEUE);
  EXPECT_EQ(ready(fd, POLLIN | POLLOUT), POLLOUT);
  EXPECT_EQ(set_queue(fd, IFF_ATTACH_QUEUE | IFF_DETACH_QUEUE), 0) << "attaching wins";
  EXPECT_EQ(flags_of(fd), queue_flags);
}

TEST_P(Queues, AreAtMost256) {
  EXPECT_THAT(open_queues(DeviceKind::tun, "tp0", 0, {}, system(), ec), IsEmpty());
  EXPECT_EQ(ec, errno_code(EINVAL));
  EXPECT_THAT(open_queues(DeviceKind::tun, "tp0", max_queues + 1, {}, system(), ec), IsEmpty());
  EXPECT_EQ(ec, Errc::too_many_queues);
  EXPECT_FALSE(exists("tp0"));
  auto all = open_queues(DeviceKind::tun, "tp0", max_queues, {}, system());
  EXPECT_THAT(all, SizeIs(max_queues));
  EXPECT_EQ(bind(clone(), "tp0", queue_flags), -E2BIG);
  try {
    open_queues(DeviceKind::tun, "tp0", 1, {}, system());
    ADD_FAILURE() << "one too many";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Errc::too_many_queues);
    EXPECT_THAT(error.what(), HasSubstr("tp0: "));
  }
  EXPECT_EQ(links().find("tp0", ec)->tunnel->queues, max_queues);
}

}  // namespace
}  // namespace tunport::contract
