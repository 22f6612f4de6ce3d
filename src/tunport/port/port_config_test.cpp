#include "tunport/port/port_config.hpp"

#include <gtest/gtest.h>

namespace tunport {
namespace {

TEST(PortConfig, ReadsKindNameAndOptions) {
  EXPECT_EQ(PortConfig::parse("tap:tp0").config, (PortConfig{DeviceKind::tap, "tp0"}));
  EXPECT_EQ(PortConfig::parse("tun:tp%d").config, (PortConfig{DeviceKind::tun, "tp%d"}));
  const PortConfig full{DeviceKind::tap, "tp0", OpenMode::attach, {.mtu = 9000}};
  EXPECT_EQ(PortConfig::parse("tap:tp0,mtu=9000,mode=attach").config, full);
  EXPECT_EQ(PortConfig::parse("tap:tp0,mode=attach,mtu=9000").config, full);
}

TEST(PortConfig, GivesThePortItsOptions) {
  const PortOptions options =
      PortConfig::parse("tap:tp0,mode=attach,address=10.0.0.1/24,mtu=1400,up,offload=checksum,spin=50us")
          .config->options({.max_packet_size = 2000});
  EXPECT_EQ(options.device.mode, OpenMode::attach);
  EXPECT_EQ(options.interface, (InterfaceOptions{.addresses = {"10.0.0.1/24"}, .mtu = 1400, .up = true}));
  EXPECT_EQ(options.offload, OffloadFeatures{.checksum = true});
  EXPECT_EQ(options.spin, std::chrono::microseconds{50});
  EXPECT_EQ(options.max_packet_size, 2000U);
  EXPECT_EQ(options.moderation, Duration::zero());
  EXPECT_FALSE(options.device.napi);
  EXPECT_EQ(options.device.backpressure, std::nullopt);
  const DeviceOptions knobs =
      PortConfig::parse("tap:tp0,napi,backpressure,vnethdr=20").config->options().device;
  EXPECT_EQ(options.fd, std::nullopt);
  EXPECT_EQ(PortConfig::parse("tap:tp0,fd=5").config->options().fd, 5);
  EXPECT_TRUE(knobs.napi);
  EXPECT_EQ(knobs.backpressure, true);
  EXPECT_EQ(knobs.virtio_header_size, VirtioHeaderSize::hash);
  EXPECT_EQ(PortConfig::parse("tap:tp0,moderation=1ms").config->options().moderation,
            std::chrono::milliseconds{1});
}

TEST(PortConfig, WritesWhatItReads) {
  for (const DeviceKind kind : {DeviceKind::tap, DeviceKind::tun})
    for (const OpenMode mode : {OpenMode::either, OpenMode::create, OpenMode::attach})
      for (const std::optional<unsigned> mtu : {std::optional<unsigned>{}, {68}, {1500}, {65'521}})
        for (const char* name : {"tp0", "a", "fifteen-letters", "x=y", "tp.1"}) {
          const PortConfig config{kind, name, mode, {.mtu = mtu}};
          EXPECT_EQ(PortConfig::parse(to_string(config)).config, config) << to_string(config);
        }
  for (const char* text : {"tap:tp0,offload=off", "tun:tp0,mtu=1400,offload=checksum+tso4,spin=50us",
                           "tap:tp0,netns=blue", "tap:tp0,spin=1000000us", "tap:tp0,moderation=50us",
                           "tap:tp0,address=10.0.0.1/24,address=fd00::1/64,mtu=1400,mac=02:00:00:00:00:07,"
                           "txqueuelen=4000,up",
                           "tun:tp0,fd=5,up", "tap:tp0,napi,backpressure,vnethdr=12,netns=blue"}) {
    const auto read = PortConfig::parse(text).config;
    ASSERT_TRUE(read) << text;
    EXPECT_EQ(to_string(*read), text);
  }
  EXPECT_EQ(to_string(*PortConfig::parse("tap:tp0,offload=auto,spin=2ms").config), "tap:tp0,spin=2000us");
  EXPECT_EQ(to_string(PortConfig{DeviceKind::tun, "tp0", OpenMode::create, {.mtu = 1400}}),
            "tun:tp0,mode=create,mtu=1400");
  EXPECT_EQ(to_string(PortConfig{DeviceKind::tap, "tp0"}), "tap:tp0");
}

TEST(PortConfig, PointsAtWhatIsWrong) {
  const std::string options =
      "; there are mode, fd, address, mtu, mac, txqueuelen, up, napi, backpressure, vnethdr, netns, offload, "
      "spin, "
      "moderation";
  const std::string mtu = "no MTU; it is a number from 68 to 65521";
  const std::string offload = "no offload; it is auto, off, or some of checksum+tso4+tso6+ecn+uso";
  const std::string spin = "no duration; it is a number and us or ms, up to 1000ms: 50us";
  const std::string name =
      "not a name that an interface can have; use 1 to 15 characters without '/', ':' or white space, not "
      "'.' or "
      "'..'; '%d' once for a number";
  const std::string adopted =
      "fd is for a device that is open already; leave mode, netns, napi, backpressure, vnethdr and templates "
      "out";
  const auto message = [](Errc error) { return std::error_code{error}.message(); };
  const struct {
    std::string text;
    std::size_t position;
    std::string part;
    std::string problem;
  } table[] = {
      {"", 0, "", "no port's name; one is tap:NAME or tun:NAME"},
      {"tp0", 0, "tp0", "no port's name; one is tap:NAME or tun:NAME"},
      {":tp0", 0, "", "no such kind; there are tap, tun"},
      {"TAP:tp0", 0, "TAP", "no such kind; there are tap, tun"},
      {"vpn:tp0", 0, "vpn", "no such kind; there are tap, tun"},
      {"tap:", 4, "", "the interface's name is missing"},
      {"tap:,mtu=1500", 4, "", "the interface's name is missing"},
      {"tap:sixteen-letters-", 4, "sixteen-letters-", name},
      {"tap:a b", 4, "a b", name},
      {"tap:a:b,mtu=1500", 4, "a:b", name},
      {"tap:..", 4, "..", name},
      {"tap:t%d%d", 4, "t%d%d", name},
      {"tap:tp%d,mode=attach", 4, "tp%d", "a template names no device to attach to; write the device's name"},
      {"tap:tp0,", 8, "", "an option is missing" + options},
      {"tap:tp0,,mtu=1500", 8, "", "an option is missing" + options},
      {"tap:tp0,mtx=9000", 8, "mtx", "no such option" + options},
      {"tap:tp0,=9000", 8, "", "no such option" + options},
      {"tap:tp0,mtu=9000,mode=keep", 22, "keep", "no such mode; there are create, attach, either"},
      {"tap:tp0,mode", 12, "", "no such mode; there are create, attach, either"},
      {"tap:tp0,mtu", 11, "", mtu},
      {"tap:tp0,mtu=", 12, "", mtu},
      {"tap:tp0,mtu=67", 12, "67", mtu},
      {"tap:tp0,mtu=65522", 12, "65522", mtu},
      {"tap:tp0,mtu=+1500", 12, "+1500", mtu},
      {"tap:tp0,mtu=1500k", 12, "1500k", mtu},
      {"tap:tp0,mtu=99999999999999999999", 12, "99999999999999999999", mtu},
      {"tun:tp0,mtu=65536", 12, "65536", "no MTU; it is a number from 68 to 65535"},
      {"tap:tp0,offload=on", 16, "on", offload},
      {"tap:tp0,offload", 15, "", offload},
      {"tap:tp0,spin=50", 13, "50", spin},
      {"tap:tp0,spin=us", 13, "us", spin},
      {"tap:tp0,spin=-1us", 13, "-1us", spin},
      {"tap:tp0,spin=1001ms", 13, "1001ms", spin},
      {"tap:tp0,spin=4294967295ms", 13, "4294967295ms", spin},
      {"tap:tp0,netns=", 14, "",
       "no name of a network namespace; one is made by 'ip netns add NAME', and has no '/'"},
      {"tap:tp0,netns=a/b", 14, "a/b",
       "no name of a network namespace; one is made by 'ip netns add NAME', and has no '/'"},
      {"tap:tp0,netns=..", 14, "..",
       "no name of a network namespace; one is made by 'ip netns add NAME', and has no '/'"},
      {"tap:tp0,moderation=50", 19, "50", spin},
      {"tap:tp0,moderation=-1us", 19, "-1us", spin},
      {"tap:tp0,moderation=1001ms", 19, "1001ms", spin},
      {"tap:tp0,spin=1us,moderation=2us", 28, "2us",
       "spin and moderation exclude each other; leave one of them out"},
      {"tap:tp0,address=10.0.0.1", 16, "10.0.0.1", "no address with a prefix length, such as 10.77.0.1/24"},
      {"tap:tp0,address=10.0.0.255/24", 16, "10.0.0.255/24", message(Errc::invalid_address)},
      {"tap:tp0,address=ff02::1/64", 16, "ff02::1/64", message(Errc::invalid_address)},
      {"tap:tp0,mac=01:00:00:00:00:01", 12, "01:00:00:00:00:01", message(Errc::invalid_mac_address)},
      {"tap:tp0,mac=me", 12, "me", "no MAC address, such as 02:00:00:00:00:01"},
      {"tun:tp0,mac=02:00:00:00:00:01", 12, "02:00:00:00:00:01", message(Errc::no_mac_address)},
      {"tap:tp0,txqueuelen=-1", 19, "-1", "no length of a queue; it is a number of packets"},
      {"tap:tp0,up=yes", 11, "yes", "'up' has no value"},
      {"tap:tp0,fd=2", 11, "2", "no descriptor of a device; it is a number from 3 on"},
      {"tap:tp0,fd=x", 11, "x", "no descriptor of a device; it is a number from 3 on"},
      {"tap:tp0,fd=4294967295", 11, "4294967295", "no descriptor of a device; it is a number from 3 on"},
      {"tap:tp0,fd=5,mode=create", 11, "5", adopted},
      {"tap:tp0,mode=attach,fd=5", 23, "5", adopted},
      {"tap:tp0,fd=5,netns=blue", 11, "5", adopted},
      {"tap:tp0,fd=5,napi", 11, "5", adopted},
      {"tap:tp0,fd=5,backpressure", 11, "5", adopted},
      {"tap:tp0,fd=5,vnethdr=12", 11, "5", adopted},
      {"tap:tp%d,fd=5", 12, "5", adopted},
      {"tap:tp0,napi=1", 13, "1", "'napi' has no value"},
      {"tap:tp0,vnethdr=16", 16, "16", "no size of a virtio header; it is 10, 12, 20 or 24 bytes"},
      {"tap:tp0,vnethdr", 15, "", "no size of a virtio header; it is 10, 12, 20 or 24 bytes"},
      {"tap:tp0,up,up", 11, "up", "given twice"},
      {"tap:tp0,mtu=1000,address=fd00::1/64", 12, "1000",
       "IPv6 needs an MTU of 1280 or more; raise it, or leave out address fd00::1/64"},
      {"tap:tp0,mtu=1500,mtu=1500", 17, "mtu", "given twice"},
      {"tap:tp0,mode=create,mode=create", 20, "mode", "given twice"},
      {std::string{"tap:tp0,mtu=1500\0", 17}, 12, std::string{"1500\0", 5}, mtu},
  };
  for (const auto& row : table) {
    SCOPED_TRACE(row.text);
    const auto result = PortConfig::parse(row.text);
    EXPECT_FALSE(result.config);
    EXPECT_EQ(result.error.position, row.position);
    EXPECT_EQ(result.error.part, row.part);
    EXPECT_EQ(result.error.problem, row.problem);
  }
}

TEST(PortConfig, SaysWhereFromOneOn) {
  EXPECT_EQ(
      to_string(PortConfig::parse("tap:tp0,mtx=9000").error),
      "at character 9, 'mtx': no such option; there are mode, fd, address, mtu, mac, txqueuelen, up, napi, "
      "backpressure, vnethdr, netns, offload, spin, moderation");
  EXPECT_EQ(to_string(PortConfig::parse("tap:").error), "at character 5: the interface's name is missing");
}

}  // namespace
}  // namespace tunport
