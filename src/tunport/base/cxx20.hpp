#pragma once
/// One error where C++20 is missing, instead of hundreds. Every installed header begins here.

#if __cplusplus < 202002L
#error "tunport needs C++20: -std=c++20, or target_compile_features(program PRIVATE cxx_std_20) in CMake"
#include <tunport_needs_cxx20>  // there is no such file, so that the compiler stops
#endif
