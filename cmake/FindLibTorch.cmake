# Finds LibTorch (CPU part) and defines LibTorch::torch_cpu.
#
# The CMake package inside the wheel is not used: it insists on a CUDA toolkit. Looked for in
#   1. DTRPO_LIBTORCH (cache variable, then environment): a folder with include/ and lib/
#   2. what tools/deps/libtorch.sh fetched: <cache>/libtorch-<version>-<hash of its requirements>

set(DTRPO_LIBTORCH "$ENV{DTRPO_LIBTORCH}" CACHE PATH
    "Your own LibTorch (a folder with include/ and lib/); empty: the one of tools/deps/libtorch.sh")

if(DTRPO_LIBTORCH)
  set(_libtorch_root "${DTRPO_LIBTORCH}")
else()
  set(_requirements "${CMAKE_CURRENT_LIST_DIR}/../tools/deps/libtorch-requirements.txt")
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS "${_requirements}")
  file(STRINGS "${_requirements}" _torch_line REGEX "^torch==")
  string(REGEX REPLACE "^torch==([0-9.]+).*" "\\1" _libtorch_version "${_torch_line}")
  file(SHA256 "${_requirements}" _libtorch_hash)
  string(SUBSTRING "${_libtorch_hash}" 0 8 _libtorch_hash)
  if(DEFINED ENV{DTRPO_CACHE})
    set(_libtorch_cache "$ENV{DTRPO_CACHE}")
  else()
    set(_libtorch_cache "$ENV{HOME}/.cache/dtrpo")
  endif()
  set(_libtorch_root "${_libtorch_cache}/libtorch-${_libtorch_version}-${_libtorch_hash}")
endif()

if(NOT EXISTS "${_libtorch_root}/lib/libtorch_cpu.so")
  message(FATAL_ERROR
    "LibTorch not found: no ${_libtorch_root}/lib/libtorch_cpu.so.\n"
    "Run tools/deps/libtorch.sh, or name your own with -D DTRPO_LIBTORCH=/path/to/libtorch, "
    "or leave the rooms that need it out with -D DTRPO_TORCH=OFF.")
endif()
if(EXISTS "${_libtorch_root}/include/google/protobuf")
  message(FATAL_ERROR
    "${_libtorch_root}/include/google holds an old protobuf that shadows the system's. "
    "Use a copy of this LibTorch without that folder (see tools/deps/libtorch.sh).")
endif()

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(LibTorch REQUIRED_VARS _libtorch_root)

if(NOT TARGET LibTorch::torch_cpu)
  add_library(LibTorch::c10 SHARED IMPORTED)
  set_target_properties(LibTorch::c10 PROPERTIES
    IMPORTED_LOCATION "${_libtorch_root}/lib/libc10.so"
    INTERFACE_COMPILE_DEFINITIONS "_GLIBCXX_USE_CXX11_ABI=1"
    INTERFACE_INCLUDE_DIRECTORIES
      "${_libtorch_root}/include;${_libtorch_root}/include/torch/csrc/api/include")
  add_library(LibTorch::torch_cpu SHARED IMPORTED)
  set_target_properties(LibTorch::torch_cpu PROPERTIES
    IMPORTED_LOCATION "${_libtorch_root}/lib/libtorch_cpu.so"
    # Its own CUDA dependencies are found by its own run path, or not needed at all.
    INTERFACE_LINK_OPTIONS
      "-Wl,--unresolved-symbols=ignore-in-shared-libs;-Wl,-rpath-link,${_libtorch_root}/lib"
    INTERFACE_LINK_LIBRARIES LibTorch::c10)
endif()
