# What every target of this project is built with.
add_library(tunport_options INTERFACE)
target_compile_options(tunport_options INTERFACE
  -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wsign-conversion -Wold-style-cast
  -Wnon-virtual-dtor -Woverloaded-virtual -Wcast-align -Wundef -Wnull-dereference
  $<$<BOOL:${TUNPORT_WERROR}>:-Werror>)
# GCC 12 reports these on sound code at -O2 and above: null dereferences in the standard library and coroutines,
# dangling pointers where a destructor takes a local's address back (Lifeline::Watch). Clang keeps watch.
target_compile_options(tunport_options INTERFACE
  $<$<CXX_COMPILER_ID:GNU>:-Wno-null-dereference -Wno-dangling-pointer>)
if(TUNPORT_SANITIZE)
  target_compile_options(tunport_options INTERFACE -fsanitize=${TUNPORT_SANITIZE} -fno-sanitize-recover=all
    -fno-omit-frame-pointer)
  target_link_options(tunport_options INTERFACE -fsanitize=${TUNPORT_SANITIZE})
endif()
if(TUNPORT_SANITIZE MATCHES "address|thread")
  # GCC 12's sanitizers cannot lay out their shadow memory where the kernel randomises addresses by more than 28 bits
  # (vm.mmap_rnd_bits = 32): what is built runs without that, where a program may ask for it.
  find_program(TUNPORT_SETARCH setarch)
  if(TUNPORT_SETARCH)
    execute_process(COMMAND ${TUNPORT_SETARCH} -R true RESULT_VARIABLE refused ERROR_QUIET)
    if(refused EQUAL 0)
      set(CMAKE_CROSSCOMPILING_EMULATOR ${TUNPORT_SETARCH} -R)
    endif()
  endif()
endif()
if(TUNPORT_SANITIZE MATCHES thread)
  # Asio's fences, which GCC's ThreadSanitizer does not model: Asio holds a mutex wherever threads meet. And what the
  # instrumented code makes GCC 12 believe of array bounds and sizes.
  target_compile_options(tunport_options INTERFACE $<$<CXX_COMPILER_ID:GNU>:-Wno-tsan -Wno-array-bounds -Wno-stringop-overread>)
endif()
