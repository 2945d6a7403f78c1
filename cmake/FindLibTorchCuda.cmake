# Finds what tools/deps/cuda.sh fetched and defines LibTorch::torch_cuda: LibTorch's GPU part, for
# compiling and linking; a GPU or a CUDA toolkit isn't needed for that. LibTorch itself comes first.

set(_requirements "${CMAKE_CURRENT_LIST_DIR}/../tools/deps/cuda-requirements.txt")
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS "${_requirements}")
file(SHA256 "${_requirements}" _cuda_hash)
string(SUBSTRING "${_cuda_hash}" 0 8 _cuda_hash)
if(DEFINED ENV{DTRPO_CACHE})
  set(_cuda_cache "$ENV{DTRPO_CACHE}")
else()
  set(_cuda_cache "$ENV{HOME}/.cache/dtrpo")
endif()
set(_cuda_root "${_cuda_cache}/libtorch-cuda-${_cuda_hash}")
if(NOT EXISTS "${_cuda_root}/lib/libtorch_cuda.so")
  unset(_cuda_root)
endif()

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(LibTorchCuda
  REQUIRED_VARS _cuda_root
  REASON_FAILURE_MESSAGE "run tools/deps/cuda.sh")

if(LibTorchCuda_FOUND AND NOT TARGET LibTorch::torch_cuda)
  add_library(LibTorch::cudart SHARED IMPORTED)
  set_target_properties(LibTorch::cudart PROPERTIES
    IMPORTED_LOCATION "${_cuda_root}/lib/libcudart.so.13")
  add_library(LibTorch::c10_cuda SHARED IMPORTED)
  set_target_properties(LibTorch::c10_cuda PROPERTIES
    IMPORTED_LOCATION "${_cuda_root}/lib/libc10_cuda.so"
    INTERFACE_LINK_LIBRARIES LibTorch::cudart
    INTERFACE_INCLUDE_DIRECTORIES "${_cuda_root}/include;${_cuda_root}/include/cccl")
  add_library(LibTorch::torch_cuda SHARED IMPORTED)
  set_target_properties(LibTorch::torch_cuda PROPERTIES
    IMPORTED_LOCATION "${_cuda_root}/lib/libtorch_cuda.so"
    # Nothing of ours refers to most of it by name: its kernels register themselves.
    INTERFACE_LINK_OPTIONS
      "-Wl,--no-as-needed;-Wl,--unresolved-symbols=ignore-in-shared-libs;-Wl,-rpath-link,${_cuda_root}/lib"
    INTERFACE_LINK_LIBRARIES "LibTorch::c10_cuda;LibTorch::torch_cpu")
endif()
