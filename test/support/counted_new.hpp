#pragma once
/// operator new of a whole test program: counted, and failing when planned. Include in one source only. For
/// programs that allocate on one thread.

#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <new>

namespace counted_new {

// Atomic because compilers may assume that operator new changes no variable of the program.
inline std::atomic<std::uint64_t> allocations = 0;  ///< calls so far
inline std::atomic<std::int64_t> live = 0;          ///< blocks not freed
inline std::atomic<std::uint64_t> fail_in = 0;      ///< the nth call from now throws std::bad_alloc; 0: none

inline void* allocate(std::size_t size, std::size_t alignment) {
  ++allocations;
  if (fail_in != 0 && --fail_in == 0) throw std::bad_alloc{};
  const std::size_t rounded = (size + alignment - 1) / alignment * alignment;  // required by aligned_alloc
  void* const memory = std::aligned_alloc(alignment, rounded == 0 ? alignment : rounded);
  if (memory == nullptr) throw std::bad_alloc{};
  ++live;
  return memory;
}

inline void* allocate_or_null(std::size_t size, std::size_t alignment) noexcept {
  try {
    return allocate(size, alignment);
  } catch (const std::bad_alloc&) {
    return nullptr;
  }
}

inline void release(void* memory) noexcept {
  if (memory != nullptr) --live;
  std::free(memory);
}

inline constexpr std::size_t usual = __STDCPP_DEFAULT_NEW_ALIGNMENT__;

}  // namespace counted_new

// Every form: the sanitizers replace forms left out here.
void* operator new(std::size_t size) { return counted_new::allocate(size, counted_new::usual); }
void* operator new[](std::size_t size) { return counted_new::allocate(size, counted_new::usual); }
void* operator new(std::size_t size, std::align_val_t alignment) {
  return counted_new::allocate(size, static_cast<std::size_t>(alignment));
}
void* operator new[](std::size_t size, std::align_val_t alignment) { return ::operator new(size, alignment); }
void* operator new(std::size_t size, const std::nothrow_t&) noexcept {
  return counted_new::allocate_or_null(size, counted_new::usual);
}
void* operator new[](std::size_t size, const std::nothrow_t&) noexcept {
  return counted_new::allocate_or_null(size, counted_new::usual);
}
void* operator new(std::size_t size, std::align_val_t alignment, const std::nothrow_t&) noexcept {
  return counted_new::allocate_or_null(size, static_cast<std::size_t>(alignment));
}
void* operator new[](std::size_t size, std::align_val_t alignment, const std::nothrow_t&) noexcept {
  return counted_new::allocate_or_null(size, static_cast<std::size_t>(alignment));
}
void operator delete(void* memory) noexcept { counted_new::release(memory); }
void operator delete[](void* memory) noexcept { counted_new::release(memory); }
void operator delete(void* memory, std::size_t) noexcept { counted_new::release(memory); }
void operator delete[](void* memory, std::size_t) noexcept { counted_new::release(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { counted_new::release(memory); }
void operator delete[](void* memory, std::align_val_t) noexcept { counted_new::release(memory); }
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept { counted_new::release(memory); }
void operator delete[](void* memory, std::size_t, std::align_val_t) noexcept { counted_new::release(memory); }
void operator delete(void* memory, const std::nothrow_t&) noexcept { counted_new::release(memory); }
void operator delete[](void* memory, const std::nothrow_t&) noexcept { counted_new::release(memory); }
void operator delete(void* memory, std::align_val_t, const std::nothrow_t&) noexcept {
  counted_new::release(memory);
}
void operator delete[](void* memory, std::align_val_t, const std::nothrow_t&) noexcept {
  counted_new::release(memory);
}
