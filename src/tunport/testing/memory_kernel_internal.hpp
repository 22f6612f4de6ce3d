#pragma once
/// The state of the fake kernel, shared by `MemorySystem`, `MemoryLinks` and `MemorySockets`. The inside of
/// `MemorySystem`.

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "tunport/device/link_system.hpp"
#include "tunport/testing/memory_device_internal.hpp"
#include "tunport/testing/memory_system.hpp"

struct ifreq;

namespace tunport {

/// The notices for a monitor of an interface.
struct MemoryNotices {
  std::shared_ptr<MemoryDevice> device;
  bool away = false;  ///< the namespace of the monitor
  Readiness readiness;
  std::vector<LinkNotice> notices;
  bool lost = false;  ///< a notice found no memory
};

/// The flags of TUNSETIFF that Linux 6.18 knows, and the fake has: not IFF_NAPI_FRAGS.
inline constexpr unsigned linux_6_18 = 0x7153;

struct MemoryKernel {
  MemoryKernel();

  /// Notices closed descriptors: their devices vanish, or become free for others.
  void sweep();
  /// The file of a descriptor of /dev/net/tun; null for another descriptor.
  MemoryFile* find_file(int fd);
  /// The interface with the name in the program's namespace; null if absent.
  std::shared_ptr<MemoryDevice> find(const std::string& name) const { return find(name, away); }
  /// The interface with the name in this namespace or, with `moved`, in the second namespace.
  std::shared_ptr<MemoryDevice> find(const std::string& name, bool moved) const;
  /// Makes an interface. `name` may be a template ("tap%d"). Returns zero or a negated errno.
  int create(const std::string& name, unsigned flags, std::shared_ptr<MemoryDevice>& device);
  /// Deletes an interface, with its routes and addresses.
  void remove(MemoryDevice& device);
  /// Sets an interface up or down. An interface that goes down loses its routes and IPv6 addresses.
  void set_up(MemoryDevice& device, bool up);
  /// Has the monitors of an interface told of a change.
  void tell(const MemoryDevice& device, LinkNotice::Kind kind);
  /// Removes addresses for which `gone` is true, and tells if there were any.
  template <class Gone>
  void remove_addresses(MemoryDevice& device, Gone gone) {
    if (std::erase_if(device.addresses, gone) != 0) tell(device, LinkNotice::Kind::addresses);
  }
  /// TUNSETIFF. Zero or a negated errno.
  int set_iff(MemoryFile& file, ifreq& request);
  /// TUNSETQUEUE. Zero or a negated errno.
  static int set_queue(MemoryFile& file, const ifreq& request);
  /// Takes a planned failure of the call: a negated errno, or zero without a planned failure.
  int fault(Call call, unsigned long request = 0);
  /// True for an address of this host.
  bool is_local(const IpAddress& address) const;
  /// True for 255.255.255.255, and for the directed broadcast address of an interface that is up.
  bool is_broadcast(const IpAddress& address) const;
  /// The interface of that index here; null without the interface.
  std::shared_ptr<MemoryDevice> find(int index) const;
  /// True if a route or the prefix of an interface leads to the address.
  bool is_reachable(const IpAddress& address) const;

  struct Fault {
    Call call;
    std::optional<unsigned long> request;
    int error;
    unsigned times;
  };

  std::vector<std::shared_ptr<MemoryDevice>> devices;
  std::unordered_map<std::uint64_t, std::unique_ptr<MemoryFile>> files;
  std::vector<Fault> faults;
  std::vector<std::weak_ptr<MemoryNotices>> monitors;
  MemoryTraits traits;
  unsigned known = linux_6_18;  ///< the flags of TUNSETIFF (TUNGETFEATURES)
  int clone_error = 0;          ///< the errno with which opening /dev/net/tun fails, or 0
  bool privileged = true;
  bool away = false;  ///< the program is in the second namespace, with the moved devices
  std::uint32_t uid = 0;
  std::uint32_t gid = 0;
  int last_index = 0;

 private:
  bool may_attach(const MemoryDevice& device) const;
};

}  // namespace tunport
