#include "tunport/device/queues.hpp"

#include <cerrno>

#include "tunport/base/error.hpp"
#include "tunport/base/throwing.hpp"

namespace tunport {

std::vector<Device> open_queues(DeviceKind kind, const std::string& name, std::size_t queues,
                                const DeviceOptions& options, System system) {
  return throwing(name.empty() ? std::string{to_string(kind)} : name,
                  [&](std::error_code& ec) { return open_queues(kind, name, queues, options, system, ec); });
}

std::vector<Device> open_queues(DeviceKind kind, const std::string& name, std::size_t queues,
                                const DeviceOptions& options, System system, std::error_code& ec) {
  ec.clear();
  if (queues == 0) ec = errno_code(EINVAL);
  if (queues > max_queues) ec = Errc::too_many_queues;
  if (ec) return {};
  DeviceOptions how = options;
  how.multi_queue = true;
  std::vector<Device> devices;
  devices.reserve(queues);
  devices.push_back(Device::open(kind, name, how, system, ec));
  if (ec) return {};
  const std::string opened = devices.front().name();
  how.mode = OpenMode::attach;
  while (devices.size() < queues) {
    devices.push_back(Device::open(kind, opened, how, system, ec));
    if (ec) return {};
  }
  return devices;
}

}  // namespace tunport
