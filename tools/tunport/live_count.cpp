#include "live_count.hpp"

#include <array>
#include <chrono>
#include <string_view>
#include <utility>

#include <fmt/format.h>
#include <poll.h>
#include <unistd.h>

namespace tunport::tool {
namespace {

constexpr std::string_view clear_line = "\r\x1b[K";

/// False if the terminal takes nothing now, as after Ctrl-S: nobody waits for that.
bool write_at_once(int fd, const std::string& text) {
  pollfd wait{fd, POLLOUT, 0};
  return ::poll(&wait, 1, 0) == 1 && (wait.revents & POLLOUT) != 0 &&
         ::write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size());
}

}  // namespace

LiveCount::LiveCount(Reactor& reactor, int fd, std::function<std::string()> text)
    : reactor_{reactor}, fd_{fd}, text_{std::move(text)} {
  show();
}

LiveCount::~LiveCount() {
  if (!shown_.empty()) write_at_once(fd_, std::string{clear_line});
}

void LiveCount::show() {
  timer_ = reactor_.call_later(std::chrono::seconds{1}, [this] { show(); });
  std::string text = text_();
  if (text != shown_ && write_at_once(fd_, fmt::format("{}{}", clear_line, text))) shown_ = std::move(text);
}

std::string short_size(std::uint64_t bytes) {
  if (bytes < 1000) return fmt::format("{} B", bytes);
  constexpr std::array units{"kB", "MB", "GB", "TB", "PB", "EB"};
  auto amount = static_cast<double>(bytes) / 1000;
  std::size_t unit = 0;
  for (; amount >= 999.95 && unit + 1 < units.size(); ++unit) amount /= 1000;
  return fmt::format("{:.1f} {}", amount, units.at(unit));
}

}  // namespace tunport::tool
