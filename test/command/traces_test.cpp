/// What `tunport host` leaves behind: nothing, whatever ends it. And its signals.

#include <algorithm>
#include <csignal>
#include <cstring>
#include <fstream>
#include <regex>
#include <thread>

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>

#include "command/command.hpp"
#include "kernel/sandbox.hpp"

namespace tunport::command {
namespace {

using testing::HasSubstr;

std::size_t count(const std::string& text, const std::string& part) {
  std::size_t n = 0;
  for (auto at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++n;
  return n;
}

class CommandTraces : public sandbox::KernelTest {
 protected:
  /// A persistent device with settings of its own, as an administrator prepares one.
  void prepare(bool up) {
    for (const Words& words : {Words{"ip", "tuntap", "add", "tp0", "mode", "tap"},
                               Words{"ip", "link", "set", "tp0", "mtu", "1450", "addrgenmode", "none"},
                               Words{"ip", "addr", "add", "10.5.0.1/24", "dev", "tp0"},
                               Words{"ip", "addr", "add", "fd00:5::1/64", "dev", "tp0", "nodad"},
                               Words{"ip", "link", "set", "tp0", up ? "up" : "down"}}) {
      const auto result = sandbox::run(words);
      ASSERT_EQ(result.status, 0) << testing::PrintToString(words) << result.output;
    }
  }
  /// All that can be seen of it.
  std::string state(const std::string& name = "tp0") {
    const auto link = links.find(name, ec);
    if (!link) return "gone";
    std::string text = "mtu " + std::to_string(link->mtu) + (link->up ? " up" : " down");
    auto addresses = links.addresses(name, ec);
    std::ranges::sort(addresses);
    for (const IpPrefix& address : addresses) text += ' ' + to_string(address);
    return text;
  }
  static constexpr auto before_down = "mtu 1450 down 10.5.0.1/24 fd00:5::1/64";
  static constexpr auto before_up = "mtu 1450 up 10.5.0.1/24 fd00:5::1/64";
  static constexpr auto during = "mtu 4000 up 10.5.0.1/24 10.77.0.1/24 fd00:5::1/64 fd00:77::1/64";
  static Words changing(const Words& command = {}) {
    return host("tap:tp0,mtu=4000", {"--interface-address", "fd00:77::1/64"}, command);
  }
};

TEST_F(CommandTraces, APreparedDeviceIsPutBackAsItWas) {
  prepare(false);
  ASSERT_EQ(state(), before_down);
  {
    Running running{changing()};
    ASSERT_TRUE(running.has_said("is up"));
    EXPECT_EQ(state(), during);
    running.send(SIGINT);
    EXPECT_EQ(running.wait().status, 0);
  }
  EXPECT_EQ(state(), before_down);
  EXPECT_EQ(run(changing({"false"})).status, 1);
  EXPECT_EQ(state(), before_down);
  EXPECT_EQ(run(changing({"no-such-command"})).status, 127);
  EXPECT_EQ(state(), before_down);
}

TEST_F(CommandTraces, APreparedDeviceThatIsUpStaysUp) {
  prepare(true);
  EXPECT_EQ(run(changing({"true"})).status, 0);
  EXPECT_EQ(state(), before_up);
}

TEST_F(CommandTraces, TheCommandCanBindToItsIpv6Addresses) {
  const Words ipv6{"--interface-address", "fd00:77::1/64"};
  const Words tentative{"ip", "-6", "addr", "show", "dev", "tp0", "to", "fd00::/16", "tentative"};
  // Of ours nobody looks for a duplicate; the one of an administrator is waited for.
  EXPECT_EQ(run(host("tap:tp0", {"--quiet", ipv6[0], ipv6[1]}, tentative)).out, "");
  for (const Words& words : {Words{"ip", "tuntap", "add", "tp0", "mode", "tap"},
                             Words{"ip", "addr", "add", "fd00:77::1/64", "dev", "tp0"}})
    ASSERT_EQ(sandbox::run(words).status, 0);
  EXPECT_EQ(run(host("tap:tp0", {"--quiet", ipv6[0], ipv6[1]}, tentative)).out, "");
}

TEST_F(CommandTraces, ASignalEndsTheWaitForAnAddress) {
  for (const Words& words : {Words{"ip", "tuntap", "add", "tp0", "mode", "tap"},
                             Words{"sysctl", "-w", "net.ipv6.conf.tp0.dad_transmits=20"},  // takes 20 seconds
                             Words{"ip", "addr", "add", "fd00:77::1/64", "dev", "tp0"}})
    ASSERT_EQ(sandbox::run(words).status, 0);
  Running running{host("tap:tp0", {"--interface-address", "fd00:77::1/64"}, {"echo", "too late"})};
  ASSERT_TRUE(running.has_said("is up"));
  running.send(SIGTERM);
  const auto finished = running.wait();
  EXPECT_EQ(finished.status, 128 + SIGTERM);
  EXPECT_THAT(finished.out, testing::Not(HasSubstr("too late")));
}

TEST_F(CommandTraces, AnIpv4AddressHasItsBroadcastAddress) {
  EXPECT_THAT(run(host("tap:tp0", {"--quiet"}, {"ip", "-4", "addr", "show", "dev", "tp0"})).out,
              HasSubstr("inet 10.77.0.1/24 brd 10.77.0.255 "));
  EXPECT_THAT(run({"host", "tap:tp0", "--quiet", "--interface-address", "10.77.0.2/31", "--host-address",
                   "10.77.0.3", "--", "ip", "-4", "addr", "show", "dev", "tp0"})
                  .out,
              testing::AllOf(HasSubstr("inet 10.77.0.2/31 "), testing::Not(HasSubstr("brd"))));
}

/// What `ip` says of the IPv6 addresses, with the seconds that are left rounded down.
std::string ipv6_addresses() {
  const std::string text = sandbox::run({"ip", "-6", "addr", "show", "dev", "tp0"}).output;
  return std::regex_replace(text.substr(std::min(text.size(), text.find("inet6"))),
                            std::regex{"(\\d\\d)\\d\\dsec"}, "$1..sec");
}

TEST_F(CommandTraces, Ipv6AddressesComeBackWithAllThatTheyHad) {
  for (const Words& words :
       {Words{"ip", "tuntap", "add", "tp0", "mode", "tap"},
        Words{"ip", "addr", "add", "fd00:5::1/64", "dev", "tp0", "metric", "77", "nodad", "noprefixroute"},
        Words{"ip", "addr", "add", "fd00:6::1", "peer", "fd00:6::2/128", "dev", "tp0"},
        Words{"ip", "addr", "add", "fd00:7::1/64", "dev", "tp0", "valid_lft", "9090", "preferred_lft",
              "8090"},
        Words{"ip", "addr", "add", "fd00:8::1/64", "dev", "tp0", "preferred_lft", "0", "home"},
        Words{"ip", "addr", "add", "fe80::77/64", "dev", "tp0"}})
    ASSERT_EQ(sandbox::run(words).status, 0) << testing::PrintToString(words);
  const std::string before = ipv6_addresses();
  ASSERT_THAT(before,
              testing::AllOf(HasSubstr("90..sec"), HasSubstr("metric 77"), HasSubstr("peer fd00:6::2")));
  EXPECT_EQ(run(changing({"true"})).status, 0);
  EXPECT_EQ(ipv6_addresses(), before);
}

TEST_F(CommandTraces, AnAddressThatAnotherAddedMeanwhileStays) {
  prepare(false);
  EXPECT_EQ(run(changing({"ip", "addr", "add", "fd00:9::1/64", "dev", "tp0"})).status, 0);
  EXPECT_EQ(state(), std::string{before_down} + " fd00:9::1/64");
}

TEST_F(CommandTraces, WhatWasThereAlreadyStays) {
  prepare(true);
  EXPECT_EQ(run({"host", "tap:tp0,mtu=1450", "--interface-address", "10.5.0.1/24", "--host-address",
                 "10.5.0.2", "--", "ping", "-c", "1", "-W", "5", "10.5.0.2"})
                .status,
            0);
  EXPECT_EQ(state(), before_up);
}

TEST_F(CommandTraces, AnMtuThatWouldCostIpv6AddressesIsRefused) {
  prepare(true);
  const auto finished = run(host("tap:tp0,mtu=1000", {}, {"true"}));
  EXPECT_EQ(finished.status, 1);
  EXPECT_THAT(finished.err, HasSubstr("it would lose its address fd00:5::1/64"));
  EXPECT_EQ(lines(finished.err).size(), 1U) << finished.err;
  EXPECT_EQ(state(), before_up);
}

TEST_F(CommandTraces, ARenamedDeviceIsPutBackUnderItsNewName) {
  prepare(false);
  Running running{changing()};
  ASSERT_TRUE(running.has_said("is up"));
  for (const Words& words :
       {Words{"ip", "link", "set", "tp0", "down"}, Words{"ip", "link", "set", "tp0", "name", "tp9"},
        Words{"ip", "addr", "add", "fd00:5::1/64", "dev", "tp9", "nodad"},  // went with down
        Words{"ip", "link", "set", "tp9", "up"}})
    ASSERT_EQ(sandbox::run(words).status, 0) << testing::PrintToString(words);
  running.send(SIGINT);
  const auto finished = running.wait();
  EXPECT_EQ(finished.err, "");
  EXPECT_EQ(finished.status, 0);
  EXPECT_EQ(state("tp9"), before_down);
}

TEST_F(CommandTraces, AStepThatFailsIsPutBack) {
  prepare(false);
  // The kernel refuses the second address.
  const auto finished = run(
      host("tap:tp0,mtu=4000", {"--interface-address", "fd00:77::1/64", "--interface-address", "::1/128"}));
  EXPECT_EQ(finished.status, 1) << finished.out;
  EXPECT_EQ(finished.err,
            "tunport: tp0: address ::1/128: Cannot assign requested address; the kernel refuses "
            "'ip addr add ::1/128 dev tp0' too: choose another value\n");
  EXPECT_EQ(state(), before_down);
}

TEST_F(CommandTraces, InterruptedAtAnyMomentItLeavesNothing) {
  prepare(false);
  for (int i = 0; i < 24; ++i) {
    const auto delay = std::chrono::milliseconds{i < 12 ? i : 5 * (i - 8)};
    SCOPED_TRACE(testing::Message() << delay.count() << " ms");
    Running running{changing(i % 3 == 0 ? Words{"sleep", "5"} : Words{})};
    std::this_thread::sleep_for(delay);
    running.send(i % 2 == 0 ? SIGINT : SIGTERM);
    const auto finished = running.wait();
    EXPECT_THAT(finished.status, testing::AnyOf(0, 128 + SIGINT, 128 + SIGTERM));
    EXPECT_EQ(finished.err, "");
    EXPECT_EQ(state(), before_down);
  }
}

TEST_F(CommandTraces, OtherSignalsAreOrderlyToo) {
  prepare(false);
  for (const int signal :
       {SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGALRM, SIGVTALRM, SIGPROF, SIGXCPU, SIGXFSZ, SIGIO, SIGPWR,
        SIGSTKFLT, SIGABRT, SIGSYS, SIGTRAP, SIGRTMIN, SIGRTMIN + 3, SIGRTMAX}) {
    SCOPED_TRACE(::strsignal(signal));
    Running running{changing()};
    ASSERT_TRUE(running.has_said("is up"));
    running.send(signal);
    EXPECT_EQ(running.wait().status, 128 + signal);
    EXPECT_EQ(state(), before_down);
  }
}

TEST_F(CommandTraces, SignalsArePassedToTheCommandOnce) {
  for (const int signal : {SIGINT, SIGTERM}) {
    Running running{
        host("tap:tp0", {"--quiet"},
             {"sh", "-c",
              "trap 'echo got' INT TERM; echo ready; for i in 1 2 3 4 5; do sleep 0.1; done; exit 9"})};
    ASSERT_TRUE(running.has_said("ready"));
    running.send(signal);
    const auto finished = running.wait();
    EXPECT_EQ(finished.status, 9);
    EXPECT_EQ(count(finished.out, "got"), 1U);
  }
  Running running{host("tap:tp0", {}, {"sleep", "60"})};
  ASSERT_TRUE(running.has_said("is up"));
  running.send(SIGTERM);
  const auto finished = running.wait();
  EXPECT_THAT(finished.status, testing::AnyOf(128 + SIGTERM));
  EXPECT_THAT(finished.out, HasSubstr("answered"));
}

TEST_F(CommandTraces, OtherSignalsArePassedOnToo) {
  Running running{host("tap:tp0", {"--quiet"},
                       {"sh", "-c", "trap 'exit 9' USR1; echo ready; while :; do sleep 0.05; done"})};
  ASSERT_TRUE(running.has_said("ready"));
  running.send(SIGUSR1);
  EXPECT_EQ(running.wait().status, 9);
}

TEST_F(CommandTraces, KilledItTakesTheCommandAlong) {
  Running running{host("tap:tp0", {"--quiet"}, {"sh", "-c", "echo $$; exec sleep 60"})};
  ASSERT_TRUE(sandbox::wait_until([&] { return !running.out().empty(); }));
  const pid_t command = std::stoi(running.out());
  running.send(SIGKILL);
  EXPECT_EQ(running.wait().status, 128 + SIGKILL);
  const auto is_running = [&] {
    std::string state = "gone";
    std::getline(std::ifstream{"/proc/" + std::to_string(command) + "/stat"}, state);
    return state.find(" S ") != std::string::npos;
  };
  EXPECT_TRUE(sandbox::wait_until([&] { return !is_running(); }));
  EXPECT_TRUE(sandbox::wait_until([&] { return state() == "gone"; }));
}

}  // namespace
}  // namespace tunport::command
