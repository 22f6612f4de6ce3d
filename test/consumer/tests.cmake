# Installs the build below the build folder, then builds and runs the consumer against the installation, by CMake and by
# pkg-config.
set(folder ${PROJECT_BINARY_DIR}/consumer)
set(source ${CMAKE_CURRENT_LIST_DIR})
set(library ${folder}/prefix/${CMAKE_INSTALL_LIBDIR})
set(configure ${CMAKE_COMMAND} -G ${CMAKE_GENERATOR} -DCMAKE_CXX_COMPILER=${CMAKE_CXX_COMPILER}
              -DCMAKE_PREFIX_PATH=${folder}/prefix --fresh)

function(tunport_consumer_test name)
  add_test(NAME consumer.${name} COMMAND ${ARGN})
  set_tests_properties(consumer.${name} PROPERTIES LABELS consumer TIMEOUT 120 FIXTURES_REQUIRED consumer.prefix
    ENVIRONMENT "PKG_CONFIG_PATH=${library}/pkgconfig;LD_LIBRARY_PATH=${library}")
endfunction()

file(MAKE_DIRECTORY ${folder})
add_test(NAME consumer.clean COMMAND ${CMAKE_COMMAND} -E rm -rf ${folder}/prefix)
add_test(NAME consumer.install COMMAND ${CMAKE_COMMAND} --install ${PROJECT_BINARY_DIR} --prefix ${folder}/prefix)
set_tests_properties(consumer.clean PROPERTIES LABELS consumer FIXTURES_SETUP consumer.clean)
set_tests_properties(consumer.install PROPERTIES LABELS consumer FIXTURES_REQUIRED consumer.clean
                                                 FIXTURES_SETUP consumer.prefix)

tunport_consumer_test(cmake sh -ec "$@ && '${CMAKE_COMMAND}' --build '${folder}/cmake' && '${folder}/cmake/consumer'"
  sh ${configure} -S ${source} -B ${folder}/cmake)
tunport_consumer_test(refused ${configure} -S ${source}/refused -B ${folder}/refused)
tunport_consumer_test(pkg-config sh -ec "mkdir -p '${folder}/pkg-config' && cd '${folder}/pkg-config' && rm -f consumer &&
  make -f '${source}/Makefile' CXX='${CMAKE_CXX_COMPILER}' && ./consumer")
if(TARGET tunport_command)
  set(installed ${folder}/prefix/${CMAKE_INSTALL_BINDIR}/tunport)
  tunport_consumer_test(command ${installed} --help)
  tunport_consumer_test(completion ${PROJECT_SOURCE_DIR}/test/project/completion_test
    ${folder}/prefix/${CMAKE_INSTALL_DATADIR}/bash-completion/completions/tunport ${installed})
  if(TARGET tunport_man_page)
    tunport_consumer_test(man_page ${PROJECT_SOURCE_DIR}/test/project/man_page_test
      ${folder}/prefix/${CMAKE_INSTALL_MANDIR}/man1/tunport.1 ${installed})
  endif()
endif()

# The tree as a subproject needs no C compiler, and installs nothing.
set(subproject ${folder}/subproject)
add_test(NAME consumer.subproject COMMAND sh -ec "$@ && '${CMAKE_COMMAND}' --build '${subproject}' &&
  '${subproject}/parent' && '${CMAKE_COMMAND}' --install '${subproject}' --prefix '${subproject}/prefix' &&
  [ \"$(cd '${subproject}/prefix' && find . -type f)\" = ./bin/parent ]"
  sh ${configure} -S ${source}/subproject -B ${subproject} -DTUNPORT_TREE=${PROJECT_SOURCE_DIR})
set_tests_properties(consumer.subproject PROPERTIES LABELS consumer TIMEOUT 600
  ENVIRONMENT "CC=/no/such/compiler")
