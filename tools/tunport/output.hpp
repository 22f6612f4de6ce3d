#pragma once
/// The lines that the command says.
///
/// Theory. A pipe or a terminal that nobody reads must not keep the command from its end. So a write never
/// blocks: the command opens the pipe or terminal anew for itself, since the flags of the description that it
/// has are COMMAND's too. Between two tries the command looks for a signal that asks it to end; then a reader
/// has a second left.

#include <cstdint>
#include <string>
#include <string_view>

namespace tunport::tool {

/// How long output waits for its reader.
enum class Patience : std::uint8_t {
  until_asked_to_end,  ///< as long as it takes, until a blocked signal comes that asks the command to end
  brief,               ///< a second without progress
};

/// Writes `text` to the descriptor, STDOUT_FILENO or STDERR_FILENO. A reader who has gone is no failure. Says
/// on standard error what was not read. Throws `Failure` if the text cannot be written.
void print(int fd, std::string_view text, Patience patience = Patience::until_asked_to_end);
/// Says "tunport: LINE" on standard error, as one line whatever the arguments in it were. Never fails, and
/// waits a second for a reader at the most.
void print_error(std::string_view line) noexcept;
/// The columns of the terminal behind `fd`; all that a number holds where there is no terminal.
unsigned columns_of(int fd) noexcept;
/// Opens /dev/null for those of the standard descriptors that are closed, so that no device gets their number
/// and our words.
void ensure_standard_descriptors() noexcept;

}  // namespace tunport::tool
