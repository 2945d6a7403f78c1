// The body of http://ADDRESS/PATH, for tests; empty when that fails.
#pragma once

#include <string>

namespace dtrpo::runtime {

std::string HttpGet(const std::string& address, const std::string& path);

}  // namespace dtrpo::runtime
