// Invariant 11 with real deaths: a learner process is killed with SIGKILL, at named places and at
// random ones, begun again with what coordinator and replay remember, and ends with the files of
// one that was never disturbed, bit for bit.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <iostream>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "common/base/fault_points.h"
#include "common/base/file_system.h"
#include "common/checkpoint/checkpoint_writer.h"
#include "common/checkpoint/retention.h"
#include "tests/support/tiny_checkpoint.h"

namespace dtrpo::learner {
namespace {

constexpr char kSeedVariable[] = "DTRPO_KILL_SEED";
constexpr absl::Duration kLongest = absl::Seconds(120);  // of one attempt

// The process, as it ended.
struct End {
  bool killed = false;  // by SIGKILL
  int exit_code = -1;
};

class ExactResumeTest : public ::testing::TestWithParam<const char*> {
 protected:
  // Starts an attempt in `folder`; `fault` is a fault point's spec or empty.
  pid_t Start(const std::string& folder, const std::string& fault = "") {
    const std::string program = absl::StrCat(DTRPO_BIN_DIR, "/../tests/bin/learner_on_a_log");
    const std::string log = folder + "/log";
    const pid_t child = fork();
    if (child == 0) {
      setenv(base::kFaultPointsVariable, fault.c_str(), /*overwrite=*/1);
      if (std::freopen(log.c_str(), "a", stderr) == nullptr) _exit(126);
      execl(program.c_str(), program.c_str(), folder.c_str(), GetParam(), nullptr);
      _exit(127);
    }
    EXPECT_GT(child, 0);
    return child;
  }

  // Waits for the end, and kills when it hasn't come by `patience`.
  static End Await(pid_t child, absl::Duration patience = kLongest) {
    const absl::Time deadline = absl::Now() + patience;
    int status = 0;
    while (waitpid(child, &status, WNOHANG) == 0) {
      if (absl::Now() >= deadline) {
        kill(child, SIGKILL);
        waitpid(child, &status, 0);
        break;
      }
      absl::SleepFor(absl::Milliseconds(2));
    }
    return {.killed = WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL,
            .exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : -1};
  }

  // The program is loaded, and the attempt begins.
  static void AwaitBegin(const std::string& folder, int attempt) {
    const absl::Time deadline = absl::Now() + kLongest;
    while (Read(folder + "/attempts") != absl::StrCat(attempt) && absl::Now() < deadline) {
      absl::SleepFor(absl::Milliseconds(1));
    }
    ASSERT_EQ(Read(folder + "/attempts"), absl::StrCat(attempt));
  }

  std::string NewFolder(const std::string& name) {
    const std::string folder = base::JoinPath(root_, name);
    support::WriteTinyCheckpoint(folder + "/base");
    return folder;
  }

  void ExpectEnd(const std::string& folder, const End& end) {
    ASSERT_FALSE(end.killed) << "not at its end after " << kLongest;
    ASSERT_EQ(end.exit_code, 0) << Read(folder + "/finished") << "\n" << Read(folder + "/log");
  }

  static std::string Read(const std::string& path) {
    const auto content = base::ReadIfThere(base::PosixFileSystem(), path);
    EXPECT_TRUE(content.ok()) << content.status();
    return content.ok() ? content->value_or("") : "";
  }

  // Whatever was going on when the process died.
  static void ExpectLatestIsWhole(const std::string& folder) {
    base::FileSystem* const files = base::PosixFileSystem();
    const std::string root = folder + "/out/checkpoints";
    const std::string latest = Read(root + "/latest");
    if (!latest.empty()) {
      const std::string path = base::JoinPath(root, latest.substr(0, latest.find('\n')));
      EXPECT_TRUE(checkpoint::CheckComplete(files, path, checkpoint::Verify::kChecksums).ok())
          << checkpoint::CheckComplete(files, path, checkpoint::Verify::kChecksums);
    }
    const std::string registered = Read(folder + "/registered");
    if (!registered.empty()) {
      EXPECT_TRUE(
          checkpoint::CheckComplete(files, registered, checkpoint::Verify::kChecksums).ok());
    }
    int64_t acknowledged = 0;
    if (absl::SimpleAtoi(Read(folder + "/acknowledged"), &acknowledged)) {
      EXPECT_GE(registered, checkpoint::CheckpointRoot(files, root).PathOf(acknowledged))
          << "what no checkpoint contains was given up";
    }
  }

