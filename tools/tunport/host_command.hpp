#pragma once
/// `tunport host`: a host of ours behind an interface.

#include "host_plan.hpp"

namespace tunport::tool {

/// Does it, from the sandbox to the summary. The status to exit with. Throws `Failure` or `Error`; nothing
/// that it made is left behind then. Precondition: one thread.
int run_host(const HostPlan& plan);

}  // namespace tunport::tool
