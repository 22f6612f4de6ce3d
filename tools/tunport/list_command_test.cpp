#include "list_command.hpp"

#include <gmock/gmock.h>
#include <nlohmann/json.hpp>

#include "tunport/testing/memory_system.hpp"

namespace tunport::tool {
namespace {

using nlohmann::json;
using testing::ElementsAre;
using testing::HasSubstr;

std::vector<Holder> nobody(const std::string&) { return {}; }

TEST(List, OfNothingIsASentence) {
  MemorySystem kernel;
  const auto found = list_interfaces(kernel.links(), nobody);
  EXPECT_EQ(to_table(found), "There is no TUN/TAP interface here; 'tunport host tap:tp0 ...' makes one.\n");
  EXPECT_EQ(to_json(found), R"({"interfaces":[]})");
}

TEST(List, TellsAllOfEachInterfaceByName) {
  MemorySystem kernel;
  kernel.add_persistent(DeviceKind::tun, "vpn", {.owner = 4'000'000'000U, .up = true});
  auto tap = kernel.add_persistent(DeviceKind::tap, "a-tap");
  std::error_code ec;
  kernel.links().set_mtu("a-tap", 9000, ec);
  kernel.links().add_address("vpn", *IpPrefix::parse("10.0.0.1/24"), ec);
  kernel.links().add_address("vpn", *IpPrefix::parse("fd00::1/64"), ec);
  const auto found = list_interfaces(kernel.links(), [](const std::string& name) {
    return name == "vpn" ? std::vector<Holder>{{42, "some \"vpn\""}} : std::vector<Holder>{};
  });
  EXPECT_EQ(to_table(found),
            "NAME   KIND  STATE       MTU   QUEUES  FLAGS    OWNER       GROUP  DROPPED  HELD BY         "
            "ADDRESSES\n"
            "a-tap  tap   down        9000  -       persist  -           -      0        -               -\n"
            "vpn    tun   no carrier  1500  -       persist  4000000000  -      0        some \"vpn\"(42)  "
            "10.0.0.1/24,fd00::1/64\n");
  const json all = json::parse(to_json(found))["interfaces"];
  ASSERT_EQ(all.size(), 2U);
  EXPECT_EQ(all[0]["name"], "a-tap");
  EXPECT_EQ(all[0]["mac"], to_string(tap.info().mac));
  EXPECT_EQ(all[0]["held_by"], json::array());
  EXPECT_EQ(all[1]["kind"], "tun");
  EXPECT_EQ(all[1]["state"], "no carrier");
  EXPECT_EQ(all[1]["mac"], json());
  EXPECT_EQ(all[1]["owner"], 4'000'000'000U);
  EXPECT_EQ(all[1]["group"], json());
  EXPECT_EQ(all[1]["queues"], json());
  EXPECT_EQ(all[1]["flags"], json({"persist"}));
  EXPECT_EQ(all[1]["addresses"], json({"10.0.0.1/24", "fd00::1/64"}));
  EXPECT_EQ(all[1]["held_by"], json::parse(R"([{"pid":42,"name":"some \"vpn\""}])"));
}

TEST(List, ANameOfAnyBytesIsStillJson) {
  const ListedInterface one{{.name = "tp0", .tunnel = TunnelInfo{}}, {}, {{1, "\xff"}}};
  EXPECT_TRUE(json::accept(to_json({one})));
}

TEST(List, OfAnotherInterfaceIsNothing) {
  MemorySystem kernel;
  EXPECT_TRUE(list_interfaces(kernel.links(), nobody).empty()) << "lo";
}

}  // namespace
}  // namespace tunport::tool