  // The last checkpoint's files are those of the undisturbed run, and nothing else is left.
  void ExpectSame(const std::string& folder, const std::string& undisturbed) {
    const std::string ours = folder + "/out/checkpoints/step-00000009";
    const std::string theirs = undisturbed + "/out/checkpoints/step-00000009";
    for (const char* name : {"model.safetensors", "optimizer.safetensors", "training_state.json"}) {
      const std::string content = Read(base::JoinPath(ours, name));
      EXPECT_FALSE(content.empty()) << name;
      EXPECT_TRUE(content == Read(base::JoinPath(theirs, name))) << name << " differs";
    }
    EXPECT_EQ(Read(folder + "/acknowledged"), "9");
    EXPECT_EQ(base::PosixFileSystem()->List(folder + "/out/checkpoints").value(),
              base::PosixFileSystem()->List(undisturbed + "/out/checkpoints").value());
  }

  std::string Undisturbed() {
    const std::string folder = NewFolder("undisturbed");
    ExpectEnd(folder, Await(Start(folder)));
    EXPECT_EQ(Read(folder + "/attempts"), "1");
    return folder;
  }

  const std::string root_ = support::TestFolder();
};

// Places of the second and third checkpoint, in the order in which they are passed.
TEST_P(ExactResumeTest, KilledAtEachNamedPlaceItGoesOnAsIfNothingHadHappened) {
  const std::string undisturbed = Undisturbed();
  ASSERT_FALSE(HasFailure());
  for (const char* fault :
       {"checkpoint.while_writing:kill@9", "checkpoint.before_marker:kill@2",
        "checkpoint.before_rename:kill@3", "learner.checkpoint_written:kill@2",
        "learner.before_latest:kill@3", "learner.before_acknowledge:kill@2",
        "learner.after_acknowledge:kill@3", "learner.after_acknowledge:kill@5"}) {
    SCOPED_TRACE(fault);
    const std::string folder = NewFolder(fault);
    // Only the armed place kills: that it died shows that it was there.
    ASSERT_TRUE(Await(Start(folder, fault)).killed) << "the place wasn't passed";
    ExpectLatestIsWhole(folder);
    // And once more, by the attempt after it, where that passes it.
    End end = Await(Start(folder, fault));
    ExpectLatestIsWhole(folder);
    if (end.killed) end = Await(Start(folder));
    ExpectEnd(folder, end);
    ExpectSame(folder, undisturbed);
    if (HasFailure()) return;
  }
}

// The seed is printed; the variable gives it again.
TEST_P(ExactResumeTest, KilledAtRandomAgainAndAgainItEndsWithTheSameBits) {
  const std::string undisturbed = NewFolder("undisturbed");
  pid_t child = Start(undisturbed);
  AwaitBegin(undisturbed, 1);
  const absl::Time began = absl::Now();
  ExpectEnd(undisturbed, Await(child));
  ASSERT_FALSE(HasFailure());
  const absl::Duration whole = absl::Now() - began;
  uint64_t seed = std::random_device()();
  const char* given = std::getenv(kSeedVariable);
  if (given != nullptr) {
    ASSERT_TRUE(absl::SimpleAtoi(given, &seed)) << kSeedVariable;
  }
  std::cout << kSeedVariable << "=" << seed << std::endl;
  SCOPED_TRACE(absl::StrCat(kSeedVariable, "=", seed));
  std::mt19937_64 rng(seed);
  std::uniform_real_distribution<double> share(0.05, 0.7);
  const std::string folder = NewFolder("random");
  int kills = 0;
  End end;
  for (int attempt = 1; attempt <= 8; ++attempt) {
    child = Start(folder);
    AwaitBegin(folder, attempt);
    end = Await(child, share(rng) * whole);
    ExpectLatestIsWhole(folder);
    if (!end.killed) break;
    ++kills;
  }
  std::cout << kills << " kills" << std::endl;
  if (end.killed) end = Await(Start(folder));
  ExpectEnd(folder, end);
  ExpectSame(folder, undisturbed);
}

INSTANTIATE_TEST_SUITE_P(Dtype, ExactResumeTest, ::testing::Values("float32", "bfloat16"),
                         [](const auto& dtype) { return std::string(dtype.param); });

}  // namespace
}  // namespace dtrpo::learner
