#include "services/coordinator/data_path.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/base/memory_file_system.h"

namespace dtrpo::coordinator {
namespace {

using testing::HasSubstr;

TEST(DataPathTest, FilesLieBelowARoot) {
  const std::vector<std::string> roots = {"/data", "/more/data/"};
  for (const char* path : {"/data/p.jsonl", "/data/a/../b/p.jsonl", "/more/data/x", ""}) {
    EXPECT_TRUE(CheckDataPath(path, roots).ok()) << path;
  }
  for (const char* path : {"/etc/passwd", "/data/../etc/passwd", "/database/p", "/data", "/more",
                           "p.jsonl", "../data/p"}) {
    const absl::Status status = CheckDataPath(path, roots);
    EXPECT_TRUE(absl::IsPermissionDenied(status)) << path;
    EXPECT_THAT(std::string(status.message()), HasSubstr("data_roots (/data, /more/data/)"));
  }
  EXPECT_TRUE(CheckDataPath("/etc/passwd", {}).ok());
}

TEST(DataPathTest, AFileOfPairsHoldsSomething) {
  base::MemoryFileSystem files;
  ASSERT_TRUE(files.MakeDirectories("d").ok());
  ASSERT_TRUE((*files.Create("d/empty")).get() != nullptr);
  EXPECT_TRUE(absl::IsNotFound(CheckPairFile(&files, "d/nothing")));
  EXPECT_TRUE(absl::IsInvalidArgument(CheckPairFile(&files, "d/empty")));
  EXPECT_TRUE(absl::IsInvalidArgument(CheckPairFile(&files, "d")));
  ASSERT_TRUE((*files.Create("d/pairs"))->Append("{}").ok());
  EXPECT_TRUE(CheckPairFile(&files, "d/pairs").ok());
}

}  // namespace
}  // namespace dtrpo::coordinator
