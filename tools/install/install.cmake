# What `cmake --install` and `cpack -G DEB` put where: program, library (shared and static), header, CMake package,
# pkg-config file, man pages and shell completions.  Included by CMakeLists.txt after the targets.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

set(LRQK_SOVERSION 0)
set(here ${CMAKE_CURRENT_LIST_DIR})
set(gen ${CMAKE_BINARY_DIR}/install)

# The static library's objects once more, as a shared one that shows what lrqk.map lists.
add_library(lrqk_shared SHARED $<TARGET_OBJECTS:lrqk_lib>)
set_target_properties(lrqk_shared PROPERTIES OUTPUT_NAME lrqk VERSION ${PROJECT_VERSION} SOVERSION ${LRQK_SOVERSION}
  LINKER_LANGUAGE C LINK_DEPENDS ${here}/lrqk.map)
target_link_libraries(lrqk_shared PRIVATE $<TARGET_PROPERTY:lrqk_lib,LINK_LIBRARIES>)
target_link_options(lrqk_shared PRIVATE -Wl,--version-script=${here}/lrqk.map)
if(NOT LRQK_SANITIZE AND NOT LRQK_FUZZ)
  target_link_options(lrqk_shared PRIVATE -Wl,--no-undefined)
endif()

install(TARGETS lrqk lrqk_shared lrqk_lib)
install(DIRECTORY include/lrqk DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(FILES README.md CHANGELOG.md LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR})

# What a program needs beside liblrqk.a.
set(LRQK_PRIVATE_FLAGS_LIST -lm -pthread)
if(LRQK_VULKAN)
  list(APPEND LRQK_PRIVATE_FLAGS_LIST -ldl)
endif()
if(LRQK_OPENCL)
  list(APPEND LRQK_PRIVATE_FLAGS_LIST -lOpenCL)
  if(LRQK_CLBLAST)
    list(APPEND LRQK_PRIVATE_FLAGS_LIST -lclblast)
  endif()
endif()
string(JOIN " " LRQK_PRIVATE_FLAGS ${LRQK_PRIVATE_FLAGS_LIST})
file(RELATIVE_PATH LRQK_PC_UP /${CMAKE_INSTALL_LIBDIR}/pkgconfig /)
string(REGEX REPLACE "/$" "" LRQK_PC_UP "${LRQK_PC_UP}")
configure_file(${here}/lrqk.pc.in ${gen}/lrqk.pc @ONLY)
install(FILES ${gen}/lrqk.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
configure_package_config_file(${here}/lrqk-config.cmake.in ${gen}/lrqk-config.cmake INSTALL_DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/lrqk
  PATH_VARS CMAKE_INSTALL_LIBDIR CMAKE_INSTALL_INCLUDEDIR)
write_basic_package_version_file(${gen}/lrqk-config-version.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${gen}/lrqk-config.cmake ${gen}/lrqk-config-version.cmake DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/lrqk)

# Man pages and completions come out of the program's own table of flags.
if(NOT CMAKE_CROSSCOMPILING)
  add_custom_command(OUTPUT ${gen}/pages.stamp
    COMMAND ${CMAKE_COMMAND} -E rm -rf ${gen}/man ${gen}/complete
    COMMAND ${CMAKE_COMMAND} -E make_directory ${gen}/man ${gen}/complete
    COMMAND lrqk pages ${gen}/man
    COMMAND lrqk completions bash > ${gen}/complete/lrqk
    COMMAND lrqk completions zsh > ${gen}/complete/_lrqk
    COMMAND lrqk completions fish > ${gen}/complete/lrqk.fish
    COMMAND ${CMAKE_COMMAND} -E touch ${gen}/pages.stamp
    DEPENDS lrqk COMMENT "man pages and completions" VERBATIM)
  add_custom_target(pages ALL DEPENDS ${gen}/pages.stamp)
  install(DIRECTORY ${gen}/man/ DESTINATION ${CMAKE_INSTALL_MANDIR}/man1)
  install(FILES ${gen}/complete/lrqk DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions)
  install(FILES ${gen}/complete/_lrqk DESTINATION ${CMAKE_INSTALL_DATADIR}/zsh/site-functions)
  install(FILES ${gen}/complete/lrqk.fish DESTINATION ${CMAKE_INSTALL_DATADIR}/fish/vendor_completions.d)
endif()

# cpack -G DEB
set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME lrqk)
set(CPACK_PACKAGE_CONTACT "The lrqk authors <lrqk@localhost>")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "${PROJECT_DESCRIPTION}")
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SECTION utils)
set(CPACK_DEBIAN_PACKAGE_GENERATE_SHLIBS ON)
find_program(LRQK_SHLIBDEPS dpkg-shlibdeps)
if(LRQK_SHLIBDEPS)
  set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
else()
  set(CPACK_DEBIAN_PACKAGE_DEPENDS "libc6, libpcre2-8-0")
endif()
set(CPACK_DEBIAN_PACKAGE_RECOMMENDS "libvulkan1, mesa-vulkan-drivers")
include(CPack)
