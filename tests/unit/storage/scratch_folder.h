// A folder of the test's own, which goes with it.
#pragma once

#include <stdlib.h>

#include <string>

#include "common/base/check.h"
#include "common/base/file_system.h"
#include "gtest/gtest.h"

namespace dtrpo::storage {

class ScratchFolder {
 public:
  ScratchFolder() : path_(::testing::TempDir() + "/dtrpo_store_XXXXXX") {
    DTRPO_CHECK(::mkdtemp(path_.data()) != nullptr);
  }
  ~ScratchFolder() { base::PosixFileSystem()->RemoveTree(path_).IgnoreError(); }
  ScratchFolder(const ScratchFolder&) = delete;
  ScratchFolder& operator=(const ScratchFolder&) = delete;

  const std::string& path() const { return path_; }
  std::string operator/(absl::string_view name) const { return base::JoinPath(path_, name); }

 private:
  std::string path_;
};

}  // namespace dtrpo::storage
