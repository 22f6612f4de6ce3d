# The installation by `cmake --install`: headers, libraries, the command with its man page and completion, the CMake
# package and the pkg-config files. The installed headers are the targets' file sets: `all_verify_interface_header_sets`
# compiles each of them alone.
include(CMakePackageConfigHelpers)

set(TUNPORT_CMAKE_DIR ${CMAKE_INSTALL_LIBDIR}/cmake/tunport)
set(TUNPORT_PKGCONFIG_DIR ${CMAKE_INSTALL_LIBDIR}/pkgconfig)

# Installs library target `target`: the export set `component` of the CMake package, and `name`.pc.
function(tunport_install_library target component name)
  install(TARGETS ${target} EXPORT tunport-${component}
    LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}
    ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR}
    FILE_SET HEADERS DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
  install(EXPORT tunport-${component} NAMESPACE tunport:: DESTINATION ${TUNPORT_CMAKE_DIR})
  configure_file(${PROJECT_SOURCE_DIR}/cmake/${name}.pc.in ${PROJECT_BINARY_DIR}/${name}.pc @ONLY)
  install(FILES ${PROJECT_BINARY_DIR}/${name}.pc DESTINATION ${TUNPORT_PKGCONFIG_DIR})
  list(APPEND TUNPORT_COMPONENTS ${component})
  set(TUNPORT_COMPONENTS ${TUNPORT_COMPONENTS} PARENT_SCOPE)
endfunction()

# A static library leaves its dependencies to the program's linker, a shared library brings them. So pkg-config's plain
# --libs is enough for both.
get_target_property(type tunport TYPE)
if(type STREQUAL "STATIC_LIBRARY")
  set(TUNPORT_IS_STATIC TRUE)
  set(TUNPORT_PC_REQUIRES "Requires")
else()
  set(TUNPORT_IS_STATIC FALSE)
  set(TUNPORT_PC_REQUIRES "Requires.private")
endif()
# Relative to the .pc file: an installation may be moved, or staged.
file(RELATIVE_PATH TUNPORT_PC_PREFIX /${TUNPORT_PKGCONFIG_DIR} /)
string(REGEX REPLACE "/$" "" TUNPORT_PC_PREFIX "${TUNPORT_PC_PREFIX}")

tunport_install_library(tunport library tunport)
if(TARGET tunport_testing)
  tunport_install_library(tunport_testing testing tunport-testing)
endif()

configure_package_config_file(${PROJECT_SOURCE_DIR}/cmake/tunportConfig.cmake.in ${PROJECT_BINARY_DIR}/tunportConfig.cmake
  INSTALL_DESTINATION ${TUNPORT_CMAKE_DIR} NO_SET_AND_CHECK_MACRO)
# Before 1.0.0 a minor version may break promises of the previous version.
write_basic_package_version_file(${PROJECT_BINARY_DIR}/tunportConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/tunportConfig.cmake ${PROJECT_BINARY_DIR}/tunportConfigVersion.cmake
  DESTINATION ${TUNPORT_CMAKE_DIR})

if(TARGET tunport_command)
  if(NOT TUNPORT_IS_STATIC)
    file(RELATIVE_PATH library_dir ${CMAKE_INSTALL_FULL_BINDIR} ${CMAKE_INSTALL_FULL_LIBDIR})
    set_target_properties(tunport_command PROPERTIES INSTALL_RPATH $ORIGIN/${library_dir})
  endif()
  install(TARGETS tunport_command RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
  install(FILES ${PROJECT_SOURCE_DIR}/tools/tunport/completion.bash RENAME tunport
    DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions)
  if(TARGET tunport_man_page)
    get_target_property(man_page tunport_man_page FILE)
    install(FILES ${man_page} DESTINATION ${CMAKE_INSTALL_MANDIR}/man1)
  endif()
endif()
