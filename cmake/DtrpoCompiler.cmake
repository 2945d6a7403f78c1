# Compiler and linker settings for every target of this project.

set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)

# Position-independent code is left to the compiler's default (Debian: -fPIE everywhere). All
# libraries are static, and a precompiled header needs the same flags in libraries and programs.

if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE Release CACHE STRING "" FORCE)
endif()

set(CMAKE_RUNTIME_OUTPUT_DIRECTORY "${PROJECT_BINARY_DIR}/bin")
set(CMAKE_ARCHIVE_OUTPUT_DIRECTORY "${PROJECT_BINARY_DIR}/lib")

# -pthread everywhere, because gRPC's targets ask for it and a precompiled header must agree.
add_compile_options(-Wall -Wextra -Werror -pthread)
# GCC 12 sees overlapping copies where std::string has none (GCC bug 105651).
add_compile_options($<$<CXX_COMPILER_ID:GNU>:-Wno-restrict>)

if(DTRPO_SANITIZE)
  add_compile_options(-fsanitize=${DTRPO_SANITIZE} -fno-sanitize-recover=all)
  add_link_options(-fsanitize=${DTRPO_SANITIZE})
endif()

find_program(DTRPO_MOLD mold)
if(DTRPO_MOLD)
  add_link_options(-fuse-ld=mold)
endif()

# ccache refuses precompiled headers unless told that their time stamps don't matter.
find_program(DTRPO_CCACHE ccache)
if(DTRPO_CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  foreach(language C CXX)
    set(CMAKE_${language}_COMPILER_LAUNCHER
        ${CMAKE_COMMAND} -E env CCACHE_SLOPPINESS=pch_defines,time_macros
        CCACHE_BASEDIR=${PROJECT_SOURCE_DIR} ${DTRPO_CCACHE})
  endforeach()
endif()
