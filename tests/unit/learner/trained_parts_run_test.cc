// Jobs that train a part of the model, as one learner runs them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "tests/unit/learner/learner_run_fixture.h"

namespace dtrpo::learner {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::StartsWith;

class TrainedPartsRunTest : public LearnerRunTest {
 protected:
  TrainedPartsRunTest() { spec_.training.learning_rate = 1e-3; }

  // To the job's end.
  void Run(FakePeers& peers, const std::string& resume = "") {
    EXPECT_TRUE(MakeRun(peers, resume, /*attempt=*/resume.empty() ? 1 : 2)->Run().ok());
  }
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
      const std::string checkpoint = TrainUpTo(2, *MakePeers());
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
  const std::string checkpoint = TrainUpTo(1, *peers_);
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
