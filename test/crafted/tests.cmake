# Input that no well-behaved stack sends. The system's interpreter has Debian's scapy.
add_test(NAME crafted COMMAND ${CMAKE_CURRENT_LIST_DIR}/crafted_test.py $<TARGET_FILE:tunport_command>)
add_test(NAME crafted.ipv6 COMMAND ${CMAKE_CURRENT_LIST_DIR}/ipv6_test.py $<TARGET_FILE:tunport_command>)
set_tests_properties(crafted crafted.ipv6 PROPERTIES LABELS "kernel;scapy" SKIP_RETURN_CODE 77 TIMEOUT 120)
