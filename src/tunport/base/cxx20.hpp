#pragma once
/// A single error without C++20, instead of hundreds. Every installed header begins here.

#if __cplusplus < 202002L
#error "tunport needs C++20: -std=c++20, or target_compile_features(program PRIVATE cxx_std_20) in CMake"
#include <tunport_needs_cxx20>  // the file does not exist: the compiler stops
#endif
