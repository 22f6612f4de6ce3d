/// `tunport host` with the kernel on the other side: answers, statuses, output.

#include <csignal>
#include <thread>

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <sys/socket.h>

#include "command/command.hpp"
#include "kernel/sandbox.hpp"

namespace tunport::command {
namespace {

using nlohmann::ordered_json;
using testing::ElementsAre;
using testing::HasSubstr;

class CommandHost : public sandbox::KernelTest {
 protected:
  void SetUp() override {
    KernelTest::SetUp();
    if (!IsSkipped()) sandbox::disable_ipv6();
  }
  bool is_up(const std::string& name) {
    const auto link = links.find(name, ec);
    return link && link->up;
  }
  bool is_there(const std::string& name) { return links.find(name, ec).has_value(); }
};

std::vector<std::string> keys(const ordered_json& object) {
  std::vector<std::string> names;
  for (const auto& item : object.items()) names.push_back(item.key());
  return names;
}

TEST_F(CommandHost, AnswersThePingOfTheKernelOnTapAndTun) {
  for (const std::string kind : {"tap", "tun"}) {
    const auto finished =
        run(host(kind + ":tp0", {"--json"}, {"ping", "-c", "3", "-i", "0.1", "-W", "5", "10.77.0.2"}));
    EXPECT_EQ(finished.status, 0) << finished.err;
    EXPECT_THAT(finished.err, HasSubstr("3 received"));
    const auto json = ordered_json::parse(lines(finished.out).back());
    EXPECT_EQ(json["host"]["icmp_echo_replies"], 3);
    EXPECT_EQ(json["host"]["arp_replies"], kind == "tap" ? 1 : 0);
    EXPECT_EQ(json["port"]["kind"], kind);
    EXPECT_EQ(json["port"]["name"], "tp0");
    EXPECT_FALSE(is_there("tp0"));
  }
}

TEST_F(CommandHost, StatusIsThatOfTheCommand) {
  const struct {
    Words command;
    int status;
    std::string said;
  } table[] = {
      {{"true"}, 0, ""},
      {{"sh", "-c", "exit 3"}, 3, ""},
      {{"sh", "-c", "kill -KILL $$"}, 137, ""},
      {{"sh", "-c", "kill -TERM $$"}, 143, ""},
      {{"no-such-command"},
       127,
       "tunport: command 'no-such-command': not found in PATH; install it, or write its path\n"},
      {{"/no/such"}, 127, "tunport: command '/no/such': there is no such file; check the path\n"},
      {{"/etc/passwd"},
       126,
       "tunport: command '/etc/passwd': not permitted to run it; it must be a file with 'chmod +x'\n"},
      {{"sh", "-c", "echo --json -- $1", "x", "--quiet"}, 0, ""},
  };
  for (const auto& row : table) {
    SCOPED_TRACE(testing::PrintToString(row.command));
    const auto finished = run(host("tap:tp0", {"--quiet"}, row.command));
    EXPECT_EQ(finished.status, row.status);
    EXPECT_EQ(finished.err, row.said);
    EXPECT_FALSE(is_there("tp0"));
  }
}

TEST_F(CommandHost, RunsTheCommandWithSignalsAsEveryProgramExpectsThem) {
  const Words shown{"-c", "grep -E 'Sig(Blk|Ign)' /proc/self/status"};
  const auto directly = run(shown, {.program = "/bin/sh"});
  ASSERT_THAT(directly.out, HasSubstr("SigIgn:\t")) << directly.err;
  const auto finished = run(host("tap:tp0", {"--quiet"}, {"sh", shown[0], shown[1]}));
  EXPECT_EQ(finished.out, directly.out) << finished.err;
}

TEST_F(CommandHost, RunsTheCommandWithTheSignalsIgnoredThatWere) {
  // nohup, a shell's background job; SIGPIPE is the habit of one parent, not the wish of its user.
  const Words shown{"-c", "grep SigIgn /proc/self/status"};
  const auto directly = run(shown, {.ignored = {SIGHUP, SIGQUIT, SIGXFSZ}, .program = "/bin/sh"});
  const auto without = run(shown, {.program = "/bin/sh"});
  ASSERT_NE(directly.out, without.out);
  const auto finished = run(host("tap:tp0", {"--quiet"}, {"sh", shown[0], shown[1]}),
                            {.ignored = {SIGHUP, SIGQUIT, SIGXFSZ, SIGPIPE}});
  EXPECT_EQ(finished.out, directly.out) << finished.err;
}

TEST_F(CommandHost, RunsTheCommandWithoutOurDescriptors) {
  const auto finished = run(host("tap:tp0", {"--quiet"}, {"sh", "-c", "ls -l /proc/self/fd"}));
  EXPECT_THAT(finished.out, testing::Not(HasSubstr("/dev/net/tun")));
  EXPECT_THAT(finished.out, testing::Not(HasSubstr("anon_inode")));
}

TEST_F(CommandHost, SumsUpInATable) {
  const auto finished = run(host("tap:tp0", {}, {"ping", "-q", "-c", "1", "-W", "5", "10.77.0.2"}));
  EXPECT_THAT(finished.out,
              testing::StartsWith("tunport: tap:tp0 is up with 10.77.0.1/24; answering for 10.77.0.2\n"));
  for (const char* row :
       {"packets             bytes     super-packets\n", "\n  received                           2",
        "\n  sent                               3", "\n  ARP                                1\n",
        "\n  ARP announcements                  1\n", "\n  ICMP echo                          1\n",
        "\ndropped\n  nothing\n"})
    EXPECT_THAT(finished.out, HasSubstr(row));
  EXPECT_EQ(finished.err, "");
}

TEST_F(CommandHost, SumsUpInJsonOnTheLastLine) {
  const auto finished =
      run(host("tap:tp0,mtu=1400", {"--json", "--udp-echo", "7", "--udp-echo", "9"},
               {"sh", "-c", "echo of the command; cat /sys/class/net/tp0/mtu 2>&1; exit 4"}));
  EXPECT_EQ(finished.status, 4);
  ASSERT_EQ(lines(finished.out).size(), 1U) << finished.out;
  const auto json = ordered_json::parse(finished.out);
  EXPECT_THAT(keys(json), ElementsAre("port", "host"));
  EXPECT_THAT(keys(json["port"]),
              ElementsAre("name", "kind", "packets_in", "packets_out", "bytes_in", "bytes_out",
                          "super_packets_in", "super_packets_out", "super_packets_refused", "bursts", "drops",
                          "exceptions", "kernel_drops"));
  EXPECT_THAT(keys(json["host"]),
              ElementsAre("arp_replies", "arp_requests", "arp_announcements", "neighbor_advertisements",
                          "neighbor_solicitations", "router_advertisements", "duplicate_addresses",
                          "dhcp_answers", "icmp_echo_replies", "icmpv6_echo_replies", "reassembled",
                          "udp_echoes", "port_unreachable", "protocol_unreachable", "parameter_problems",
                          "reassembly_timeouts", "path_mtu_updates", "tcp_resets"));
  EXPECT_TRUE(json["port"]["drops"].is_object());
  EXPECT_THAT(finished.err, HasSubstr("of the command\n"));
  EXPECT_THAT(finished.err, HasSubstr("UDP echo on 7 9"));
}

TEST_F(CommandHost, QuietSaysNothingAndQuietJsonSaysJsonOnly) {
  const auto quiet = run(host("tap:tp0", {"--quiet"}, {"true"}));
  EXPECT_EQ(quiet.out + quiet.err, "");
  const auto json = run(host("tap:tp0", {"--quiet", "--json"}, {"true"}));
  EXPECT_EQ(lines(json.out).size(), 1U);
  EXPECT_EQ(json.err, "");
}

TEST_F(CommandHost, CountsEchoesUnreachablePortsAndDrops) {
  Running running{host("tun:tp0", {"--json", "--udp-echo", "7", "--host-address", "10.77.0.3"})};
  ASSERT_TRUE(running.has_said("is up"));
  const UniqueFd socket{::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)};
  const auto send = [&](const char* address, int port) {
    sockaddr_storage to{};
    const auto length =
        Endpoint{*IpAddress::parse(address), static_cast<std::uint16_t>(port)}.to_sockaddr(to);
    EXPECT_EQ(::sendto(socket.get(), "abc", 3, 0, reinterpret_cast<const sockaddr*>(&to), length), 3);
  };
  for (const char* address : {"10.77.0.2", "10.77.0.3"}) {
    send(address, 7);
    ASSERT_TRUE(sandbox::wait_readable(socket.get()));
    char answer[8];
    EXPECT_EQ(::recv(socket.get(), answer, sizeof answer, 0), 3);
  }
  send("10.77.0.2", 8);
  send("10.77.0.9", 7);
  EXPECT_EQ(sandbox::run({"ping", "-c", "1", "-W", "5", "10.77.0.2"}).status,
            0);  // so all before has been read
  running.send(SIGTERM);
  const auto finished = running.wait();
  EXPECT_EQ(finished.status, 0);
  const auto json = ordered_json::parse(lines(finished.out).back());
  EXPECT_EQ(json["host"]["udp_echoes"], 2);
  EXPECT_EQ(json["host"]["port_unreachable"], 1);
  EXPECT_EQ(json["host"]["icmp_echo_replies"], 1);
  EXPECT_EQ(json["port"]["packets_in"], 5);
  EXPECT_EQ(json["port"]["packets_out"], 4);
  EXPECT_EQ(json["port"]["drops"]["unknown_udp_port"], 1);
  EXPECT_EQ(json["port"]["drops"]["ip_wrong_address"], 1);
}

TEST_F(CommandHost, AnswersWithTheMacThatWasAskedFor) {
  const auto finished =
      run(host("tap:tp0", {"--quiet", "--mac", "02:00:00:00:12:34"},
               {"sh", "-c", "ping -q -c 1 -W 5 10.77.0.2 >/dev/null; ip neigh show 10.77.0.2"}));
  EXPECT_THAT(finished.out, HasSubstr("lladdr 02:00:00:00:12:34"));
}

TEST_F(CommandHost, HasAMacOfItsOwnThatStaysTheSame) {
  const auto mac = [&](const std::string& name, const std::string& address) {
    const auto finished = run({"host", "tap:" + name, "--interface-address", "10.77.0.1/24", "--host-address",
                               address, "--quiet", "--", "sh", "-c",
                               "ping -q -c 1 -W 5 " + address + " >/dev/null; ip neigh show " + address});
    const auto at = finished.out.find("lladdr ");
    EXPECT_NE(at, std::string::npos) << finished.out << finished.err;
    return finished.out.substr(at, sizeof "lladdr 02:00:00:00:00:00" - 1);
  };
  const std::string first = mac("tp0", "10.77.0.2");
  EXPECT_EQ(mac("tp0", "10.77.0.2"), first);
  EXPECT_NE(mac("tp1", "10.77.0.2"), first);
  EXPECT_NE(mac("tp0", "10.77.0.3"), first);
}

TEST_F(CommandHost, AnnouncesItsMacEachTimeTheInterfaceComesUp) {
  Running running{host("tap:tp0", {"--json", "--host-address", "10.77.0.3"})};
  ASSERT_TRUE(running.has_said("is up"));
  const auto answers = [] { return sandbox::run({"ping", "-c", "1", "-W", "5", "10.77.0.2"}).status == 0; };
  ASSERT_TRUE(answers());
  links.set_up("tp0", false, ec);
  links.set_up("tp0", true, ec);
  ASSERT_TRUE(answers());
  running.send(SIGINT);
  const auto json = ordered_json::parse(lines(running.wait().out).back());
  EXPECT_EQ(json["host"]["arp_announcements"], 4) << "two addresses, twice";
  EXPECT_EQ(json["port"]["drops"], ordered_json::object());
}

TEST_F(CommandHost, TellsEachEventOfTheInterfaceIfAsked) {
  for (const bool json : {false, true}) {
    Running running{host("tap:tp0", json ? Words{"--verbose", "--json"} : Words{"--verbose"})};
    ASSERT_TRUE(running.has_said("is up with"));
    ASSERT_TRUE(running.has_said("tunport: tp0: up\n"));
    links.set_mtu("tp0", 1400, ec);
    ASSERT_TRUE(running.has_said("tunport: tp0: MTU changed to 1400\n"));
    links.set_up("tp0", false, ec);
    ASSERT_TRUE(running.has_said("tunport: tp0: down\n"));
    ASSERT_EQ(sandbox::run({"ip", "link", "set", "tp0", "name", "tp7"}).status, 0);
    ASSERT_TRUE(running.has_said("tunport: tp7: renamed from tp0\n"));
    running.send(SIGINT);
    EXPECT_EQ(running.wait().status, 0);
  }
}

TEST_F(CommandHost, AnInterfaceDownAndUpAgainIsWaitedFor) {
  Running running{host("tap:tp0", {"--json"})};
  ASSERT_TRUE(running.has_said("is up"));
  links.set_up("tp0", false, ec);
  std::this_thread::sleep_for(std::chrono::milliseconds{200});
  links.set_up("tp0", true, ec);
  EXPECT_EQ(sandbox::run({"ping", "-c", "1", "-W", "5", "10.77.0.2"}).status, 0);
  running.send(SIGINT);
  const auto finished = running.wait();
  EXPECT_EQ(finished.status, 0);
  EXPECT_EQ(finished.err.find("deleted"), std::string::npos);
}

TEST_F(CommandHost, ADeletedDeviceEndsItWithOneLine) {
  Running running{host("tap:tp0", {"--quiet"})};
  ASSERT_TRUE(sandbox::wait_until([&] { return is_up("tp0"); }));
  links.remove("tp0", ec);
  const auto finished = running.wait();
  EXPECT_EQ(finished.status, 1);
  EXPECT_EQ(finished.err, "tunport: tp0: the device was deleted; start tunport again\n");
}

TEST_F(CommandHost, ADeletedDeviceEndsTheCommandTooEvenOneThatWillNot) {
  Running running{host("tap:tp0", {"--quiet"},
                       {"sh", "-c", "trap 'echo asked' TERM; echo $$; while :; do sleep 0.1; done"})};
  ASSERT_TRUE(sandbox::wait_until([&] { return !running.out().empty(); }));
  const pid_t command = std::stoi(running.out());
  links.remove("tp0", ec);
  const auto finished = running.wait();
  EXPECT_EQ(finished.status, 1);
  EXPECT_THAT(finished.out, HasSubstr("asked"));
  EXPECT_THAT(lines(finished.err), ElementsAre("tunport: tp0: the device was deleted; start tunport again"));
  EXPECT_EQ(::kill(command, 0), -1);
}

TEST_F(CommandHost, OutputThatCannotBeWrittenIsAFailure) {
  Circumstances full;
  full.output = "/dev/full";
  const auto finished = run(host("tap:tp0", {"--json"}, {"true"}), full);
  EXPECT_EQ(finished.status, 1);
  EXPECT_THAT(lines(finished.err).back(), HasSubstr("standard output: No space left on device"));
  EXPECT_FALSE(is_there("tp0"));
}

TEST_F(CommandHost, AnAddressBeyondTheSubnetsNeedsARouteAndIsAnsweredThen) {
  const auto finished = run(host("tap:tp0", {"--host-address", "10.99.0.1"},
                                 {"sh", "-c", "ip route add 10.99.0.1 dev tp0 && ping -c 1 -W 5 10.99.0.1"}));
  EXPECT_EQ(finished.status, 0);
  EXPECT_THAT(
      finished.out,
      HasSubstr("10.99.0.1 is in no subnet of tp0, so it needs a route: 'ip route add 10.99.0.1 dev tp0'\n"));
  EXPECT_THAT(finished.out, testing::Not(HasSubstr("10.77.0.2 is in no")));
}

TEST_F(CommandHost, ATemplateTakesTheNextFreeName) {
  Running first{host("tap:tp%d")};
  ASSERT_TRUE(first.has_said("tap:tp0 is up"));
  EXPECT_THAT(run({"host", "tap:tp%d", "--interface-address", "10.78.0.1/24", "--host-address", "10.78.0.2",
                   "--", "true"})
                  .out,
              HasSubstr("tap:tp1 is up with 10.78.0.1/24"));
}

}  // namespace
}  // namespace tunport::command
