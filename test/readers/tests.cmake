# The fields of packets against scapy's and tshark's reading. The system's interpreter has Debian's scapy.
add_executable(tunport_readers ${CMAKE_CURRENT_LIST_DIR}/readers.cpp)
target_link_libraries(tunport_readers PRIVATE tunport tunport_testing tunport_options)
add_test(NAME readers COMMAND ${CMAKE_CURRENT_LIST_DIR}/readers_test.py $<TARGET_FILE:tunport_readers>)
set_tests_properties(readers PROPERTIES LABELS scapy TIMEOUT 120)
