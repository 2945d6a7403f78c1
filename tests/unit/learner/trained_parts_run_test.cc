// Jobs that train a part of the model, as one learner runs them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/base/fake_metrics.h"
#include "services/learner/learner_run.h"
#include "tests/unit/learner/fake_peers.h"

namespace dtrpo::learner {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::StartsWith;

class TrainedPartsRunTest : public ::testing::Test {
 protected:
  TrainedPartsRunTest() : folder_(support::TestFolder()), base_(folder_ + "/base") {
    support::WriteTinyCheckpoint(base_);
    spec_.model.path = base_;
    spec_.output = folder_ + "/out";
    spec_.training.steps = 5;
    spec_.training.pairs_per_batch = 2;
    spec_.training.learning_rate = 1e-3;
    spec_.training.publish_every = 2;
    spec_.training.checkpoint_every = 3;
  }

  std::unique_ptr<FakePeers> MakePeers() const {
    auto peers = std::make_unique<FakePeers>(support::LoadModel(base_));
    peers->publish_every = spec_.training.publish_every;
    return peers;
  }

  // To the job's end, or to a drain at step `stop`.
  void Run(FakePeers& peers, const std::string& resume = "", int64_t stop = 0) {
    LearnerRun run({.job_id = "job",
                    .job_hash = "hash",
                    .attempt = resume.empty() ? 1 : 2,
                    .spec = spec_,
                    .resume_checkpoint = resume},
                   {.peers = &peers,
                    .publish = [](const std::shared_ptr<const weights::Image>&) {},
                    .files = base::PosixFileSystem(),
                    .clock = base::RealClock(),
                    .waits = &waits_,
                    .metrics = &metrics_});
    const std::string report = absl::StrCat("step ", stop, " at");
    peers.on_call = [&](const std::string& call) {
      if (stop > 0 && absl::StartsWith(call, report)) run.SetDesired(Desired::kDrain);
      return absl::OkStatus();
    };
    EXPECT_TRUE(run.Run().ok());
    peers.on_call = nullptr;
  }

  static std::string Read(const std::string& folder, const std::string& name) {
    const auto content = base::PosixFileSystem()->Read(base::JoinPath(folder, name));
    EXPECT_TRUE(content.ok()) << content.status();
    return content.value_or("");
  }

  const std::string folder_, base_;
  job::JobSpec spec_;
  base::FakeMetrics registry_;
  LearnerMetrics metrics_{&registry_};
  base::WaitStateRegistry waits_;
};

// Adapters merged or alone, and a group of tensors: pushed alone, resumed to the last bit.
TEST_F(TrainedPartsRunTest, AJobOfTrainedPartsGoesOnToTheLastBitAndPushesThemAlone) {
  for (const std::string what : {"merged", "adapter", "group"}) {
    for (const char* dtype : {"float32", "bfloat16"}) {
      SCOPED_TRACE(absl::StrCat(what, ", ", dtype));
      const bool group = what == "group";
      spec_.model.dtype = dtype;
      spec_.training.trainable =
          group ? std::vector<std::string>{"*.mlp.*"} : std::vector<std::string>();
      spec_.training.lora = {};
      if (!group)
        spec_.training.lora = {.rank = 2, .alpha = 3, .targets = {"v_proj"}, .save = what};
      spec_.output = absl::StrCat(folder_, "/", what, dtype);
      const auto unstopped = MakePeers();
      Run(*unstopped);
      ASSERT_EQ(unstopped->calls().back(), "finished 5: all steps made");
      const std::string whole = unstopped->last_checkpoint();
      for (const weights::Manifest& manifest : unstopped->manifests()) {
        EXPECT_EQ(manifest.base_sha256.size(), 64u);
        EXPECT_EQ(manifest.base_sha256, unstopped->manifests()[0].base_sha256);
        for (const weights::TensorSpec& tensor : manifest.tensors) {
          EXPECT_THAT(tensor.name, HasSubstr(group ? ".mlp." : ".v_proj.lora_"));
        }
      }

      spec_.output += "-stopped";
      const auto peers = MakePeers();
      Run(*peers, "", /*stop=*/2);
      const std::string checkpoint = peers->last_checkpoint();
      const std::string weights =
          what == "adapter" ? "adapter_model.safetensors" : "model.safetensors";
      EXPECT_NE(Read(checkpoint, weights), Read(whole, weights));  // there is something to resume
      const auto rest = MakePeers();
      Run(*rest, checkpoint);
      EXPECT_EQ(rest->calls().back(), "finished 5: all steps made");
      for (const std::string& name :
           {weights, std::string("optimizer.safetensors"), std::string("training_state.json")}) {
        EXPECT_EQ(Read(rest->last_checkpoint(), name), Read(whole, name)) << name;
      }
      EXPECT_EQ(rest->manifests().back().sha256, unstopped->manifests().back().sha256);
    }
  }
}

TEST_F(TrainedPartsRunTest, ACheckpointOfOtherTrainedPartsIsRefusedWithWords) {
  spec_.training.lora = {.rank = 2, .alpha = 3, .targets = {"v_proj"}, .save = "merged"};
  const auto first = MakePeers();
  Run(*first, "", /*stop=*/1);
  const std::string checkpoint = first->last_checkpoint();
  std::vector<std::pair<job::LoraSpec, std::string>> others;
  for (int i = 0; i < 3; ++i) others.emplace_back(spec_.training.lora, "");
  others[0].first.rank = 4;
  others[0].second = "LoRA rank 4, alpha 3, targets v_proj";
  others[1].first.alpha = 8;
  others[1].second = "LoRA rank 2, alpha 8, targets v_proj";
  others[2].first = {};
  others[2].second = "trains all tensors";
  for (const auto& [lora, words] : others) {
    spec_.training.lora = lora;
    const auto peers = MakePeers();
    Run(*peers, checkpoint);
    EXPECT_THAT(peers->calls(),
                ElementsAre(AllOf(StartsWith("failed "), HasSubstr(checkpoint),
                                  HasSubstr("trains LoRA rank 2, alpha 3, targets v_proj"),
                                  HasSubstr(words))));
  }
}

}  // namespace
}  // namespace dtrpo::learner
