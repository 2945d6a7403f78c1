#include "common/job/job_paths.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <functional>

namespace dtrpo::job {
namespace {

using testing::HasSubstr;
namespace fs = std::filesystem;

TEST(JobPathsTest, APathLiesBelowARoot) {
  const std::vector<std::string> roots = {"/data", "/more/data/"};
  for (const char* path : {"/data/p.jsonl", "/data/a/../b/p.jsonl", "/more/data/x", ""}) {
    EXPECT_TRUE(CheckPathIsBelow(path, roots).ok()) << path;
  }
  for (const char* path : {"/etc/passwd", "/data/../etc/passwd", "/database/p", "/data", "/more",
                           "p.jsonl", "../data/p"}) {
    const absl::Status status = CheckPathIsBelow(path, roots);
    EXPECT_TRUE(absl::IsPermissionDenied(status)) << path;
    EXPECT_THAT(std::string(status.message()), HasSubstr("data_roots (/data, /more/data/)"));
  }
  EXPECT_TRUE(CheckPathIsBelow("/etc/passwd", {}).ok());
}

TEST(JobPathsTest, LinksAreFollowedAndLeadNowhereElse) {
  const fs::path dir = fs::path(testing::TempDir()) / "job_paths";
  fs::remove_all(dir);
  fs::create_directories(dir / "root/folder");
  fs::create_directories(dir / "secret");
  std::ofstream(dir / "secret/file") << "x";
  fs::create_symlink(dir / "secret", dir / "root/folder_link");
  fs::create_symlink(dir / "secret/file", dir / "root/file_link");
  fs::create_symlink("folder", dir / "root/inside");
  fs::create_symlink("loop", dir / "root/loop");
  fs::create_symlink(dir / "root", dir / "also_root");
  const std::vector<std::string> roots = {(dir / "root").string()};
  const auto check = [&](const char* path) {
    return CheckPathIsBelow((dir / path).string(), roots);
  };
  EXPECT_TRUE(check("root/folder/new/file").ok());
  EXPECT_TRUE(check("root/inside/new").ok());
  EXPECT_TRUE(check("also_root/folder/file").ok());  // another way to the same place
  for (const char* path :
       {"root/file_link", "root/folder_link/file", "root/folder_link/not_there_yet",
        "root/folder_link", "root/inside/../../secret/file", "root/loop/file", "secret/file"}) {
    EXPECT_TRUE(absl::IsPermissionDenied(check(path))) << path;
  }
  // A root that is a link itself stands for where it leads.
  EXPECT_TRUE(
      CheckPathIsBelow((dir / "root/folder").string(), {(dir / "also_root").string()}).ok());
}

TEST(JobPathsTest, EveryPathOfAJobIsChecked) {
  const std::vector<std::string> roots = {"/data"};
  JobSpec inside;
  inside.model.path = "/data/model";
  inside.data.prompts = "/data/prompts.jsonl";
  inside.data.heldout = "/data/heldout.jsonl";
  inside.data.pairs = "/data/pairs.jsonl";
  inside.output = "/data/out";
  inside.evaluation.prompt_template = "/data/template.txt";
  ASSERT_TRUE(CheckJobPaths(inside, roots).ok());
  const std::pair<const char*, std::function<void(JobSpec&)>> changes[] = {
      {"model.path", [](JobSpec& spec) { spec.model.path = "/etc"; }},
      {"data.prompts", [](JobSpec& spec) { spec.data.prompts = "/etc/passwd"; }},
      {"data.heldout", [](JobSpec& spec) { spec.data.heldout = "/data/../etc/passwd"; }},
      {"data.pairs", [](JobSpec& spec) { spec.data.pairs = "/etc/passwd"; }},
      {"output", [](JobSpec& spec) { spec.output = "/root"; }},
      {"evaluation.template", [](JobSpec& spec) { spec.evaluation.prompt_template = "/etc/x"; }}};
  for (const auto& [field, change] : changes) {
    JobSpec outside = inside;
    change(outside);
    const absl::Status status = CheckJobPaths(outside, roots);
    EXPECT_TRUE(absl::IsPermissionDenied(status)) << field;
    EXPECT_THAT(std::string(status.message()), HasSubstr(field));
  }
}

}  // namespace
}  // namespace dtrpo::job
