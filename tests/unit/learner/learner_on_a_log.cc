// A learner process that exact_resume_test.cc kills: the real run on the real disk, with the
// services it talks to inside the process. Their batches are a function of their numbers, as those
// of a recorded log are, and what coordinator and replay must remember is in files:
//
//   FOLDER/base         the model; FOLDER/out: the job's output
//   FOLDER/registered   the checkpoint that the coordinator knows
//   FOLDER/acknowledged up to which batch replay has forgotten
//   FOLDER/attempts     how many there were
//   FOLDER/finished     the last word
//
//   learner_on_a_log FOLDER DTYPE      DTRPO_FAULT_POINTS arms fault points
//
// Exit code 0: the run came to its own end.
#include <cstdio>
#include <memory>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
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

class Memory {
 public:
  explicit Memory(std::string folder) : folder_(std::move(folder)) {}

  std::string Get(const std::string& name) const {
    const auto value = base::ReadIfThere(base::PosixFileSystem(), base::JoinPath(folder_, name));
    DTRPO_CHECK_OK(value);
    return value->value_or("");
  }
  int64_t Number(const std::string& name) const {
    int64_t number = 0;
    const std::string text = Get(name);
    DTRPO_CHECK(text.empty() || absl::SimpleAtoi(text, &number)) << name << ": " << text;
    return number;
  }
  void Set(const std::string& name, const std::string& value) const {
    DTRPO_CHECK_OK(
        base::WriteFileAtomically(base::PosixFileSystem(), base::JoinPath(folder_, name), value));
  }

 private:
  const std::string folder_;
};

int Main(const std::string& folder, const std::string& dtype) {
  DTRPO_CHECK_OK(base::ArmFaultPointsFromEnvironment());
  model::SetThreads(1);
  const Memory memory(folder);
  const auto attempt = static_cast<int32_t>(memory.Number("attempts") + 1);
  memory.Set("attempts", absl::StrCat(attempt));

  FakePeers peers(support::LoadModel(folder + "/base"));
  peers.publish_every = 2;
  peers.on_call = [&](const std::string& call) -> absl::Status {
    const std::pair<std::string, std::string> words = absl::StrSplit(call, absl::MaxSplits(' ', 1));
    if (words.first == "checkpoint") memory.Set("registered", peers.last_checkpoint());
    if (words.first == "acknowledge") memory.Set("acknowledged", words.second);
    if (words.first == "finished" || words.first == "failed") memory.Set("finished", call);
    int64_t batch = 0;
    if (words.first == "batch" && absl::SimpleAtoi(words.second, &batch) &&
        batch <= memory.Number("acknowledged")) {
      return absl::InvalidArgumentError(absl::StrCat(call, " was acknowledged and is forgotten"));
    }
    return absl::OkStatus();
  };

  job::JobSpec spec;
  spec.model.path = folder + "/base";
  spec.model.dtype = dtype;
  spec.output = folder + "/out";
  spec.training.steps = 9;
  spec.training.pairs_per_batch = 2;
  spec.training.micro_batch_pairs = 1;
  spec.training.learning_rate = 1e-3;
  spec.training.warmup_steps = 2;
  spec.training.schedule = job::Schedule::kCosine;
  spec.training.weight_decay = 0.1;
  spec.training.publish_every = 2;
  spec.training.checkpoint_every = 2;
  spec.training.keep_checkpoints = 2;
  base::FakeMetrics registry;
  const LearnerMetrics metrics(&registry);
  base::WaitStateRegistry waits;
  LearnerRun run({.job_id = "job",
                  .job_hash = "hash",
                  .attempt = attempt,
                  .spec = spec,
                  .resume_checkpoint = memory.Get("registered")},
                 {.peers = &peers,
                  .publish = [](const std::shared_ptr<const weights::Image>&) {},
                  .files = base::PosixFileSystem(),
                  .clock = base::RealClock(),
                  .waits = &waits,
                  .metrics = &metrics});
  DTRPO_CHECK_OK(run.Run());
  return memory.Get("finished") == "finished 9: all steps made" ? 0 : 1;
}

}  // namespace
}  // namespace dtrpo::learner

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fprintf(stderr, "usage: learner_on_a_log FOLDER DTYPE\n");
    return 2;
  }
  return dtrpo::learner::Main(argv[1], argv[2]);
}
