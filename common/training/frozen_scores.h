// Thread safety: one thread at a time.
//
// Log-probabilities that a model which never changes gives to planned states: the reference of a
// training in one process. A state is scored once: its score depends on nothing but trajectory,
// block and step, so it serves every later plan that draws it, and once all states of a pair were
// drawn the pair costs no more forwards. What is kept is 4 bytes a target of the states seen.
//
// With Boundary::kNoisy a block-first term depends on what else was drawn, and random masks are new
// each time; then nothing is kept.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <tuple>
#include <unordered_map>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "common/dtrpo/score_input.h"
#include "common/model/transformer.h"
#include "common/trajectory/mask_plan.h"

namespace dtrpo::training {

class FrozenScores {
 public:
  struct Options {
    trajectory::Boundary boundary = trajectory::Boundary::kClean;
    int64_t max_rows = 1 << 13;  // trajectories share a forward while their rows stay within this
  };
  // `model` outlives this.
  FrozenScores(const model::Transformer* model, const Options& options)
      : model_(model), options_(options) {}

  // Of each input's targets, in plan order. Trajectories with one id must be the same.
  absl::StatusOr<std::vector<std::vector<float>>> Score(
      absl::Span<const objective::ScoreInput> inputs);

  int64_t scored_states() const { return scored_states_; }  // by forwards, all calls together

 private:
  // (block, step, draw). Step 0: draw -1 is the block-first token, the others are random masks.
  using StateKey = std::tuple<int64_t, int32_t, int64_t>;
  using TrajectoryScores = std::map<StateKey, std::vector<float>>;

  // The part of the plan that isn't in `known`.
  static trajectory::MaskPlan Missing(const trajectory::MaskPlan& plan,
                                      const TrajectoryScores& known);
  absl::Status ScoreMissing(absl::Span<const objective::ScoreInput> inputs,
                            absl::Span<TrajectoryScores* const> known);

  const model::Transformer* const model_;
  const Options options_;
  std::unordered_map<std::string, TrajectoryScores> known_;  // by trajectory id
  int64_t scored_states_ = 0;
};

}  // namespace dtrpo::training
