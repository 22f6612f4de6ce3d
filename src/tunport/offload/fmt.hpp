#pragma once
/// {fmt}: sets of offloads. See base/fmt.hpp.

#include "tunport/base/fmt.hpp"
#include "tunport/offload/offload.hpp"

template <>
struct fmt::formatter<tunport::OffloadFeatures> : tunport::FormatByName<tunport::OffloadFeatures> {};
