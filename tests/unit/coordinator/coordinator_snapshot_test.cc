// A coordinator that starts from a snapshot of its jobs and the operations after it.
#include <gmock/gmock.h>

#include <limits>
#include <map>
#include <optional>
#include <set>
#include <string>

#include "services/coordinator/kept_state.h"
#include "tests/unit/coordinator/coordinator_harness.h"

namespace dtrpo::coordinator {
namespace {

using testing::HasSubstr;

// ---------------------------------------------------------------- the list of members

struct OldThing {
  int64_t number = 0;
  std::string text;
  template <typename Archive>
  void Kept(Archive& archive) {
    archive(number, text);
  }
};

struct NewThing {
  int64_t number = 0;
  std::string text;
  std::optional<double> added = 5;
  template <typename Archive>
  void Kept(Archive& archive) {
    archive(number, text, added);
  }
};

template <typename T>
std::string Written(const T& value) {
  KeptWriter writer;
  writer(value);
  return writer.Take();
}

TEST(KeptStateTest, ComesBackAsItWas) {
  std::map<std::string, std::deque<std::pair<double, absl::Time>>> value;
  value["a"] = {{-0.5, absl::InfiniteFuture()}, {1e300, absl::FromUnixNanos(-7)}};
  value["b"] = {};
  const std::set<int64_t> numbers = {std::numeric_limits<int64_t>::min(), 3};
  KeptWriter writer;
  writer(value, numbers, true, OldThing{-1, "x"});
  const std::string bytes = writer.Take();
  KeptReader reader(bytes);
  decltype(value) read;
  std::set<int64_t> read_numbers;
  bool flag = false;
  OldThing thing;
  reader(read, read_numbers, flag, thing);
  EXPECT_TRUE(reader.ok() && reader.AtEnd());
  EXPECT_EQ(read, value);
  EXPECT_EQ(read_numbers, numbers);
  EXPECT_TRUE(flag);
  EXPECT_EQ(thing.number, -1);
  EXPECT_EQ(thing.text, "x");
}

TEST(KeptStateTest, AnOlderSnapshotLeavesNewMembersAsTheyAreAndANewerOneIsRefused) {
  const std::string old_bytes = Written(OldThing{7, "seven"});
  KeptReader reader(old_bytes);
  NewThing thing;
  reader(thing);
  EXPECT_TRUE(reader.ok());
  EXPECT_EQ(thing.text, "seven");
  EXPECT_EQ(thing.added, 5);

  const std::string new_bytes = Written(NewThing{});
  KeptReader older(new_bytes);
  OldThing old_thing;
  older(old_thing);
  EXPECT_FALSE(older.ok());
}

TEST(KeptStateTest, NoCutAndNoWrongNumberIsReadAsSomethingElse) {
  const std::string bytes = Written(NewThing{7, "seven", 1.5});
  for (size_t size = 1; size < bytes.size(); ++size) {
    KeptReader reader(absl::string_view(bytes).substr(0, size));
    NewThing thing;
    reader(thing);
    EXPECT_FALSE(reader.ok()) << size;
  }
  std::string huge = Written(std::vector<int64_t>{1});
  huge[7] = '\x7f';  // a count beyond all memory
  KeptReader reader(huge);
  std::vector<int64_t> numbers;
  reader(numbers);
  EXPECT_FALSE(reader.ok());
}

// ---------------------------------------------------------------- the coordinator

class CoordinatorSnapshotTest : public CoordinatorHarness {
 protected:
  storage::LogSize Log() const { return *engine_.SizeOf("coordinator"); }
  // From here on a snapshot is due after so many operations.
  void SnapshotEvery(int64_t operations) {
    records_per_snapshot_ = operations;
    Restart();
  }
};

TEST_F(CoordinatorSnapshotTest, ALongLifeLeavesAShortLog) {
  SnapshotEvery(20);
  v1::JobSpec spec = Spec();
  spec.mutable_training()->set_steps(500);
  const std::string id = Run(spec);
  Evaluate(id, true);
  for (int64_t step = 1; step <= 500; ++step) {
    ASSERT_TRUE(ReportStep(id, step).ok());
    EXPECT_LE(Log().last - Log().first + 1, 20);
  }
  EXPECT_GT(Log().last, 500);
  const int64_t before = Log().last;
  Restart();
  EXPECT_EQ(Log().last, before + 1) << "nothing but the restart itself is new";
  EXPECT_EQ(State(id), v1::RUNNING);
  EXPECT_EQ(Get(id, /*steps=*/true).steps_size(), 500);
  EXPECT_EQ(Beat(learner_, id).job().attempt(), 1);
}

TEST_F(CoordinatorSnapshotTest, LeasesWorkersAndEvaluationsGoOnAfterIt) {
  SnapshotEvery(1);
  const std::string id = Run();
  const v1::LeasePromptsResponse asked = Lease(id, 1);
  Report(id, asked.leases(0), v1::PromptResult::EVALUATED, true);
  Restart();
  EXPECT_EQ(Get(id).evaluations(0).total(), 1);
  Report(id, Lease(id, 1).leases(0), v1::PromptResult::EVALUATED, true);
  EXPECT_TRUE(Get(id).evaluations(0).complete());
  const v1::PromptLease lease = Lease(id, 1).leases(0);
  EXPECT_THAT(lease.prompt_json(), HasSubstr("\"id\""));
  clock_.Advance(Options().job.lease * 3);
  Restart();
  Pass(Options().job.lease - absl::Seconds(2));
  Report(id, lease, v1::PromptResult::STORED);
  EXPECT_EQ(Get(id).prompts().stored(), 1);
  Restart();
  const v1::PromptLease next = Lease(id, 1).leases(0);
  EXPECT_NE(next.lease_id(), lease.lease_id());
  EXPECT_NE(next.prompt_index(), lease.prompt_index());
}

TEST_F(CoordinatorSnapshotTest, ASubmissionRepeatedAfterItIsTheSameJobUnderItsOldLimits) {
  SnapshotEvery(1);
  const std::string id = Submit(Spec(), "key");
  RegisterAll();
  driver_.Step();
  records_per_snapshot_ = 10000;
  Restart();
  EXPECT_EQ(Submit(Spec(), "key"), id);
  EXPECT_EQ(Submit(), "add-2");
}

TEST_F(CoordinatorSnapshotTest, TheFilesOfAJobThatIsOverGoWithTheNextOne) {
  const std::string id = Run();
  ASSERT_TRUE(engine_.ReadBodies("coordinator", {0, 1}).ok());
  const std::string other = Submit();
  v1::CancelJobRequest cancel;
  cancel.set_job_id(id);
  ASSERT_TRUE(coordinator_.CancelJob(cancel).ok());
  SnapshotEvery(1);
  EXPECT_EQ(engine_.ReadBodies("coordinator", {0}).status().code(), absl::StatusCode::kNotFound);
  EXPECT_TRUE(engine_.ReadBodies("coordinator", {2, 3}).ok()) << "of the other job";
  Restart();
  EXPECT_EQ(State(id), v1::JOB_CANCELLED);
  driver_.Step();
  EXPECT_EQ(State(other), v1::RUNNING);
}

TEST_F(CoordinatorSnapshotTest, ADamagedOneIsRefusedInWords) {
  SnapshotEvery(1);
  Run();
  storage::Snapshot snapshot = **engine_.ReadSnapshot("coordinator");
  const std::string good = snapshot.state;
  const std::vector<std::string> prompts = *engine_.ReadBodies("coordinator", {0, 1});
  auto restored = [&](const std::string& state) {
    storage::MemoryEngine engine;
    EXPECT_TRUE(engine
                    .Append("coordinator",
                            {.records = {"replaced"}, .bodies = {{0, prompts[0]}, {1, prompts[1]}}})
                    .ok());
    EXPECT_TRUE(engine.WriteSnapshot("coordinator", {.position = 1, .state = state}).ok());
    Coordinator::Deps deps = Deps();
    deps.engine = &engine;
    return Coordinator(Options(), deps).Restore();
  };
  EXPECT_THAT(restored(good.substr(0, good.size() / 2)).message(), HasSubstr("snapshot"));
  EXPECT_EQ(restored(good.substr(0, good.size() - 1)).code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(restored(good + "x").code(), absl::StatusCode::kDataLoss);
  std::string other_format = good;
  other_format[0] = 2;
  EXPECT_THAT(restored(other_format).message(), HasSubstr("format 2"));
  std::string other_digest = good;
  other_digest[8] = static_cast<char>(other_digest[8] + 1);
  EXPECT_THAT(restored(other_digest).message(), HasSubstr("leads to other jobs"));
}

}  // namespace
}  // namespace dtrpo::coordinator
