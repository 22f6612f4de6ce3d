#pragma once
/// `tunport gate`: TCP and UDP of any destination, accepted, and led to where it was meant to go.

#include "gate_plan.hpp"

namespace tunport::tool {

/// Runs to the end; returns the exit status. Throws `Failure` or `Error` before anything serves.
int run_gate(const GatePlan& plan);

}  // namespace tunport::tool
