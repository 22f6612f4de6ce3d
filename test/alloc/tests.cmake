# A separate program, because the test replaces operator new.
add_executable(tunport_allocation_test ${CMAKE_CURRENT_LIST_DIR}/allocation_test.cpp
                                       ${CMAKE_CURRENT_LIST_DIR}/../kernel/sandbox.cpp)
target_include_directories(tunport_allocation_test PRIVATE ${CMAKE_CURRENT_LIST_DIR}/..)
target_link_libraries(tunport_allocation_test PRIVATE tunport tunport_testing tunport_options GTest::gtest_main)
gtest_discover_tests(tunport_allocation_test DISCOVERY_TIMEOUT 60 PROPERTIES LABELS kernel TIMEOUT 180)
