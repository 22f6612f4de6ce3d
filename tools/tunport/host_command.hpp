#pragma once
/// `tunport host`: a host of ours behind an interface.

#include "host_plan.hpp"

namespace tunport::tool {

/// Runs the plan, from the sandbox to the summary, and returns the exit status. Throws `Failure` or `Error`;
/// nothing made by then is left behind. Precondition: one thread.
int run_host(const HostPlan& plan);

}  // namespace tunport::tool
