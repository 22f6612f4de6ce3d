#include "tunport/base/error.hpp"

#include <cerrno>
#include <cstring>

namespace tunport {
namespace {

constexpr int first_own_value = 10001;

struct Text {
  const char* cause;
  const char* remedy;
  int posix;  // the errno with the same meaning
};

bool is_knob(int value) { return value >= static_cast<int>(Knob::no_carrier); }

/// The name of a knob that the kernel lacks; the remedy has the first Linux with the knob.
Text text_of(Knob knob) {
  switch (knob) {
    case Knob::no_carrier:
      return {"no carrier at open", "leave it out, or use Linux 6.1 or later", EOPNOTSUPP};
    case Knob::carrier:
      return {"carrier", "leave it as it is, or use Linux 5.0 or later", EOPNOTSUPP};
    case Knob::napi:
      return {"NAPI", "leave it out, or use Linux 4.15 or later", EOPNOTSUPP};
    case Knob::backpressure:
      return {"backpressure",
              "leave it out and give the interface a longer queue (txqueuelen=4000), or use Linux 7.3 or "
              "later",
              EOPNOTSUPP};
    case Knob::multi_queue:
      return {"multi-queue", "open a single device, or use Linux 3.8 or later", EOPNOTSUPP};
    case Knob::virtio_header:
      return {"virtio header", "leave its size out, or use Linux 2.6.27 or later", EOPNOTSUPP};
    case Knob::virtio_header_size:
      return {"size of the virtio header", "leave it out, or use Linux 2.6.34 or later", EOPNOTSUPP};
    case Knob::send_buffer:
      return {"send buffer", "leave it as it is, or use Linux 2.6.30 or later", EOPNOTSUPP};
  }
  return {nullptr, "", 0};
}

Text text_of(int value) {
  if (is_knob(value)) return text_of(static_cast<Knob>(value));
  switch (static_cast<Errc>(value)) {
    case Errc::no_driver:
      return {"there is no TUN/TAP driver at /dev/net/tun",
              "load it with 'modprobe tun'; in a container, pass the device in (--device /dev/net/tun)",
              ENODEV};
    case Errc::clone_device_denied:
      return {"/dev/net/tun may not be opened by this user",
              "run as root, or 'chmod 0666 /dev/net/tun' (the usual mode: the kernel asks for CAP_NET_ADMIN "
              "later)",
              EACCES};
    case Errc::not_permitted:
      return {"creating, attaching to or changing this interface is not permitted",
              "give the program CAP_NET_ADMIN, use --sandbox, or have the device prepared with "
              "'ip tuntap add NAME mode tun|tap user USER'",
              EPERM};
    case Errc::device_busy:
      return {
          "another process holds the device",
          "stop that process (look for /dev/net/tun in 'lsof' or for the name in /proc/*/fdinfo/*), choose "
          "another name, or try again in a moment",
          EBUSY};
    case Errc::device_exists:
      return {"the device exists already",
              "choose another name, or attach to it (mode=attach or mode=either)", EEXIST};
    case Errc::no_such_device:
      return {"there is no such device",
              "create it with 'ip tuntap add NAME mode tun|tap', or let it be created (mode=create or "
              "mode=either)",
              ENODEV};
    case Errc::wrong_kind:
      return {"the device is of the other kind (TUN carries IP packets, TAP carries Ethernet frames)",
              "ask for the kind that it is, or choose another name", EINVAL};
    case Errc::not_a_tunnel:
      return {"the interface is neither TUN nor TAP", "choose another name", EINVAL};
    case Errc::multi_queue_mismatch:
      return {"the device and the request differ in multi-queue",
              "ask for multi-queue exactly if the device has it ('ip -d link show NAME' says multi_queue on)",
              EINVAL};
    case Errc::invalid_name:
      return {
          "not a name that an interface can have",
          "use 1 to 15 characters without '/', ':' or white space, not '.' or '..'; '%d' once for a number",
          EINVAL};
    case Errc::device_gone:
      return {"the device was deleted", "create it again and start the port again", EBADFD};
    case Errc::link_down:
      return {"the interface is down", "'ip link set NAME up'", ENETDOWN};
    case Errc::not_listening:
      return {"the port is not listening", "call start_listening first", ENOTCONN};
    case Errc::already_listening:
      return {"the port is listening already", "call stop_listening first, or use another port", EISCONN};
    case Errc::operation_aborted:
      return {"the port was stopped, or the operation cancelled, before it was done",
              "if that was not meant: start the port and ask again", ECANCELED};
    case Errc::no_user_namespaces:
      return {"user namespaces are switched off",
              "'sysctl -w user.max_user_namespaces=15000' and, where it exists, "
              "'sysctl -w kernel.unprivileged_userns_clone=1', or run as root",
              EPERM};
    case Errc::not_bound:
      return {"the descriptor is not bound to a TUN/TAP device",
              "hand over one of /dev/net/tun after TUNSETIFF; if its device was deleted, open it again",
              EINVAL};
    case Errc::bad_header_size:
      return {
          "the device has a virtio header of a size that is not served",
          "set another (TUNSETVNETHDRSZ: at least 10 bytes, at most 64 with packet information), or delete "
          "the device and create it again",
          EOPNOTSUPP};
    case Errc::no_such_namespace:
      return {"there is no such network namespace",
              "choose one of 'ip netns list', make it with 'ip netns add NAME', or give a path such as "
              "/proc/PID/ns/net",
              ENOENT};
    case Errc::not_a_namespace:
      return {"the file is no network namespace",
              "give one of /run/netns, or a path such as /proc/PID/ns/net", EINVAL};
    case Errc::namespace_denied:
      return {"entering this network namespace is not permitted",
              "give the program CAP_SYS_ADMIN, over that namespace and in its own, or start it inside ('ip "
              "netns exec NAME')",
              EPERM};
    case Errc::no_namespaces:
      return {"this system has no network namespaces",
              "leave network_namespace empty, or use the kernel (linux_system)", EOPNOTSUPP};
    case Errc::mtu_too_small:
      return {"IPv6 needs an MTU of at least 1280 bytes", "'ip link set NAME mtu 1280' first", EINVAL};
    case Errc::mtu_out_of_range:
      return {"the interface cannot have this MTU",
              "choose 68 to 65535 on TUN, to 65521 on TAP ('ip -d link show NAME' says minmtu and maxmtu)",
              EINVAL};
    case Errc::no_mac_address:
      return {"the interface has no MAC address (TUN carries IP packets only)", "use a TAP device",
              EOPNOTSUPP};
    case Errc::invalid_mac_address:
      return {"not a MAC address that an interface can have",
              "use one that is neither zero nor multicast, such as 02:00:00:00:00:01", EADDRNOTAVAIL};
    case Errc::invalid_route:
      return {
          "not a route that the kernel takes",
          "clear the destination's bits beyond its prefix length (10.0.0.0/8, not 10.0.0.1/8), and name a "
          "gateway of its family",
          EINVAL};
    case Errc::clone_device_forbidden:
      return {
          "/dev/net/tun may not be opened here, whatever its mode: a device cgroup forbids that, or its file "
          "system is mounted nodev",
          "in a container, pass the device in (--device /dev/net/tun)", EPERM};
    case Errc::not_clone_device:
      return {
          "/dev/net/tun is not the TUN/TAP driver's device, but a directory, a plain file or another device",
          "remove it, then 'mknod /dev/net/tun c 10 200'; in a container, pass the device in instead "
          "(--device /dev/net/tun)",
          ENOTTY};
    case Errc::links_changing:
      return {"addresses or routes changed all the while that they were being listed",
              "try again in a moment", EAGAIN};
    case Errc::packet_information_mismatch:
      return {
          "the device and the caller's word differ in packet information",
          "say what it has ('ip -d link show NAME' says pi on or off), or say nothing and let it be found",
          EINVAL};
    case Errc::not_tun_driver:
      return {"the descriptor is of a macvtap or ipvtap, which tells nobody when it is deleted",
              "use a TAP of /dev/net/tun, in one bridge with the interface below", EOPNOTSUPP};
    case Errc::device_held_here:
      return {"this process has the device open already, and it has one queue",
              "close it there first, or open it with multi_queue both times", EBUSY};
    case Errc::invalid_address:
      return {"not an address that an interface can have",
              "give a unicast address that is neither the network's nor its broadcast address, such as "
              "10.77.0.1/24",
              EINVAL};
    case Errc::too_many_queues:
      return {"an interface has at most 256 queues, open elsewhere included",
              "ask for fewer, a queue for each core is plenty, or close some", E2BIG};
    case Errc::invalid_header_size:
      return {"not a size that a virtio header can have", "use 10, 12, 20 or 24 bytes", EINVAL};
    case Errc::header_size_in_use:
      return {"another queue of the device uses a virtio header of another size",
              "ask for that size, or close the other queues first", EBUSY};
    case Errc::other_device:
      return {"the descriptor is of another interface than the port's name says",
              "name the port after the descriptor's interface ('iff' in /proc/PID/fdinfo/FD)", ENODEV};
  }
  return {"unknown error", "", 0};
}

class Category final : public std::error_category {
 public:
  const char* name() const noexcept override { return "tunport"; }
  std::string message(int value) const override {
    std::string text = cause({value, *this});
    if (const auto what_to_do = remedy({value, *this}); !what_to_do.empty())
      text.append("; ").append(what_to_do);
    return text;
  }
  std::error_condition default_error_condition(int value) const noexcept override {
    if (value < first_own_value) return std::generic_category().default_error_condition(value);
    if (const int posix = text_of(value).posix; posix != 0) return {posix, std::generic_category()};
    return {value, *this};
  }
};

bool is_own(const std::error_code& ec) {
  return ec.category() == error_category() && ec.value() >= first_own_value;
}

}  // namespace

const std::error_category& error_category() noexcept {
  static const Category category;
  return category;
}

std::error_code make_error_code(Errc value) noexcept { return {static_cast<int>(value), error_category()}; }
std::error_code not_supported(Knob knob) noexcept { return {static_cast<int>(knob), error_category()}; }
std::error_code errno_code(int number) noexcept {
  if (number == EBADFD) return Errc::device_gone;  // returned by no other call of tunport
  return {number, error_category()};
}

std::string cause(const std::error_code& ec) {
  if (is_own(ec)) {
    const Text text = text_of(ec.value());
    if (!is_knob(ec.value())) return text.cause;
    return text.cause == nullptr ? "unknown error"
                                 : std::string{"not supported by this kernel: "} + text.cause;
  }
  if (ec.category() == error_category()) return std::generic_category().message(ec.value());
  return ec.message();
}

std::string_view remedy(const std::error_code& ec) {
  if (is_own(ec)) return text_of(ec.value()).remedy;
  if (ec.category() != error_category()) return {};
  switch (ec.value()) {
    case EPERM:
      return "give the program CAP_NET_ADMIN, or use --sandbox";
    case ENOENT:
      return "there is no such file; check the path, and that /proc and /dev are mounted";
    case ENOSPC:
      return "the file system or a limit of the kernel is full; make room, or raise the limit";
    case EMFILE:
      return "close descriptors, or raise the limit ('ulimit -n')";
    case ENFILE:
      return "the whole machine has run out of file descriptors; close some, or raise fs.file-max";
    case EADDRINUSE:
      return "choose another address or port, or stop the program that has it";
    case EADDRNOTAVAIL:
      return "name an address that the interface has ('ip address show'), or give it this one first";
    case ENETUNREACH:
    case EHOSTUNREACH:
      return "give an interface an address in the gateway's or destination's network, or add a route there "
             "first";
    case ENETDOWN:
      return "bring the interface up first ('ip link set NAME up')";
    case ESRCH:
      return "name a route that is there ('ip route show', 'ip -6 route show'); it may be gone already";
    case EEXIST:
      return "it is there already: leave it, or remove it first";
    case EOPNOTSUPP:
      return "this interface or kernel cannot do that ('ip -d link show NAME' says of which kind it is)";
    case E2BIG:
      return "the device has as many queues as the kernel allows (256); close one of them";
    case EPROTO:
      return "the kernel's answer by netlink was not understood; try again, then report it with 'uname -r'";
    case EBADF:
      return "give an open descriptor, of a device one that is open for reading and writing";
    case EBADMSG:
      return "the packet was dropped; go on with the next";
    case ECANCELED:
      return "the device was closed, or its calls cancelled; if that was not meant, open it again";
    case EINVAL:
      return "the kernel does not take this value or packet; check it against what the call says it may be";
    case EIO:
      return "bring the interface up ('ip link set NAME up'), and try again";
    case EAGAIN:
      return "wait until the descriptor is ready, and try again";
    case EINTR:
      return "try again";
    case ENOBUFS:
    case ENOMEM:
      return "the kernel is short of memory; try again later, with less under way";
    default:
      return {};
  }
}

bool is_transient(const std::error_code& ec) {
  return ec == std::errc::resource_unavailable_try_again || ec == std::errc::interrupted ||
         ec == std::errc::no_buffer_space || ec == std::errc::not_enough_memory ||
         ec == std::errc::io_error || ec == Errc::link_down || ec == Errc::device_busy ||
         (ec.category() == error_category() && ec.value() == EBUSY);
}

}  // namespace tunport
