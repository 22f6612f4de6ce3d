/// What the command says of itself, and of a wrong command line.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "command/command.hpp"

namespace tunport::command {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

TEST(CommandUsage, HelpAndVersionAreNoErrors) {
  for (const Words& words : {Words{"--help"}, Words{"host", "--help"}, Words{"-h"}, Words{"host", "-h"}}) {
    const auto finished = run(words);
    EXPECT_EQ(finished.status, 0);
    EXPECT_EQ(finished.err, "");
    EXPECT_THAT(finished.out, HasSubstr("tunport host tap:tp0 --interface-address 10.77.0.1/24"));
  }
  const auto version = run({"--version"});
  EXPECT_EQ(version.status, 0);
  EXPECT_EQ(version.out, "tunport " TUNPORT_VERSION "\n");
}

TEST(CommandUsage, HelpNamesEveryOption) {
  const auto finished = run({"host", "--help"});
  for (const char* option :
       {"--interface-address CIDR...", "--host-address ADDRESS...", "--mac MAC", "--udp-echo PORT...",
        "--sandbox", "--json", "--quiet", "COMMAND", "tap:NAME", "tun:NAME", "mode=attach",
        "mtu=", "128+N          after another signal", "--explain REASON", "127 if it is not found"})
    EXPECT_THAT(finished.out, HasSubstr(option));
}

TEST(CommandUsage, ExplainsAReasonForDrops) {
  const auto one = run({"host", "--explain", "link_down"});
  EXPECT_EQ(one.status, 0);
  EXPECT_EQ(one.out, "link_down             the interface was down ('ip link set NAME up')\n");
  EXPECT_THAT(run({"host", "--explain", "all"}).out, HasSubstr("\nunknown_udp_port      "));
  EXPECT_EQ(run({"host", "--explain", "all"}, {.output = "/dev/full"}).status, 1);
}

struct Wrong {
  Words words;
  std::string said;
};

TEST(CommandUsage, WrongUsageIsStatusTwoAndOneLine) {
  const Words addresses{"--interface-address", "10.77.0.1/24", "--host-address", "10.77.0.2"};
  const auto with = [&](const Words& more) {
    Words words = host("tap:tp0");
    words.insert(words.end(), more.begin(), more.end());
    return words;
  };
  const Wrong table[] = {
      {{}, "what to do is missing, such as 'tunport host'"},
      {{"hots"}, "'hots' is not known as a verb; there are 'host', 'gate', 'list' and 'doctor'"},
      {{"host"}, "PORT is missing"},
      {host("tap:tp0,mtx=9000"),
       "port 'tap:tp0,mtx=9000': at character 9, 'mtx': no such option; there are mode, fd, address, mtu"},
      {host("tap:tp0,mode=maybe"),
       "at character 14, 'maybe': no such mode; there are create, attach, either"},
      {host("tap:tp0,mtu=9"), "at character 13, '9': no MTU"},
      {host("tp0"), "at character 1, 'tp0': no port's name; one is tap:NAME or tun:NAME"},
      {host("vpn:tp0"), "at character 1, 'vpn': no such kind; there are tap, tun"},
      {host("tap:a-name-too-long-for-it"),
       "at character 5, 'a-name-too-long-for-it': not a name that an interface"},
      {host("tap:tp0\nmtu"), "'tp0?mtu'"},
      {{"host", "tap:tp0", "--host-address", "10.77.0.2"}, "--interface-address is missing"},
      {{"host", "tap:tp0", "--interface-address", "10.77.0.1/24"}, "--host-address is missing"},
      {with({"--interface-address", "10.78.0.1"}), "'10.78.0.1': the prefix length is missing"},
      {with({"--interface-address", "10.78.0.1/33"}), "'10.78.0.1/33': no address with a prefix length"},
      {with({"--interface-address", "10.78.0.0/24"}),
       "'10.78.0.0/24': the network's or broadcast address; give one between them, such as 10.78.0.1/24"},
      {with({"--interface-address", "10.78.0.255/24"}), "such as 10.78.0.1/24"},
      {with({"--host-address", "10.77.0.1"}), "'10.77.0.1': the interface has this address"},
      {with({"--host-address", "10.77.0.255"}), "broadcast address of 10.77.0.1/24"},
      {with({"--host-address", "ten"}), "'ten': no IP address"},
      {with({"--host-address", "ff02::1"}), "not an address that a single host can have"},
      {with({"--host-address", "10.77.0.0/16"}), "has a meaning with --every-address only"},
      {host("tun:tp0", {"--dhcp"}), "--dhcp: a TUN has no stations"},
      {{"host", "tap:tp0", "--host-address", "fd00::2", "--dhcp"}, "the server needs an IPv4 address"},
      {with({"--every-address"}), "--every-address needs a prefix length; write 10.77.0.2/LENGTH"},
      {with({"--advertise-prefix", "10.0.0.0/8"}), "no IPv6 prefix"},
      {with({"--advertise-prefix", "fd00::/48"}), "in a /64 only"},
      {host("tun:tp0", {"--advertise-prefix", "fd00::/64"}), "a TUN has no stations"},
      {with({"--mac", "02:00"}), "--mac '02:00': no MAC address"},
      {with({"--mac", "03:00:00:00:00:01"}), "not a MAC address that a single host can have"},
      {host("tun:tp0", {"--mac", "02:00:00:00:00:01"}), "a TUN has no MAC addresses"},
      {with({"--udp-echo", "65536"}), "'65536': no UDP port"},
      {with({"--udp-echo", "7,9"}), "'7,9': no UDP port"},
      {host("tap:tp0,mtu=1000", {"--interface-address", "fd00::1/64"}), "IPv6 needs an MTU of 1280 or more"},
      {with({"--loud"}), "'--loud' is not known here"},
      {with({"ping"}), "'ping': no IP address, such as 10.77.0.2 (COMMAND stands behind '--')"},
      {with({"--udp-echo", "7", "ping"}), "from 1 to 65535 (COMMAND stands behind '--')"},
      {with({"--sandbox", "ping"}), "'ping' is not known here (COMMAND stands behind '--')"},
      {with({"ping", "-c", "5"}), "'-c' is not known here (COMMAND stands behind '--')"},
      {with({"--mac"}), "--mac: a value is missing"},
      {{"host", "--explain", "gone"}, "--explain 'gone': no reason for a drop; 'tunport host --explain all'"},
      {{"host", "--explain"}, "--explain: a value is missing"},
      {with({"--"}), "COMMAND is missing behind '--'"},
  };
  for (const Wrong& wrong : table) {
    SCOPED_TRACE(testing::PrintToString(wrong.words));
    const auto finished = run(wrong.words);
    EXPECT_EQ(finished.status, 2);
    EXPECT_EQ(finished.out, "");
    ASSERT_EQ(lines(finished.err).size(), 1U) << finished.err;
    EXPECT_THAT(finished.err, StartsWith("tunport: "));
    EXPECT_THAT(finished.err, HasSubstr(wrong.said));
    EXPECT_THAT(finished.err, testing::AnyOf(HasSubstr("--help'"), HasSubstr("--explain all'")));
  }
}

}  // namespace
}  // namespace tunport::command
