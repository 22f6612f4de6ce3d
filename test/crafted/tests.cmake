# Input that no well-behaved stack sends. The system's interpreter has Debian's scapy.
add_test(NAME crafted COMMAND ${CMAKE_CURRENT_LIST_DIR}/crafted_test.py $<TARGET_FILE:tunport_command>)
set_tests_properties(crafted PROPERTIES LABELS "kernel;scapy" SKIP_RETURN_CODE 77 TIMEOUT 120)
