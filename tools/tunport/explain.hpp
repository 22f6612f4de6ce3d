#pragma once
/// `tunport host --explain`: the reasons for drops, in words.

#include <string>

namespace tunport::tool {

/// The reason named `reason`, or every reason for "all": a line for each reason, with name and explanation.
/// Throws `Failure` (wrong usage) for another name.
std::string explain(const std::string& reason);

}  // namespace tunport::tool
