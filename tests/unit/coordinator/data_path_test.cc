#include "services/coordinator/data_path.h"

#include <gtest/gtest.h>

#include "common/base/memory_file_system.h"

namespace dtrpo::coordinator {
namespace {

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
