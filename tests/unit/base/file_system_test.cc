#include "common/base/file_system.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <memory>
#include <string>

#include "common/base/atomic_file.h"
#include "common/base/memory_file_system.h"

namespace dtrpo::base {
namespace {

// Both implementations keep the same promises.
class FileSystemTest : public testing::TestWithParam<bool> {
 protected:
  void SetUp() override {
    if (GetParam()) {
      std::string name = testing::TempDir() + "/file_system_testXXXXXX";
      root_ = mkdtemp(name.data());
      files_ = PosixFileSystem();
    } else {
      root_ = "/root";
      ASSERT_TRUE(memory_.MakeDirectories(root_).ok());
      files_ = &memory_;
    }
  }
  void TearDown() override { EXPECT_TRUE(files_->RemoveTree(root_).ok()); }

  std::string Path(const std::string& name) { return JoinPath(root_, name); }
  void Write(const std::string& path, const std::string& data) {
    ASSERT_TRUE(WriteFileAtomically(files_, path, data).ok());
  }

  MemoryFileSystem memory_;
  FileSystem* files_ = nullptr;
  std::string root_;
};

INSTANTIATE_TEST_SUITE_P(All, FileSystemTest, testing::Bool(),
                         [](const auto& info) { return info.param ? "Posix" : "Memory"; });

TEST_P(FileSystemTest, ReadsBackWhatWasWritten) {
  const std::string data("a\0b\nc", 5);
  Write(Path("x"), data);
  EXPECT_EQ(*files_->Read(Path("x")), data);
  EXPECT_EQ(*files_->FileSizeBytes(Path("x")), 5u);
  Write(Path("x"), "shorter");
  EXPECT_EQ(*files_->Read(Path("x")), "shorter");
}

TEST_P(FileSystemTest, ReadAtRefusesToReadPastTheEnd) {
  Write(Path("x"), "0123456789");
  auto file = files_->Open(Path("x"));
  ASSERT_TRUE(file.ok());
  char out[4];
  ASSERT_TRUE((*file)->ReadAt(3, 4, out).ok());
  EXPECT_EQ(std::string(out, 4), "3456");
  EXPECT_EQ((*file)->ReadAt(8, 4, out).code(), absl::StatusCode::kOutOfRange);
  EXPECT_EQ((*file)->size_bytes(), 10u);
}

TEST_P(FileSystemTest, MissingPathsAreNamedInTheError) {
  for (const absl::Status& status :
       {files_->Read(Path("gone")).status(), files_->List(Path("gone")).status(),
        files_->Rename(Path("gone"), Path("y")), files_->RemoveFile(Path("gone")),
        files_->Create(Path("gone/y")).status(), files_->SyncDirectory(Path("gone"))}) {
    EXPECT_EQ(status.code(), absl::StatusCode::kNotFound) << status;
    EXPECT_NE(status.message().find("gone"), absl::string_view::npos) << status;
  }
  EXPECT_FALSE(files_->Exists(Path("gone")));
}

TEST_P(FileSystemTest, AppendGoesAfterTheEnd) {
  Write(Path("log"), "one ");
  auto file = files_->OpenToAppend(Path("log"));
  ASSERT_TRUE(file.ok());
  ASSERT_TRUE((*file)->Append("two").ok());
  ASSERT_TRUE((*file)->Close().ok());
  EXPECT_EQ(*files_->Read(Path("log")), "one two");
}

TEST_P(FileSystemTest, FoldersAreMadeListedRenamedAndRemoved) {
  ASSERT_TRUE(files_->MakeDirectories(Path("a/b")).ok());
  ASSERT_TRUE(files_->MakeDirectories(Path("a/b")).ok());
  Write(Path("a/2"), "");
  Write(Path("a/1"), "");
  EXPECT_EQ(*files_->List(Path("a")), (std::vector<std::string>{"1", "2", "b"}));
  EXPECT_TRUE(*files_->IsDirectory(Path("a/b")));
  EXPECT_FALSE(*files_->IsDirectory(Path("a/1")));
  ASSERT_TRUE(files_->Rename(Path("a"), Path("c")).ok());
  EXPECT_FALSE(files_->Exists(Path("a")));
  EXPECT_TRUE(files_->Exists(Path("c/1")));
  // A folder that holds something is not replaced.
  ASSERT_TRUE(files_->MakeDirectories(Path("d")).ok());
  EXPECT_EQ(files_->Rename(Path("d"), Path("c")).code(), absl::StatusCode::kAlreadyExists);
  ASSERT_TRUE(files_->RemoveTree(Path("c")).ok());
  EXPECT_FALSE(files_->Exists(Path("c")));
  EXPECT_TRUE(files_->RemoveTree(Path("c")).ok());
}

TEST_P(FileSystemTest, AnAbandonedAtomicFileLeavesTheOldContent) {
  Write(Path("x"), "old");
  {
    auto file = AtomicFile::Create(files_, Path("x"));
    ASSERT_TRUE(file.ok());
    ASSERT_TRUE((*file)->Append("half of the new").ok());
  }
  EXPECT_EQ(*files_->Read(Path("x")), "old");
  EXPECT_EQ(*files_->List(root_), std::vector<std::string>{"x"});
}

class PowerLossTest : public testing::Test {
 protected:
  void SetUp() override { ASSERT_TRUE(files_.MakeDirectories("/d").ok()); }
  MemoryFileSystem files_;
};

TEST_F(PowerLossTest, KeepsWhatWasWrittenAtomically) {
  ASSERT_TRUE(WriteFileAtomically(&files_, "/d/x", "old").ok());
  ASSERT_TRUE(WriteFileAtomically(&files_, "/d/x", "new").ok());
  files_.LosePower();
  EXPECT_EQ(*files_.Read("/d/x"), "new");
}

TEST_F(PowerLossTest, LosesWhatWasNotSynced) {
  auto file = files_.Create("/d/x");
  ASSERT_TRUE((*file)->Append("synced").ok());
  ASSERT_TRUE((*file)->Sync().ok());
  ASSERT_TRUE(files_.SyncDirectory("/d").ok());
  ASSERT_TRUE((*file)->Append(" not synced").ok());
  ASSERT_TRUE((*files_.Create("/d/y"))->Sync().ok());  // the folder is not synced
  files_.LosePower();
  EXPECT_EQ(*files_.Read("/d/x"), "synced");
  EXPECT_FALSE(files_.Exists("/d/y"));
}

// Whatever operation of an atomic write fails, the reader sees all of the old or all of the new.
TEST_F(PowerLossTest, AnAtomicWriteThatFailsAnywhereLeavesAWholeFile) {
  for (int failing = 0; failing < 5; ++failing) {
    ASSERT_TRUE(WriteFileAtomically(&files_, "/d/x", "old").ok());
    int operations = 0;
    files_.set_fault([&](absl::string_view operation, const std::string&) {
      return operations++ == failing ? absl::InternalError(absl::StrCat(operation, " failed"))
                                     : absl::OkStatus();
    });
    const absl::Status status = WriteFileAtomically(&files_, "/d/x", "new");
    files_.set_fault(nullptr);
    EXPECT_FALSE(status.ok()) << failing;
    files_.LosePower();
    const std::string content = *files_.Read("/d/x");
    EXPECT_EQ(content, "old") << failing << ": " << status;
  }
}

TEST(PathTest, JoinsAndSplits) {
  EXPECT_EQ(JoinPath("a", "b"), "a/b");
  EXPECT_EQ(JoinPath("a/", "b"), "a/b");
  EXPECT_EQ(JoinPath("", "b"), "b");
  EXPECT_EQ(ParentPath("a/b"), "a");
  EXPECT_EQ(ParentPath("/b"), "/");
  EXPECT_EQ(ParentPath("b"), ".");
  EXPECT_EQ(BaseName("a/b"), "b");
  EXPECT_EQ(BaseName("b"), "b");
}

}  // namespace
}  // namespace dtrpo::base
