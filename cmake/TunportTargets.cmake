# The build options of every target of the project.
add_library(tunport_options INTERFACE)
target_compile_options(tunport_options INTERFACE
  -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wsign-conversion -Wold-style-cast
  -Wnon-virtual-dtor -Woverloaded-virtual -Wcast-align -Wundef -Wnull-dereference
  $<$<BOOL:${TUNPORT_WERROR}>:-Werror>)
# GCC 12 gives these warnings on sound code at -O2 and above: null dereferences in the standard library and coroutines,
# dangling pointers if a destructor takes a local's address back (Lifeline::Watch). Clang keeps watch.
target_compile_options(tunport_options INTERFACE
  $<$<CXX_COMPILER_ID:GNU>:-Wno-null-dereference -Wno-dangling-pointer>)
if(TUNPORT_SANITIZE)
  target_compile_options(tunport_options INTERFACE -fsanitize=${TUNPORT_SANITIZE} -fno-sanitize-recover=all
    -fno-omit-frame-pointer)
  target_link_options(tunport_options INTERFACE -fsanitize=${TUNPORT_SANITIZE})
endif()
if(TUNPORT_SANITIZE MATCHES address)
  # GCC's word, by which tests know what does not go together with the sanitizer.
  target_compile_definitions(tunport_options INTERFACE $<$<CXX_COMPILER_ID:Clang>:__SANITIZE_ADDRESS__>)
endif()
if(TUNPORT_SANITIZE MATCHES "address|thread")
  # GCC 12's sanitizers cannot lay out their shadow memory if the kernel randomises addresses by more than 28 bits
  # (vm.mmap_rnd_bits = 32): built programs run without randomisation, if the kernel permits.
  find_program(TUNPORT_SETARCH setarch)
  if(TUNPORT_SETARCH)
    execute_process(COMMAND ${TUNPORT_SETARCH} -R true RESULT_VARIABLE refused ERROR_QUIET)
    if(refused EQUAL 0)
      set(CMAKE_CROSSCOMPILING_EMULATOR ${TUNPORT_SETARCH} -R)
    endif()
  endif()
endif()
if(TUNPORT_SANITIZE MATCHES thread)
  # GCC's ThreadSanitizer does not model Asio's fences: Asio holds a mutex wherever threads meet. And the instrumented
  # code misleads GCC 12 about array bounds and sizes.
  target_compile_options(tunport_options INTERFACE $<$<CXX_COMPILER_ID:GNU>:-Wno-tsan -Wno-array-bounds -Wno-stringop-overread>)
endif()

# Compiles GoogleTest's headers once for test program `target` instead of once for each of its sources. A source's missing
# include stays hidden by that: the preset clang sets CMAKE_DISABLE_PRECOMPILE_HEADERS, and sees it.
function(tunport_precompile_tests target)
  target_precompile_headers(${target} PRIVATE <gmock/gmock.h> <gtest/gtest.h>)
endfunction()
