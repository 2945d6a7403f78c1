// Losses and gradients of objectives on random masks against an independent twin in PyTorch
// (tests/golden/make_objective_fixtures.py): masks, weights, one-forward scores, losses, autograd.
#include <gtest/gtest.h>
#include <torch/types.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/checkpoint/checkpoint_folder.h"
#include "common/dtrpo/preference_loss.h"
#include "common/dtrpo/trajectory_scorer.h"
#include "nlohmann/json.hpp"

namespace dtrpo::objective {
namespace {

using nlohmann::json;
using trajectory::MaskPlan;
using trajectory::Trajectory;

const char kGolden[] = DTRPO_SOURCE_DIR "/tests/golden/";

std::unique_ptr<model::Transformer> Load(const std::string& name, bool requires_grad) {
  const auto folder = checkpoint::CheckpointFolder::Open(absl::StrCat(kGolden, "model/", name), {});
  EXPECT_TRUE(folder.ok()) << folder.status();
  auto model =
      model::Transformer::Load(*folder, {.dtype = torch::kFloat64, .requires_grad = requires_grad});
  EXPECT_TRUE(model.ok()) << model.status();
  return *std::move(model);
}

// The twin's norms are float32.
void ExpectSame(double value, double golden, const std::string& what) {
  EXPECT_NEAR(value, golden, 2e-4 * std::max(1.0, std::abs(golden))) << what;
}

class ObjectiveGoldenTest : public ::testing::Test {
 protected:
  ObjectiveGoldenTest()
      : golden_(json::parse(std::ifstream(absl::StrCat(kGolden, "objectives.json")))) {}

  Trajectory Answer(const std::string& side) const {
    const json& answer = golden_["answers"][side];
    Trajectory t;
    t.id = absl::StrCat("golden/", side);
    t.external = true;
    t.block_size = golden_["block_size"];
    t.prompt_tokens = golden_["prompt_tokens"].get<std::vector<int32_t>>();
    t.response_tokens = answer["response_tokens"].get<std::vector<int32_t>>();
    t.unmask_step = answer["unmask_step"].get<std::vector<int32_t>>();
    t.stop_index = answer["stop_index"];
    t.sampler.max_new_tokens = 16;
    return t;
  }

  MaskPlan Plan(const Trajectory& t, const std::string& kind) const {
    return MakeMaskPlan(t,
                        {.job_seed = golden_["job_seed"],
                         .kind = *trajectory::ParsePlanKind(kind),
                         .draws = kind == "vrpo" ? 4 : 1},
                        golden_["use_index"]);
  }

  const json golden_;
};

TEST_F(ObjectiveGoldenTest, MasksAreThoseOfTheTwin) {
  for (const std::string kind : {"vrpo", "random_mask"}) {
    for (const std::string side : {"chosen", "rejected"}) {
      json masks = json::array();
      for (const trajectory::BlockPlan& block : Plan(Answer(side), kind).blocks) {
        masks.push_back(json::array());
        for (const auto& state : block.states) masks.back().push_back(state.targets);
      }
      EXPECT_EQ(masks, golden_["masks"][absl::StrCat(kind, "/", side)]);
    }
  }
}

TEST_F(ObjectiveGoldenTest, LossesAndGradientsAreThoseOfTheTwin) {
  const auto policy = Load(golden_["policy"], true), reference = Load(golden_["reference"], false);
  const trajectory::PreferencePair pair = {
      .id = "golden", .chosen = Answer("chosen"), .rejected = Answer("rejected")};
  ASSERT_EQ(golden_["cases"].size(), 6u);
  for (const json& c : golden_["cases"]) {
    const std::string kind = c["kind"], loss_kind = c["loss_kind"];
    SCOPED_TRACE(kind + " " + loss_kind);
    job::ObjectiveSpec objective;
    objective.beta = golden_["beta"];
    objective.sft_weight = 0;
    if (loss_kind == "ipo") objective.loss = job::PreferenceLossKind::kIpo;
    if (loss_kind == "smoothed") objective.label_smoothing = 0.1;
    const MaskPlan plans[] = {Plan(pair.chosen, kind), Plan(pair.rejected, kind)};
    const PairInput input = {&pair, &plans[0], &plans[1]};
    const std::vector<ScoreInput> inputs = ScoreInputs({&input, 1});
    const auto p = ScoreTargets(*policy, inputs, trajectory::Boundary::kClean);
    const auto r = ScoreTargets(*reference, inputs, trajectory::Boundary::kClean);
    ASSERT_TRUE(p.ok() && r.ok()) << p.status() << r.status();
    const auto loss = ComputePreferenceLoss({&input, 1}, *p, *r, objective, 1);
    ASSERT_TRUE(loss.ok()) << loss.status();
    ExpectSame(loss->pairs[0].log_ratio_chosen, c["log_ratio_chosen"], "log_ratio_chosen");
    ExpectSame(loss->pairs[0].log_ratio_rejected, c["log_ratio_rejected"], "log_ratio_rejected");
    ExpectSame(loss->loss.item<double>(), c["loss"], "loss");

    for (torch::Tensor& parameter : policy->Parameters())
      parameter.mutable_grad() = torch::Tensor();
    loss->loss.backward();
    size_t compared = 0;
    for (const auto& [name, parameter] : policy->NamedParameters()) {
      ASSERT_TRUE(c["gradients"].contains(name)) << name;
      const torch::Tensor gradient = parameter.grad().flatten();
      const torch::Tensor cosines = torch::arange(gradient.numel(), torch::kFloat64).cos();
      ExpectSame(gradient.norm().item<double>(), c["gradients"][name][0], name);
      ExpectSame((gradient * cosines).sum().item<double>(), c["gradients"][name][1], name);
      ++compared;
    }
    EXPECT_EQ(compared, c["gradients"].size());
  }
}

}  // namespace
}  // namespace dtrpo::objective
