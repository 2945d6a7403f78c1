// Invariant 11 for two ranks, with real deaths: a rank's process is killed with SIGKILL at a named
// place, the other one notices by itself and ends, both begin again at the registered checkpoint,
// and the end is that of two ranks that were never disturbed, bit for bit.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <iostream>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/base/fault_points.h"
#include "common/base/file_system.h"
#include "common/checkpoint/checkpoint_writer.h"
#include "common/collectives/rendezvous_store.h"
#include "tests/support/tiny_checkpoint.h"

namespace dtrpo::learner {
namespace {

constexpr char kSeedVariable[] = "DTRPO_KILL_SEED";
constexpr int kKilled = -SIGKILL;
constexpr absl::Duration kLongest = absl::Seconds(120);  // of one attempt

class ExactResumeRanksTest : public ::testing::Test {
 protected:
  std::string NewFolder(const std::string& name) {
    const std::string folder = base::JoinPath(root_, name);
    support::WriteTinyCheckpoint(folder + "/base");
    return folder;
  }

  // One attempt; returns the ranks' exit codes, or minus their signals. `faulty` dies at the fault,
  // or, without one, `after` so long.
  std::vector<int> Attempt(const std::string& folder, int world, int faulty = -1,
                           const std::string& fault = "",
                           absl::Duration after = absl::InfiniteDuration()) {
    ++attempts_;
    const auto store = collectives::RendezvousStore::Listen("127.0.0.1:0");
    EXPECT_TRUE(store.ok()) << store.status();
    std::vector<pid_t> children;
    for (int rank = 0; rank < world; ++rank) {
      const std::string program = absl::StrCat(DTRPO_BIN_DIR, "/../tests/bin/rank_on_a_log");
      const std::string log = absl::StrCat(folder, "/log-", rank);
      const std::string arguments[] = {absl::StrCat(rank), absl::StrCat(world), (*store)->address(),
                                       absl::StrCat(attempts_)};
      const pid_t child = fork();
      if (child == 0) {
        setenv(base::kFaultPointsVariable, rank == faulty ? fault.c_str() : "", /*overwrite=*/1);
        if (std::freopen(log.c_str(), "a", stderr) == nullptr) _exit(126);
        execl(program.c_str(), program.c_str(), folder.c_str(), arguments[0].c_str(),
              arguments[1].c_str(), arguments[2].c_str(), arguments[3].c_str(), nullptr);
        _exit(127);
      }
      EXPECT_GT(child, 0);
      children.push_back(child);
    }
    if (after < absl::InfiniteDuration()) {
      absl::SleepFor(after);
      kill(children[faulty], SIGKILL);
    }
    std::vector<int> ends;
    for (const pid_t child : children) ends.push_back(Await(child));
    return ends;
  }

