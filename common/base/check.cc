#include "common/base/check.h"

#include <cstdio>
#include <cstdlib>

namespace dtrpo::base::internal {

CheckFailure::CheckFailure(const char* file, int line, const char* condition) {
  stream_ << file << ":" << line << ": CHECK failed: " << condition << " ";
}

CheckFailure::~CheckFailure() {
  // One write, so that the line stays whole when several threads fail together.
  std::string text = stream_.str() + "\n";
  std::fwrite(text.data(), 1, text.size(), stderr);
  std::fflush(stderr);
  std::abort();
}

std::unique_ptr<std::string> StatusFailure(const absl::Status& status, const char* text) {
  if (status.ok()) return nullptr;
  return std::make_unique<std::string>(std::string(text) + " is OK (" + status.ToString() + ")");
}

}  // namespace dtrpo::base::internal
