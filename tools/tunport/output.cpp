#include "output.hpp"

#include <cerrno>
#include <cstring>

#include <fcntl.h>
#include <unistd.h>

#include "failure.hpp"

namespace tunport::tool {

void print(std::FILE* file, std::string_view text) {
  const bool written =
      std::fwrite(text.data(), 1, text.size(), file) == text.size() && std::fflush(file) == 0;
  if (!written && errno != EPIPE)
    throw Failure{status::failed,
                  std::string{"standard output: "} + std::strerror(errno) + "; send it elsewhere"};
}

void print_error(std::string_view line) noexcept try {
  std::string text = "tunport: ";
  for (const char c : line) text += static_cast<unsigned char>(c) < 0x20 || c == 0x7f ? '?' : c;
  text += '\n';
  // In one go, so that it stays one line beside what COMMAND says.
  (void)!::write(STDERR_FILENO, text.data(), text.size());
} catch (...) {  // no memory for a line: the status says it
}

void ensure_standard_descriptors() noexcept {
  // Each open takes the lowest number that is free.
  for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; ++fd)
    if (::fcntl(fd, F_GETFD) < 0) ::open("/dev/null", O_RDWR);
}

}  // namespace tunport::tool
