# Walks: a scenario for each failing call. A separate program, because the tests replace operator new.
add_executable(tunport_walk_tests ${CMAKE_CURRENT_LIST_DIR}/walk_test.cpp)
target_include_directories(tunport_walk_tests PRIVATE ${CMAKE_CURRENT_LIST_DIR}/..)
target_link_libraries(tunport_walk_tests PRIVATE tunport tunport_testing tunport_options GTest::gmock GTest::gtest_main)
gtest_discover_tests(tunport_walk_tests DISCOVERY_TIMEOUT 60 PROPERTIES LABELS walk TIMEOUT 300)
