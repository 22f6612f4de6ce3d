/// The verbs that look: `tunport list` and `tunport doctor`.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <unistd.h>

#include "tunport/device/device.hpp"

#include "command/command.hpp"
#include "kernel/sandbox.hpp"

namespace tunport::command {
namespace {

using nlohmann::json;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

class CommandLooks : public sandbox::KernelTest {};

TEST_F(CommandLooks, ListsInterfacesWithTheirHolders) {
  auto finished = run({"list"});
  EXPECT_EQ(finished.status, 0);
  EXPECT_THAT(finished.out, HasSubstr("There is no TUN/TAP interface here"));
  {
    const Device tap = Device::open(DeviceKind::tap, "tp0");
    const Device tun = Device::open(DeviceKind::tun, "tp1", {.multi_queue = true});
    tap.link().set_up(true);
    tap.link().add_address(*IpPrefix::parse("10.77.0.1/24"));
    const json all = json::parse(run({"list", "--json"}).out)["interfaces"];
    ASSERT_EQ(all.size(), 2U);
    EXPECT_EQ(all[0]["name"], "tp0");
    EXPECT_EQ(all[0]["kind"], "tap");
    EXPECT_EQ(all[0]["state"], "up");
    EXPECT_EQ(all[0]["queues"], json());
    EXPECT_EQ(all[0]["addresses"][0], "10.77.0.1/24");
    EXPECT_EQ(all[0]["held_by"][0]["pid"], ::getpid());
    EXPECT_EQ(all[1]["queues"], 1);
    EXPECT_EQ(all[1]["flags"][0], "multi_queue");
    EXPECT_THAT(run({"list"}).out,
                AllOf(HasSubstr("tp0"), HasSubstr("(" + std::to_string(::getpid()) + ")")));
  }
  EXPECT_EQ(run({"list", "--json"}).out, "{\"interfaces\":[]}\n");
}

TEST_F(CommandLooks, DoctorFindsNothingMissingAndLeavesNothing) {
  const auto finished = run({"doctor", "tap:tp0"});
  EXPECT_EQ(finished.status, 0) << finished.out;
  EXPECT_THAT(finished.out,
              AllOf(HasSubstr("/dev/net/tun: can be opened"), HasSubstr("tp0: the name is free"),
                    HasSubstr("ok       offload: checksum+tso4"), Not(HasSubstr("MISSING"))));
  EXPECT_EQ(finished.err, "");
  EXPECT_EQ(run({"list", "--json"}).out, "{\"interfaces\":[]}\n");
}

TEST_F(CommandLooks, DoctorNamesTheHolder) {
  const Device tap = Device::open(DeviceKind::tap, "tp0");
  const auto finished = run({"doctor", "tap:tp0"});
  EXPECT_EQ(finished.status, 1);
  EXPECT_THAT(finished.out, HasSubstr("(process " + std::to_string(::getpid()) + ")"));
  EXPECT_THAT(run({"doctor", "tun:tp0"}).out, HasSubstr("MISSING  tp0: is a tap; write tap:tp0"));
}

TEST_F(CommandLooks, DoctorNamesWhatIsMissing) {
  if (!sandbox::is_real_root())
    GTEST_SKIP() << "becomes another user, so it needs root. This test was not run.";
  auto finished = run({"doctor"}, {.no_driver = true});
  EXPECT_EQ(finished.status, 1);
  EXPECT_THAT(finished.out, HasSubstr("MISSING  /dev/net/tun: there is no TUN/TAP driver"));
#ifndef __SANITIZE_THREAD__  // whose threads keep a process out of a user namespace
  const sandbox::PublicCloneDevice clone;
  finished = run({"doctor"}, {.user = 65534, .clone_device = clone.path(), .no_namespaces = "user"});
  EXPECT_EQ(finished.status, 1);
  EXPECT_THAT(finished.out, AllOf(HasSubstr("ok       /dev/net/tun"), HasSubstr("MISSING  privilege"),
                                  HasSubstr("MISSING  --sandbox: "), HasSubstr("user.max_user_namespaces")));
#endif
}

TEST_F(CommandLooks, DoctorNamesAFirewall) {
  if (!sandbox::is_real_root())
    GTEST_SKIP() << "reads the firewall, so it needs root. This test was not run.";
  for (const char* const rule :
       {"add table inet f", "add chain inet f in { type filter hook input priority 0; }",
        "add rule inet f in iif lo accept"})
    if (sandbox::run({"nft", rule}).status != 0)
      GTEST_SKIP() << "nft makes no firewall here. This test was not run.";
  EXPECT_THAT(run({"doctor"}).out, HasSubstr("ok       firewall: no chain drops by default"));
  ASSERT_EQ(sandbox::run({"nft", "add rule inet f in counter reject"}).status, 0);
  EXPECT_THAT(
      run({"doctor"}).out,
      HasSubstr("note     firewall: chain 'inet f in' has a rule that drops or rejects the rest (input)"));
}

TEST_F(CommandLooks, WrongUsageIsALine) {
  for (const auto& [words, said] : std::vector<std::pair<Words, std::string>>{
           {{"list", "tp0"}, "'tp0' is not known here; see 'tunport list --help'"},
           {{"list", "--", "true"}, "list runs no COMMAND"},
           {{"doctor", "vpn:x"}, "PORT 'vpn:x' at character 1"},
           {{"doctor", "tap:a", "tap:b"}, "'tap:b' is not known here; see 'tunport doctor --help'"},
           {{"lists"}, "there are 'host', 'gate', 'list' and 'doctor'"}}) {
    const auto finished = run(words);
    EXPECT_EQ(finished.status, 2);
    EXPECT_THAT(finished.err, HasSubstr(said));
    EXPECT_EQ(lines(finished.err).size(), 1U) << finished.err;
  }
  EXPECT_THAT(run({"list", "--help"}).out, HasSubstr("Usage: tunport list [--json]"));
  EXPECT_THAT(run({"doctor", "--help"}).out, HasSubstr("Usage: tunport doctor [PORT]"));
}

}  // namespace
}  // namespace tunport::command
