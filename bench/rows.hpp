#pragma once
/// The rows, by family. A new family is a source file and a line here.

#include <vector>

#include "harness.hpp"

namespace tunport::bench {

std::vector<Comparison> receive_rows();
std::vector<Comparison> queue_rows();
std::vector<Comparison> write_rows();
std::vector<Comparison> forward_rows();
std::vector<Comparison> latency_rows();
std::vector<Comparison> memory_rows();
std::vector<Comparison> udp_rows();
std::vector<Comparison> vpn_rows();
std::vector<Comparison> gate_rows();

}  // namespace tunport::bench
