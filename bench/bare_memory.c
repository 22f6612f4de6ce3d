#include <string.h>

#include "bare_loop.h"

void bare_copy_memory(void* to, const void* from, size_t size) { memcpy(to, from, size); }

/* As wide as the machine: the compiler makes several versions, the loader picks a version. Not under
 * sanitizers: the loader picks before their setup. Clang 14 lacks the attribute. */
#if defined(__x86_64__) && defined(__gnu_linux__) && !defined(__clang__) && \
    !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
__attribute__((target_clones("avx512f", "avx2", "default")))
#endif
uint64_t
bare_read_memory(const void* data, size_t size) {
  const char* bytes = data;
  uint64_t sum = 0;
  for (size_t i = 0; i + 8 <= size; i += 8) {
    uint64_t word = 0;
    memcpy(&word, bytes + i, 8);
    sum += word;
  }
  return sum;
}
