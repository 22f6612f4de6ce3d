#pragma once
/// The state of the fake kernel, which `MemorySystem`, `MemoryLinks` and their sockets share. The inside of
/// `MemorySystem`.

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "tunport/device/link_system.hpp"
#include "tunport/testing/memory_device.hpp"

struct ifreq;

namespace tunport {

/// The calls that can be made to fail: each stands for the system call of its name (`read` for readv, `write`
/// for writev too).
enum class Call : std::uint8_t { open, ioctl, read, write, fcntl, socket, bind, sockopt, recvmsg, sendmsg };

struct MemoryKernel {
  MemoryKernel();

  /// Looks after descriptors that were closed since: their devices vanish, or can be attached to again.
  void sweep();
  /// The descriptor of /dev/net/tun of that number; null if it is none.
  MemoryFile* find_file(int fd);
  /// The interface of that name here; null if there is none.
  std::shared_ptr<MemoryDevice> find(const std::string& name) const;
  /// Makes an interface. `name` may be a template. Zero or a negated errno.
  int create(const std::string& name, unsigned flags, std::shared_ptr<MemoryDevice>& device);
  void remove(MemoryDevice& device);
  /// Takes the interface down, with what that takes with it: its routes and IPv6 addresses.
  void set_up(MemoryDevice& device, bool up);
  /// TUNSETIFF. Zero or a negated errno.
  int set_iff(MemoryFile& file, ifreq& request);
  /// The planned failure of this call as a negated errno, and one less to come; zero if there is none.
  int fault(Call call, unsigned long request = 0);
  /// An address of this host.
  bool is_local(const IpAddress& address) const;
  /// An interface leads there.
  bool is_reachable(const IpAddress& address) const;

  struct Fault {
    Call call;
    std::optional<unsigned long> request;
    int error;
    unsigned times;
  };

  std::vector<std::shared_ptr<MemoryDevice>> devices;
  std::unordered_map<std::uint64_t, std::unique_ptr<MemoryFile>> files;
  std::vector<Route> routes;  ///< those added; the connected ones follow from the addresses
  std::vector<Fault> faults;
  MemoryTraits traits;
  int clone_error = 0;  ///< what opening it fails with
  bool privileged = true;
  std::uint32_t uid = 0;
  std::uint32_t gid = 0;
  int last_index = 0;

 private:
  bool may_attach(const MemoryDevice& device) const;
};

}  // namespace tunport
