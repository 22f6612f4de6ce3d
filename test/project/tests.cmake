# The tree itself: rooms, headers, scripts.
add_test(NAME project.rooms COMMAND ${PROJECT_SOURCE_DIR}/scripts/check-rooms)
add_test(NAME project.check_rooms COMMAND ${CMAKE_CURRENT_LIST_DIR}/check_rooms_test ${PROJECT_SOURCE_DIR})
add_test(NAME project.reliability COMMAND ${CMAKE_CURRENT_LIST_DIR}/reliability_test ${PROJECT_SOURCE_DIR})
add_test(NAME project.install_deps COMMAND ${CMAKE_CURRENT_LIST_DIR}/install_deps_test ${PROJECT_SOURCE_DIR})
add_test(NAME project.bench_chart COMMAND ${CMAKE_CURRENT_LIST_DIR}/bench_chart_test ${PROJECT_SOURCE_DIR})
if(TARGET tunport_command)
  add_test(NAME project.probes COMMAND ${CMAKE_CURRENT_LIST_DIR}/probes_test ${CMAKE_CXX_COMPILER}
    $<IF:$<STREQUAL:$<TARGET_PROPERTY:tunport,TYPE>,SHARED_LIBRARY>,$<TARGET_FILE:tunport>,$<TARGET_FILE:tunport_command>>)
  set_tests_properties(project.probes PROPERTIES LABELS project TIMEOUT 60 SKIP_RETURN_CODE 77)
endif()
add_test(NAME project.readme
  COMMAND ${CMAKE_CURRENT_LIST_DIR}/readme_test ${PROJECT_SOURCE_DIR} ${CMAKE_CXX_COMPILER}
          $<TARGET_FILE:tunport_testing> $<TARGET_FILE:tunport>)
set_tests_properties(project.readme PROPERTIES SKIP_RETURN_CODE 77
  ENVIRONMENT "LD_LIBRARY_PATH=$<TARGET_FILE_DIR:tunport>")
add_test(NAME project.surface
  COMMAND ${CMAKE_CURRENT_LIST_DIR}/surface_test ${PROJECT_SOURCE_DIR} ${CMAKE_CXX_COMPILER})
if(TARGET example_answer)
  add_test(NAME project.examples
    COMMAND ${CMAKE_CURRENT_LIST_DIR}/examples_test ${CMAKE_RUNTIME_OUTPUT_DIRECTORY})
  set_tests_properties(project.examples PROPERTIES LABELS "project;kernel" TIMEOUT 120 SKIP_RETURN_CODE 77)
endif()
if(TARGET tunport_command)
  add_test(NAME project.readme_commands
    COMMAND ${CMAKE_CURRENT_LIST_DIR}/readme_commands_test ${PROJECT_SOURCE_DIR}/README.md $<TARGET_FILE:tunport_command>)
  set_tests_properties(project.readme_commands PROPERTIES LABELS "project;kernel" TIMEOUT 120 SKIP_RETURN_CODE 77)
endif()
if(TARGET example_vpn)
  add_test(NAME project.vpn COMMAND ${CMAKE_CURRENT_LIST_DIR}/vpn_test $<TARGET_FILE:example_vpn>)
  set_tests_properties(project.vpn PROPERTIES LABELS project TIMEOUT 90 SKIP_RETURN_CODE 77)
endif()
if(TARGET example_vpn_sealed)
  add_test(NAME project.vpn_sealed COMMAND ${CMAKE_CURRENT_LIST_DIR}/vpn_test $<TARGET_FILE:example_vpn_sealed>)
  set_tests_properties(project.vpn_sealed PROPERTIES LABELS project TIMEOUT 90 SKIP_RETURN_CODE 77)
endif()
add_test(NAME project.members
  COMMAND ${CMAKE_CURRENT_LIST_DIR}/members_test ${PROJECT_SOURCE_DIR} $<TARGET_FILE:tunport_unit_tests>)
add_test(NAME project.headers_compile_alone
  COMMAND ${CMAKE_COMMAND} --build ${PROJECT_BINARY_DIR} --target all_verify_interface_header_sets)
set_tests_properties(project.rooms project.check_rooms project.install_deps project.reliability project.bench_chart
  project.readme project.surface project.members project.headers_compile_alone
  PROPERTIES LABELS project TIMEOUT 300)
