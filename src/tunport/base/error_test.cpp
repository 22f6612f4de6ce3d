#include "tunport/base/error.hpp"

#include <cerrno>
#include <utility>

#include <gtest/gtest.h>

namespace tunport {
namespace {

TEST(Error, MessageGivesCauseAndRemedy) {
  const std::error_code ec = Errc::not_permitted;
  EXPECT_NE(ec.message().find("not permitted; give the program CAP_NET_ADMIN"), std::string::npos)
      << ec.message();
  EXPECT_NE(ec.message().find("--sandbox"), std::string::npos);
  EXPECT_NE(ec.message().find("ip tuntap add"), std::string::npos);
}

// The error of binding a socket, and of removing an address from an interface.
TEST(Error, AnAddressThatIsNotThereHasARemedyForBothUses) {
  const auto text = remedy(errno_code(EADDRNOTAVAIL));
  EXPECT_NE(text.find("an address that the interface has"), std::string_view::npos) << text;
  EXPECT_EQ(text.find("bind"), std::string_view::npos) << text;
}

/// Every known error, with a word of the fitting remedy.
TEST(Error, EachHasACauseAndARemedyThatFits) {
  const std::pair<Errc, const char*> own[] = {
      {Errc::no_driver, "modprobe tun"},
      {Errc::clone_device_denied, "chmod 0666"},
      {Errc::not_permitted, "CAP_NET_ADMIN"},
      {Errc::device_busy, "fdinfo"},
      {Errc::device_exists, "mode=attach"},
      {Errc::no_such_device, "ip tuntap add"},
      {Errc::wrong_kind, "kind that it is"},
      {Errc::not_a_tunnel, "another name"},
      {Errc::multi_queue_mismatch, "multi-queue"},
      {Errc::invalid_name, "15 characters"},
      {Errc::device_gone, "create it again"},
      {Errc::link_down, "ip link set NAME up"},
      {Errc::not_listening, "start_listening"},
      {Errc::already_listening, "stop_listening"},
      {Errc::operation_aborted, "start the port"},
      {Errc::no_user_namespaces, "max_user_namespaces"},
      {Errc::not_bound, "TUNSETIFF"},
      {Errc::bad_header_size, "TUNSETVNETHDRSZ"},
      {Errc::no_such_namespace, "ip netns add"},
      {Errc::not_a_namespace, "/proc/PID/ns/net"},
      {Errc::namespace_denied, "CAP_SYS_ADMIN"},
      {Errc::no_namespaces, "network_namespace"},
      {Errc::mtu_too_small, "1280"},
      {Errc::mtu_out_of_range, "maxmtu"},
      {Errc::no_mac_address, "TAP"},
      {Errc::invalid_mac_address, "02:00:00:00:00:01"},
      {Errc::invalid_route, "prefix length"},
      {Errc::clone_device_forbidden, "--device /dev/net/tun"},
      {Errc::not_clone_device, "mknod"},
      {Errc::links_changing, "try again"},
      {Errc::packet_information_mismatch, "ip -d link show"},
      {Errc::not_tun_driver, "bridge"},
      {Errc::device_held_here, "multi_queue"},
      {Errc::invalid_address, "10.77.0.1/24"},
      {Errc::too_many_queues, "fewer"},
      {Errc::invalid_header_size, "10, 12, 20 or 24"},
      {Errc::header_size_in_use, "other queues"},
      {Errc::other_device, "fdinfo"},
  };
  int value = static_cast<int>(Errc::no_driver);
  for (const auto& [error, word] : own) {
    const std::error_code ec = error;
    EXPECT_EQ(ec.value(), value++) << "one is missing here";
    EXPECT_NE(cause(ec), "unknown error") << word;
    EXPECT_NE(remedy(ec).find(word), std::string_view::npos) << word << ": " << ec.message();
    EXPECT_NE(ec.default_error_condition().category(), error_category()) << word << ": stands for no errno";
  }
  EXPECT_EQ(cause({value, error_category()}), "unknown error") << "one is missing here";
}

TEST(Error, AKnobThatTheKernelLacksIsNamed) {
  const std::pair<Knob, const char*> knobs[] = {
      {Knob::no_carrier, "no carrier at open"},
      {Knob::carrier, "carrier"},
      {Knob::napi, "NAPI"},
      {Knob::backpressure, "backpressure"},
      {Knob::multi_queue, "multi-queue"},
      {Knob::virtio_header, "virtio header"},
      {Knob::virtio_header_size, "size of the virtio header"},
      {Knob::send_buffer, "send buffer"},
  };
  int value = static_cast<int>(Knob::no_carrier);
  for (const auto& [knob, name] : knobs) {
    const std::error_code ec = not_supported(knob);
    EXPECT_EQ(ec.value(), value++) << "one is missing here";
    EXPECT_EQ(cause(ec), std::string{"not supported by this kernel: "} + name);
    EXPECT_NE(remedy(ec).find("or use Linux "), std::string_view::npos) << ec.message();
    EXPECT_EQ(ec, std::errc::operation_not_supported);
    EXPECT_FALSE(is_transient(ec));
  }
  EXPECT_EQ(cause({value, error_category()}), "unknown error") << "one is missing here";
}

TEST(Error, EachErrnoOfDevicesAndLinksHasARemedyThatFits) {
  const std::pair<int, const char*> table[] = {
      {EPERM, "CAP_NET_ADMIN"},
      {ENOENT, "/proc"},
      {ENOSPC, "raise the limit"},
      {EMFILE, "ulimit -n"},
      {ENFILE, "close some"},
      {EADDRINUSE, "another address or port"},
      {EADDRNOTAVAIL, "ip address show"},
      {ENETUNREACH, "gateway"},
      {EHOSTUNREACH, "gateway"},
      {ENETDOWN, "ip link set NAME up"},
      {ESRCH, "ip route show"},
      {EEXIST, "already"},
      {EOPNOTSUPP, "ip -d link show"},
      {E2BIG, "queues"},
      {EPROTO, "uname -r"},
      {EBADF, "reading and writing"},
      {EBADFD, "create it again"},
      {EBADMSG, "go on"},
      {ECANCELED, "open it again"},
      {EINVAL, "check it"},
      {EIO, "ip link set NAME up"},
      {EAGAIN, "try again"},
      {EINTR, "try again"},
      {ENOBUFS, "try again"},
      {ENOMEM, "try again"},
  };
  for (const auto& [number, word] : table) {
    const auto ec = errno_code(number);
    EXPECT_FALSE(cause(ec).empty()) << number;
    EXPECT_NE(remedy(ec).find(word), std::string_view::npos) << number << ": " << ec.message();
  }
}

TEST(Error, ComparesEqualToTheErrnoThatItStandsFor) {
  EXPECT_EQ(std::error_code{Errc::device_busy}, std::errc::device_or_resource_busy);
  EXPECT_EQ(std::error_code{Errc::operation_aborted}, std::errc::operation_canceled);
  EXPECT_EQ(errno_code(ENOENT), std::errc::no_such_file_or_directory);
  EXPECT_NE(std::error_code{Errc::link_down}, std::errc::io_error);
  EXPECT_EQ(errno_code(EBADFD), Errc::device_gone);
}

TEST(Error, KnowsWhatPasses) {
  EXPECT_TRUE(is_transient(errno_code(EAGAIN)));
  EXPECT_TRUE(is_transient(errno_code(EINTR)));
  EXPECT_TRUE(is_transient(errno_code(ENOBUFS)));
  EXPECT_TRUE(is_transient(errno_code(EIO)));
  EXPECT_TRUE(is_transient(Errc::link_down));
  EXPECT_TRUE(is_transient(Errc::device_busy));
  EXPECT_FALSE(is_transient(Errc::device_gone));
  EXPECT_FALSE(is_transient(Errc::not_permitted));
  EXPECT_FALSE(is_transient(errno_code(EINVAL)));
}

TEST(Error, ExceptionNamesItsSubjectFirst) {
  const CannotListenError error{Errc::device_busy, "tp0"};
  EXPECT_EQ(std::string{error.what()}.find("tp0: another process holds the device; "), 0U) << error.what();
  EXPECT_EQ(error.subject(), "tp0");
  EXPECT_EQ(error.code(), Errc::device_busy);
}

}  // namespace
}  // namespace tunport
