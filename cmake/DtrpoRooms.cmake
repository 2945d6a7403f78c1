# Building blocks of a room's CMakeLists.txt. A room is a folder, a library, and the tests of it.
#
#   dtrpo_library(NAME common_base SRCS a.cc HDRS a.h DEPS absl::status [TORCH])
#   dtrpo_binary(NAME dtrpo-replay SRCS main.cc DEPS replay_lib)
#   dtrpo_test(NAME base_test SRCS a_test.cc DEPS common_base
#              [LABELS slow] [TIMEOUT seconds] [ENV NAME=value ...])
#   dtrpo_script_test(NAME demo_test COMMAND ${DTRPO_PYTHON} a.py [LABELS ..] [TIMEOUT ..] [ENV ..])
#   dtrpo_benchmark(NAME base_benchmark SRCS a_benchmark.cc DEPS common_base)
#
# DEPS are linked publicly; includes are relative to the root of the repository.
# TORCH links LibTorch and uses the one precompiled header of LibTorch; programs and tests whose DEPS
# name a TORCH library use it too.

include(GoogleTest)

function(dtrpo_rooms)
  foreach(room IN LISTS ARGN)
    # A glob rather than EXISTS: ninja then configures again when a room appears.
    file(GLOB found CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/${room}/CMakeLists.txt")
    if(found)
      add_subdirectory("${PROJECT_SOURCE_DIR}/${room}" "${PROJECT_BINARY_DIR}/${room}")
    else()
      message(STATUS "room ${room}: no CMakeLists.txt, skipped")
    endif()
  endforeach()
endfunction()

function(dtrpo_torch_rooms)
  if(DTRPO_TORCH)
    dtrpo_rooms(${ARGN})
  endif()
endfunction()

# What nearly every LibTorch file needs, compiled once: such a file then takes 3.5 s instead of 13 s.
# All of <torch/torch.h> would be the wrong choice: loading it makes the same file take 9 s.
function(dtrpo_add_torch_pch)
  set(source "${PROJECT_BINARY_DIR}/pch/torch_pch.cc")
  if(NOT EXISTS "${source}")
    file(WRITE "${source}" "// Carries the precompiled header of the LibTorch rooms.\n")
  endif()
  add_library(dtrpo_torch_pch OBJECT "${source}")
  target_link_libraries(dtrpo_torch_pch PUBLIC LibTorch::torch_cpu)
  target_precompile_headers(dtrpo_torch_pch PRIVATE
    <torch/types.h> <torch/autograd.h> <torch/utils.h>)
endfunction()

function(_dtrpo_use_torch target)
  target_precompile_headers(${target} REUSE_FROM dtrpo_torch_pch)
endfunction()

# Uses the precompiled header when a direct dependency is a TORCH library.
function(_dtrpo_use_torch_of_deps target deps)
  get_property(torch_libraries GLOBAL PROPERTY DTRPO_TORCH_LIBRARIES)
  foreach(dep IN LISTS deps)
    if(dep IN_LIST torch_libraries)
      _dtrpo_use_torch(${target})
      return()
    endif()
  endforeach()
endfunction()

# Common to programs and tests.
function(_dtrpo_program target deps)
  target_include_directories(${target} PRIVATE "${PROJECT_SOURCE_DIR}")
  target_link_libraries(${target} PRIVATE ${deps} Threads::Threads)
  if(TARGET dtrpo_tsan)
    target_link_libraries(${target} PRIVATE dtrpo_tsan)
  endif()
  _dtrpo_use_torch_of_deps(${target} "${deps}")
endfunction()

function(dtrpo_library)
  cmake_parse_arguments(PARSE_ARGV 0 arg "TORCH" "NAME" "SRCS;HDRS;DEPS")
  _dtrpo_check_arguments(dtrpo_library)
  if(NOT arg_SRCS)
    add_library(${arg_NAME} INTERFACE ${arg_HDRS})
    target_include_directories(${arg_NAME} INTERFACE "${PROJECT_SOURCE_DIR}")
    target_link_libraries(${arg_NAME} INTERFACE ${arg_DEPS})
    if(arg_TORCH)
      target_link_libraries(${arg_NAME} INTERFACE LibTorch::torch_cpu)
    endif()
  else()
    add_library(${arg_NAME} STATIC ${arg_SRCS} ${arg_HDRS})
    target_include_directories(${arg_NAME} PUBLIC "${PROJECT_SOURCE_DIR}")
    target_link_libraries(${arg_NAME} PUBLIC ${arg_DEPS} Threads::Threads)
    if(arg_TORCH)
      target_link_libraries(${arg_NAME} PUBLIC LibTorch::torch_cpu)
      _dtrpo_use_torch(${arg_NAME})
    endif()
  endif()
  if(arg_TORCH)
    set_property(GLOBAL APPEND PROPERTY DTRPO_TORCH_LIBRARIES ${arg_NAME})
  endif()
endfunction()

function(dtrpo_binary)
  cmake_parse_arguments(PARSE_ARGV 0 arg "" "NAME" "SRCS;HDRS;DEPS")
  _dtrpo_check_arguments(dtrpo_binary)
  add_executable(${arg_NAME} ${arg_SRCS} ${arg_HDRS})
  _dtrpo_program(${arg_NAME} "${arg_DEPS}")
endfunction()

function(dtrpo_test)
  cmake_parse_arguments(PARSE_ARGV 0 arg "" "NAME;TIMEOUT" "SRCS;HDRS;DEPS;LABELS;ENV")
  _dtrpo_check_arguments(dtrpo_test)
  add_executable(${arg_NAME} ${arg_SRCS} ${arg_HDRS})
  _dtrpo_program(${arg_NAME} "${arg_DEPS};GTest::gtest_main;GTest::gmock")
  target_compile_definitions(${arg_NAME} PRIVATE
    DTRPO_SOURCE_DIR="${PROJECT_SOURCE_DIR}" DTRPO_BIN_DIR="${CMAKE_RUNTIME_OUTPUT_DIRECTORY}")
  set_target_properties(${arg_NAME} PROPERTIES
    RUNTIME_OUTPUT_DIRECTORY "${PROJECT_BINARY_DIR}/tests/bin")
  _dtrpo_test_defaults()
  # Listed when ctest runs: a program is not started while it is being built.
  gtest_discover_tests(${arg_NAME}
    DISCOVERY_MODE PRE_TEST
    DISCOVERY_TIMEOUT 60
    NO_PRETTY_VALUES
    TEST_PREFIX "${arg_NAME}."
    PROPERTIES TIMEOUT ${arg_TIMEOUT})
  # gtest_discover_tests() can't pass lists on; the variable it leaves for this purpose can.
  set(properties_file "${CMAKE_CURRENT_BINARY_DIR}/${arg_NAME}_properties.cmake")
  file(CONFIGURE OUTPUT "${properties_file}" @ONLY CONTENT [[
if(@arg_NAME@_TESTS)
  set_tests_properties(${@arg_NAME@_TESTS} PROPERTIES
    LABELS "@arg_LABELS@" ENVIRONMENT "@arg_ENV@")
endif()
]])
  set_property(DIRECTORY APPEND PROPERTY TEST_INCLUDE_FILES "${properties_file}")
endfunction()

function(dtrpo_script_test)
  cmake_parse_arguments(PARSE_ARGV 0 arg "" "NAME;TIMEOUT" "COMMAND;LABELS;ENV")
  _dtrpo_check_arguments(dtrpo_script_test)
  _dtrpo_test_defaults()
  add_test(NAME ${arg_NAME} COMMAND ${arg_COMMAND})
  set_tests_properties(${arg_NAME} PROPERTIES
    TIMEOUT ${arg_TIMEOUT} LABELS "${arg_LABELS}" ENVIRONMENT "${arg_ENV}")
endfunction()

function(dtrpo_benchmark)
  cmake_parse_arguments(PARSE_ARGV 0 arg "" "NAME" "SRCS;HDRS;DEPS")
  dtrpo_binary(NAME ${arg_NAME} SRCS ${arg_SRCS} HDRS ${arg_HDRS}
               DEPS ${arg_DEPS} benchmark::benchmark_main)
endfunction()

macro(_dtrpo_test_defaults)
  if(NOT arg_TIMEOUT)
    set(arg_TIMEOUT 60)
  endif()
  if(NOT arg_LABELS)
    set(arg_LABELS unit)
  endif()
  # Two tests at a time, one thread each.
  list(PREPEND arg_ENV OMP_NUM_THREADS=1)
endmacro()

macro(_dtrpo_check_arguments function)
  if(arg_UNPARSED_ARGUMENTS OR NOT arg_NAME)
    message(FATAL_ERROR "${function}(${arg_NAME}): unknown or missing: ${arg_UNPARSED_ARGUMENTS}")
  endif()
endmacro()
