#pragma once
/// The command's lines of text.
///
/// Theory. A pipe or a terminal without a reader must not keep the command from ending. So a write never
/// blocks: the command opens the pipe or terminal anew, since COMMAND shares the flags of the inherited
/// description. Between two tries the command looks for a signal that asks for the end; then a reader has a
/// second left.

#include <cstdint>
#include <string>
#include <string_view>

namespace tunport::tool {

/// How long output waits for a reader.
enum class Patience : std::uint8_t {
  until_asked_to_end,  ///< without a limit, until a blocked signal comes that asks the command to end
  brief,               ///< a second without progress
};

/// Writes `text` to the descriptor, STDOUT_FILENO or STDERR_FILENO. A reader who has gone is no failure.
/// Unread text is lost after the patience, with a line on standard error. Throws `Failure` if the text cannot
/// be written.
void print(int fd, std::string_view text, Patience patience = Patience::until_asked_to_end);
/// Says "tunport: LINE" on standard error, as a single line whatever the arguments within were. Never fails,
/// and waits a second for a reader at the most.
void print_error(std::string_view line) noexcept;
/// The columns of the terminal behind `fd`; without a terminal the largest number.
unsigned columns_of(int fd) noexcept;
/// Opens /dev/null for each standard descriptor that is closed, so that no device gets such a number and our
/// words.
void ensure_standard_descriptors() noexcept;

}  // namespace tunport::tool
