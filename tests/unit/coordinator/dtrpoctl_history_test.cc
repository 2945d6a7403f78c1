// `dtrpoctl logs`, `metrics`, `rollback` and dry runs against a coordinator over a real connection.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <sstream>

#include "absl/strings/escaping.h"
#include "absl/strings/str_split.h"
#include "nlohmann/json.hpp"
#include "services/coordinator/job_sizes.h"
#include "tests/unit/coordinator/live_coordinator.h"
#include "tools/dtrpoctl/event_file.h"
#include "tools/dtrpoctl/exit_codes.h"
#include "tools/dtrpoctl/history_commands.h"

namespace dtrpo::ctl {
namespace {

using testing::HasSubstr;

class DtrpoctlHistoryTest : public testing::Test {
 protected:
  DtrpoctlHistoryTest() {
    auto file = files_.Create("/job.yaml");
    DTRPO_CHECK_OK(
        (*file)->Append("name: add\nmodel: {path: /model}\ndata: {prompts: p.jsonl}\n"
                        "training: {steps: 3}\noutput: out\n"));
    DTRPO_CHECK(Submit(session_, {.file = "/job.yaml", .directory = "/", .idempotency_key = ""}) ==
                kOk);
    out_.str("");
  }

  coordinator::LiveCoordinator live_;
  base::MemoryFileSystem files_;
  std::ostringstream out_, err_;
  Session session_ = {.client = &live_.jobs(),
                      .address = "127.0.0.1:1",
                      .out = &out_,
                      .err = &err_,
                      .files = &files_};
};

TEST_F(DtrpoctlHistoryTest, LogsShowWhatHappenedToTheJob) {
  EXPECT_EQ(Logs(session_, {.job_id = "add-1"}), kOk) << err_.str();
  EXPECT_THAT(out_.str(), HasSubstr("state       submitted: 3 steps, 1 prompts, 0 held out\n"));
  out_.str("");
  session_.json = true;
  EXPECT_EQ(Logs(session_, {.job_id = "add-1"}), kOk);
  const std::vector<std::string> lines = absl::StrSplit(out_.str(), '\n');
  EXPECT_EQ(nlohmann::json::parse(lines[0])["kind"], "state");
  EXPECT_EQ(Logs(session_, {.job_id = "nobody-1"}), kFailed);
}

TEST_F(DtrpoctlHistoryTest, FollowedLogsEndWithTheJob) {
  ASSERT_EQ(Cancel(session_, "add-1", "enough"), kOk);
  out_.str("");
  EXPECT_EQ(Logs(session_, {.job_id = "add-1", .follow = true}), kOk);
  EXPECT_THAT(out_.str(), HasSubstr("CANCELLED: enough"));
}

TEST_F(DtrpoctlHistoryTest, ARollbackThatIsRefusedSaysWhy) {
  EXPECT_EQ(RollBack(session_, {.job_id = "add-1", .checkpoint = 3}), kFailed);
  EXPECT_THAT(err_.str(), HasSubstr("it hasn't begun"));
}

TEST_F(DtrpoctlHistoryTest, MetricsAreWrittenWhereTheyAreWanted) {
  for (const char* format : {"jsonl", "tensorboard"}) {
    EXPECT_EQ(Metrics(session_, {.job_id = "add-1", .format = format, .out = "/curves"}), kOk)
        << err_.str();
  }
  EXPECT_TRUE(files_.Exists("/curves/metrics.jsonl"));
  EXPECT_THAT(out_.str(), HasSubstr("/curves/events.out.tfevents."));
}

// The bytes that TensorBoard's own writer makes of the same event (tests/python/event_file_test.py
// reads a file of ours with its reader).
TEST(EventFileTest, RecordsAreFramedAndMaskedAsTensorBoardDoes) {
  EXPECT_EQ(absl::BytesToHexString(EventFileHeader(1.5)),
            "1800000000000000a37f4b22"
            "09000000000000f83f1a0d627261696e2e4576656e743a32"
            "2a28646c");
}

TEST(JobSizesTest, AreTheSumsOfTheCheckpointsTensors) {
  job::JobSpec spec;
  spec.name = "add";
  spec.model.path = DTRPO_SOURCE_DIR "/examples/arithmetic/base";
  spec.training.steps = 10;
  spec.data.prompts = "p.jsonl";
  spec.output = "out";
  auto sizes = coordinator::SizesOf(spec, base::PosixFileSystem());
  ASSERT_TRUE(sizes.ok()) << sizes.status();
  const int64_t all = sizes->parameters();
  EXPECT_GT(all, 300000);
  EXPECT_EQ(sizes->dtype(), "float32");
  EXPECT_EQ(sizes->trained_parameters(), all);
  EXPECT_EQ(sizes->push_bytes(), 4 * all);
  EXPECT_EQ(sizes->rollout_bytes(), 8 * all) << "the served version and the staged one";
  EXPECT_EQ(sizes->learner_bytes(), 16 * all) << "weights, gradients, two moments";
  EXPECT_EQ(sizes->checkpoint_bytes(), 12 * all);
  EXPECT_GT(sizes->replay_items(), 0);

  spec.model.dtype = "bfloat16";
  spec.training.ranks = 4;
  sizes = coordinator::SizesOf(spec, base::PosixFileSystem());
  EXPECT_EQ(sizes->learner_bytes(), 2 * all + 4 * all + 16 * all / 4) << "docs/scaling.md";
  spec.training.ranks = 1;
  spec.training.lora.rank = 8;
  spec.training.lora.targets = {"q_proj"};
  sizes = coordinator::SizesOf(spec, base::PosixFileSystem());
  EXPECT_GT(sizes->trained_parameters(), 0);
  EXPECT_LT(sizes->trained_parameters(), all / 10);
  EXPECT_EQ(sizes->push_bytes(), 2 * sizes->trained_parameters());
  spec.training.lora = {};
  spec.training.trainable = {"*.nothing.*"};
  EXPECT_THAT(coordinator::SizesOf(spec, base::PosixFileSystem()).status().message(),
              HasSubstr("training.trainable: no tensor matches '*.nothing.*'"));
}

}  // namespace
}  // namespace dtrpo::ctl
