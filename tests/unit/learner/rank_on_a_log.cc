// A rank of a learner that exact_resume_ranks_test.cc kills: the real run on the real disk, joined
// with the others over Gloo, with the services it talks to inside the process. Batches are a
// function of their numbers, as those of a recorded log are; FOLDER/registered is the checkpoint
// that the coordinator knows, FOLDER/finished the last word of rank 0.
//
//   rank_on_a_log FOLDER RANK WORLD STORE ATTEMPT      DTRPO_FAULT_POINTS arms fault points
//
// Exit code 0: the run came to its own end; 3: the ranks lost each other, which is said in
// FOLDER/lost-<rank>.
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/base/atomic_file.h"
#include "common/base/check.h"
#include "common/base/fake_metrics.h"
#include "common/base/fault_points.h"
#include "common/base/file_system.h"
#include "common/model/torch_runtime.h"
#include "services/learner/learner_run.h"
#include "tests/unit/learner/fake_peers.h"

namespace dtrpo::learner {
namespace {

// Gives the rank its slice of each batch.
class RankPeers : public FakePeers {
 public:
  RankPeers(const std::string& base, int rank, int world)
      : FakePeers(support::LoadModel(base)), rank_(rank), world_(world) {}
  absl::StatusOr<wire::Batch> GetBatch(int64_t step, absl::Time deadline) override {
    absl::StatusOr<wire::Batch> batch = FakePeers::GetBatch(step, deadline);
    if (!batch.ok()) return batch;
    auto& items = batch->items;
    const auto count = static_cast<int64_t>(items.size());
    items.erase(items.begin() + count * (rank_ + 1) / world_, items.end());
    items.erase(items.begin(), items.begin() + count * rank_ / world_);
    return batch;
  }

 private:
  const int rank_, world_;
};

void Write(const std::string& folder, const std::string& name, const std::string& value) {
  DTRPO_CHECK_OK(
      base::WriteFileAtomically(base::PosixFileSystem(), base::JoinPath(folder, name), value));
}

int Main(const std::string& folder, int rank, int world, const std::string& store, int attempt) {
  DTRPO_CHECK_OK(base::ArmFaultPointsFromEnvironment());
  model::SetThreads(1);
  RankPeers peers(folder + "/base", rank, world);
  peers.pairs_per_batch = 3;
  peers.publish_every = 2;
  peers.on_call = [&](const std::string& call) -> absl::Status {
    if (absl::StartsWith(call, "checkpoint")) Write(folder, "registered", peers.last_checkpoint());
    if (absl::StartsWith(call, "finished") || absl::StartsWith(call, "failed")) {
      Write(folder, "finished", call);
    }
    return absl::OkStatus();
  };
  job::JobSpec spec;
  spec.model.path = folder + "/base";
  spec.output = folder + "/out";
  spec.training.steps = 7;
  spec.training.pairs_per_batch = 3;
  spec.training.micro_batch_pairs = 1;
  spec.training.learning_rate = 1e-3;
  spec.training.schedule = job::Schedule::kCosine;
  spec.training.weight_decay = 0.1;
  spec.training.publish_every = 2;
  spec.training.checkpoint_every = 2;
  collectives::ProcessGroup group(
      {.rank = rank, .world = world, .name = absl::StrCat("job/", attempt), .store = store});
  base::FakeMetrics registry;
  const LearnerMetrics metrics(&registry);
  base::WaitStateRegistry waits;
  const auto registered =
      base::ReadIfThere(base::PosixFileSystem(), base::JoinPath(folder, "registered"));
  DTRPO_CHECK_OK(registered);
  LearnerRun run({.job_id = "job",
                  .job_hash = "hash",
                  .attempt = attempt,
                  .spec = spec,
                  .resume_checkpoint = registered->value_or("")},
                 {.peers = &peers,
                  .publish = [](const std::shared_ptr<const weights::Image>&) {},
                  .files = base::PosixFileSystem(),
                  .clock = base::RealClock(),
                  .waits = &waits,
                  .metrics = &metrics,
                  .group = &group});
  const absl::Status ended = run.Run();
  if (ended.ok()) return 0;
  Write(folder, absl::StrCat("lost-", rank), std::string(ended.message()));
  return 3;
}

}  // namespace
}  // namespace dtrpo::learner

int main(int argc, char** argv) {
  if (argc != 6) {
    std::fprintf(stderr, "usage: rank_on_a_log FOLDER RANK WORLD STORE ATTEMPT\n");
    return 2;
  }
  // A group that is broken may leave threads behind.
  std::_Exit(dtrpo::learner::Main(argv[1], std::atoi(argv[2]), std::atoi(argv[3]), argv[4],
                                  std::atoi(argv[5])));
}