  static int Await(pid_t child) {
    const absl::Time deadline = absl::Now() + kLongest;
    int status = 0;
    while (waitpid(child, &status, WNOHANG) == 0) {
      if (absl::Now() >= deadline) {
        kill(child, SIGTERM);
        waitpid(child, &status, 0);
        break;
      }
      absl::SleepFor(absl::Milliseconds(5));
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
  }

  static std::string Read(const std::string& path) {
    const auto content = base::ReadIfThere(base::PosixFileSystem(), path);
    EXPECT_TRUE(content.ok()) << content.status();
    return content.ok() ? content->value_or("") : "";
  }

  static void ExpectTheSameEnd(const std::string& folder, const std::string& undisturbed) {
    EXPECT_EQ(Read(folder + "/finished"), "finished 7: all steps made");
    for (const char* name : {"model.safetensors", "optimizer-00001-of-00002.safetensors",
                             "optimizer-00002-of-00002.safetensors", "training_state.json"}) {
      const std::string file = absl::StrCat("/out/checkpoints/step-00000007/", name);
      EXPECT_FALSE(Read(folder + file).empty()) << name;
      EXPECT_TRUE(Read(folder + file) == Read(undisturbed + file)) << name << " differs";
    }
    EXPECT_EQ(base::PosixFileSystem()->List(folder + "/out/checkpoints").value(),
              base::PosixFileSystem()->List(undisturbed + "/out/checkpoints").value());
  }

  const std::string root_ = support::TestFolder();
  int attempts_ = 0;
};

TEST_F(ExactResumeRanksTest, WhicheverRankIsKilledWhereverTheEndIsTheSameBits) {
  using ::testing::ElementsAre;
  const std::string undisturbed = NewFolder("undisturbed");
  ASSERT_THAT(Attempt(undisturbed, 2), ElementsAre(0, 0)) << Read(undisturbed + "/log-0");
  const struct {
    int rank;
    const char* fault;
  } kills[] = {{1, "learner.part_written:kill@2"},
               {1, "learner.part_written:kill@1"},
               {0, "learner.checkpoint_written:kill@2"},
               {0, "learner.before_acknowledge:kill@2"}};
  for (const auto& [rank, fault] : kills) {
    SCOPED_TRACE(absl::StrCat("rank ", rank, ", ", fault));
    const std::string folder = NewFolder(absl::StrCat(rank, fault));
    const std::vector<int> ends = Attempt(folder, 2, rank, fault);
    EXPECT_EQ(ends[rank], kKilled) << "the place wasn't passed";
    EXPECT_EQ(ends[1 - rank], 3) << Read(absl::StrCat(folder, "/log-", 1 - rank));
    EXPECT_THAT(Read(absl::StrCat(folder, "/lost-", 1 - rank)),
                ::testing::HasSubstr(absl::StrCat("rank ", 1 - rank, " of 2")));
    const std::string registered = Read(folder + "/registered");
    if (!registered.empty()) {
      EXPECT_TRUE(checkpoint::CheckComplete(base::PosixFileSystem(), registered,
                                            checkpoint::Verify::kChecksums)
                      .ok());
    }
    ASSERT_THAT(Attempt(folder, 2), ElementsAre(0, 0)) << Read(folder + "/log-0");
    ExpectTheSameEnd(folder, undisturbed);
  }
}

// The seed is printed; the variable gives it again. A seed repeats the plan, not the moment.
TEST_F(ExactResumeRanksTest, WhicheverRankIsKilledAtRandomTheEndIsTheSameBits) {
  uint64_t seed = std::random_device()();
  if (const char* given = std::getenv(kSeedVariable); given != nullptr) {
    ASSERT_TRUE(absl::SimpleAtoi(given, &seed)) << kSeedVariable;
  }
  std::cout << kSeedVariable << "=" << seed << std::endl;
  SCOPED_TRACE(absl::StrCat(kSeedVariable, "=", seed));
  std::mt19937_64 rng(seed);
  const std::string undisturbed = NewFolder("undisturbed");
  const absl::Time start = absl::Now();
  ASSERT_THAT(Attempt(undisturbed, 2), ::testing::ElementsAre(0, 0));
  absl::Duration whole = absl::Now() - start;
  for (int round = 0; round < 3; ++round) {
    std::string folder;
    bool killed = false;
    for (int i = 0; i < 20 && !killed; ++i) {
      folder = NewFolder(absl::StrCat("random-", round, "-", i));
      const int rank = static_cast<int>(rng() % 2);
      // Mostly after the ranks have met, which takes half of the time.
      const double part = std::uniform_real_distribution<double>(0.65, 1)(rng);
      killed = Attempt(folder, 2, rank, "", part * whole)[rank] == kKilled;
      if (!killed) whole *= 0.8;  // the ranks were faster this time
    }
    ASSERT_TRUE(killed);
    ASSERT_THAT(Attempt(folder, 2), ::testing::ElementsAre(0, 0)) << Read(folder + "/log-0");
    ExpectTheSameEnd(folder, undisturbed);
  }
}

}  // namespace
}  // namespace dtrpo::learner
