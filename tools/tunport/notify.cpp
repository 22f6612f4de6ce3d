#include "notify.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <string>

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "tunport/base/unique_fd.hpp"

namespace tunport::tool {
namespace {

std::string& taken_name() {
  static std::string name;
  return name;
}

}  // namespace

void keep_notifications_to_us() noexcept {
  const char* const name = std::getenv("NOTIFY_SOCKET");
  if (name == nullptr) return;
  taken_name() = name;
  ::unsetenv("NOTIFY_SOCKET");
}

void notify(std::string_view state) noexcept {
  const std::string& name = taken_name();
  sockaddr_un manager{};
  manager.sun_family = AF_UNIX;
  if (name.size() < 2 || name.size() >= sizeof manager.sun_path || (name[0] != '/' && name[0] != '@')) return;
  std::ranges::copy(name, manager.sun_path);
  if (name[0] == '@') manager.sun_path[0] = '\0';
  const auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + name.size());
  const UniqueFd socket{::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0)};
  ::sendto(socket.get(), state.data(), state.size(), MSG_NOSIGNAL | MSG_DONTWAIT,
           reinterpret_cast<const sockaddr*>(&manager), length);
}

}  // namespace tunport::tool
