# How every room is built: one library of its sources, one test program of its *_test.cc, programs from *_main.cc.

set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)

if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE Release)
endif()
set(CMAKE_CXX_FLAGS_RELEASE "-O2 -g1") # assertions stay on in production
add_compile_options(-Wall -Wextra -Wno-missing-field-initializers)
if(CMAKE_CXX_COMPILER_ID STREQUAL GNU)
  add_compile_options(-Wno-mismatched-new-delete) # GCC 12 takes Asio's coroutine frames for mismatched
endif()

find_program(CCACHE ccache)
if(CCACHE)
  # Paths relative to the checkout, so that two checkouts of one source share one compilation; what a file includes is
  # learnt from the compilation itself, not from another run of the preprocessor before it.
  set(CMAKE_CXX_COMPILER_LAUNCHER env CCACHE_BASEDIR=${CMAKE_SOURCE_DIR} CCACHE_NOHASHDIR=1 CCACHE_DEPEND=1 ${CCACHE})
endif()
find_program(MOLD mold)
if(MOLD)
  add_link_options(-fuse-ld=mold)
endif()

set(ATHANOR_SANITIZE "" CACHE STRING "Sanitizers to build with: 'address,undefined', 'thread' or nothing")
if(ATHANOR_SANITIZE)
  add_compile_options(-fsanitize=${ATHANOR_SANITIZE} -fno-omit-frame-pointer)
  add_link_options(-fsanitize=${ATHANOR_SANITIZE})
endif()
option(ATHANOR_FUZZ "Build the *_fuzz.cc targets with libFuzzer (needs clang)" OFF)
if(ATHANOR_FUZZ)
  # -fsanitize=function and coroutines: clang 14 makes code that it cannot assemble.
  add_compile_options(-fsanitize=fuzzer-no-link,address,undefined -fno-sanitize=function -fno-omit-frame-pointer)
  add_link_options(-fsanitize=address,undefined)
endif()

include_directories(${CMAKE_SOURCE_DIR} ${CMAKE_BINARY_DIR})
find_package(Threads REQUIRED)
find_package(GTest REQUIRED)
include(GoogleTest)

# athanor_room(NAME [DEPENDS target...]): everything in the current folder, by the endings of the file names:
#   *_main.cc  a program:   foo_bar_main.cc becomes bin/foo-bar
#   *_fuzz.cc  a libFuzzer target, only with ATHANOR_FUZZ
#   *_test.cc  into one test program NAME_test, each TEST known to ctest
#   *.cc       into the static library athanor_NAME
# Folders below are taken in too, except those with a CMakeLists.txt of their own.
function(athanor_room name)
  cmake_parse_arguments(ROOM "" "" "DEPENDS" ${ARGN})
  file(GLOB_RECURSE all CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/*.cc)
  file(GLOB_RECURSE inner CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/*/CMakeLists.txt)
  foreach(file ${inner})
    get_filename_component(folder ${file} DIRECTORY)
    list(FILTER all EXCLUDE REGEX "^${folder}/")
  endforeach()
  set(tests ${all})
  list(FILTER tests INCLUDE REGEX "_test\\.cc$")
  set(programs ${all})
  list(FILTER programs INCLUDE REGEX "_main\\.cc$")
  set(fuzzers ${all})
  list(FILTER fuzzers INCLUDE REGEX "_fuzz\\.cc$")
  set(sources ${all})
  list(FILTER sources EXCLUDE REGEX "_(test|main|fuzz)\\.cc$")

  set(library athanor_${name})
  if(sources)
    add_library(${library} STATIC ${sources})
    target_link_libraries(${library} PUBLIC ${ROOM_DEPENDS} Threads::Threads)
  else()
    add_library(${library} INTERFACE)
    target_link_libraries(${library} INTERFACE ${ROOM_DEPENDS} Threads::Threads)
  endif()
  if(tests)
    add_executable(${name}_test ${tests})
    target_link_libraries(${name}_test PRIVATE ${library} GTest::gmock GTest::gtest GTest::gtest_main)
    gtest_discover_tests(${name}_test TEST_PREFIX ${name}. DISCOVERY_MODE PRE_TEST)
  endif()
  foreach(source ${programs})
    get_filename_component(program ${source} NAME)
    string(REGEX REPLACE "_main\\.cc$" "" program ${program})
    string(REPLACE "_" "-" program ${program})
    add_executable(${program} ${source})
    target_link_libraries(${program} PRIVATE ${library})
  endforeach()
  if(ATHANOR_FUZZ)
    foreach(source ${fuzzers})
      get_filename_component(fuzzer ${source} NAME_WE)
      add_executable(${fuzzer} ${source})
      target_link_libraries(${fuzzer} PRIVATE ${library})
      target_link_options(${fuzzer} PRIVATE -fsanitize=fuzzer,address,undefined)
    endforeach()
  endif()
endfunction()
