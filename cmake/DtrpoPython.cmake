# DTRPO_VENV_PYTHON: the Python with the pinned packages that some tests need, made by
# tools/deps/python.sh. Not there: those tests fail and say so.
set(_requirements "${CMAKE_CURRENT_LIST_DIR}/../tools/deps/python-requirements.txt")
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS "${_requirements}")
file(SHA256 "${_requirements}" _hash)
string(SUBSTRING "${_hash}" 0 8 _hash)
if(DEFINED ENV{DTRPO_CACHE})
  set(_cache "$ENV{DTRPO_CACHE}")
else()
  set(_cache "$ENV{HOME}/.cache/dtrpo")
endif()
set(DTRPO_VENV_PYTHON "${_cache}/python-${_hash}/bin/python")
