#pragma once
/// The lines that the command says.

#include <cstdio>
#include <string>
#include <string_view>

namespace tunport::tool {

/// Writes `text` and flushes it. Throws `Failure` if it cannot be written, but for a reader who has gone.
void print(std::FILE* file, std::string_view text);
/// Says "tunport: LINE" on standard error, as one line whatever the arguments in it were. Never fails.
void print_error(std::string_view line) noexcept;
/// Opens /dev/null for those of the standard descriptors that are closed, so that no device gets their number
/// and our words.
void ensure_standard_descriptors() noexcept;

}  // namespace tunport::tool
