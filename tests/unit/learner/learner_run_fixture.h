// Not thread-safe. A LearnerRun on a tiny model with peers that are a fake.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/base/fake_metrics.h"
#include "services/learner/learner_run.h"
#include "tests/unit/learner/fake_peers.h"

namespace dtrpo::learner {

inline constexpr char kJob[] = "job";  // of TinyPair

class LearnerRunTest : public ::testing::Test {
 protected:
  LearnerRunTest() : folder_(support::TestFolder()), base_(folder_ + "/base") {
    support::WriteTinyCheckpoint(base_);
    spec_.model.path = base_;
    spec_.output = folder_ + "/out";
    spec_.training.steps = 5;
    spec_.training.pairs_per_batch = 2;
    spec_.training.learning_rate = 1e-2;
    spec_.training.publish_every = 2;
    spec_.training.checkpoint_every = 3;
    peers_ = MakePeers();
  }

  std::unique_ptr<FakePeers> MakePeers() {
    auto peers = std::make_unique<FakePeers>(support::LoadModel(base_));
    peers->publish_every = spec_.training.publish_every;
    return peers;
  }

  // The run of `attempt`; its calls are those of the peers, and "published v".
  std::unique_ptr<LearnerRun> MakeRun(FakePeers& peers, const std::string& resume = "",
                                      int32_t attempt = 1, int64_t resume_step = 0) {
    return std::make_unique<LearnerRun>(
        LearnerRun::Options{.job_id = kJob,
                            .job_hash = "hash",
                            .attempt = attempt,
                            .spec = spec_,
                            .resume_checkpoint = resume,
                            .resume_step = resume_step},
        LearnerRun::Deps{.peers = &peers,
                         .publish =
                             [&peers](const std::shared_ptr<const weights::Image>& image) {
                               peers.Note(absl::StrCat("published ", image->manifest().version));
                             },
                         .files = base::PosixFileSystem(),
                         .clock = base::RealClock(),
                         .waits = &waits_,
                         .metrics = &metrics_});
  }

  // Trains up to step `step` and drains there; returns the checkpoint.
  std::string TrainUpTo(int64_t step, FakePeers& peers, const std::string& resume = "",
                        int32_t attempt = 1) {
    const std::unique_ptr<LearnerRun> run = MakeRun(peers, resume, attempt);
    const std::string report = absl::StrCat("step ", step, " at");
    peers.on_call = [&](const std::string& call) {
      if (absl::StartsWith(call, report)) run->SetDesired(Desired::kDrain);
      return absl::OkStatus();
    };
    EXPECT_TRUE(run->Run().ok());
    peers.on_call = nullptr;
    return peers.last_checkpoint();
  }

  static std::string Read(const std::string& folder, const std::string& name) {
    const auto content = base::PosixFileSystem()->Read(base::JoinPath(folder, name));
    EXPECT_TRUE(content.ok()) << content.status();
    return content.value_or("");
  }

  // Fails every call that begins so with `status`.
  static std::function<absl::Status(const std::string&)> Fail(const std::string& prefix,
                                                              absl::Status status) {
    return [=](const std::string& call) {
      return absl::StartsWith(call, prefix) ? status : absl::OkStatus();
    };
  }

  const std::string folder_, base_;
  job::JobSpec spec_;
  base::FakeMetrics registry_;
  LearnerMetrics metrics_{&registry_};
  base::WaitStateRegistry waits_;
  std::unique_ptr<FakePeers> peers_;
};

}  // namespace dtrpo::learner
