// Thread safety: one thread. `dtrpo score`: log-probabilities of recorded trajectories under a
// model, exactly or by dTRPO's estimate, one JSON line each.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/types/span.h"
#include "common/trajectory/mask_plan.h"
#include "common/trajectory/trajectory.h"
#include "tools/dtrpo/model_options.h"
#include "tools/dtrpo/subcommand.h"

namespace dtrpo::tools {

class ScoreCommand : public Subcommand {
 public:
  const char* name() const override { return "score"; }
  const char* summary() const override { return "log-probabilities of recorded trajectories"; }
  void AddOptions(CLI::App* app) override;
  absl::Status Run() override;

 private:
  absl::StatusOr<std::vector<trajectory::Trajectory>> ReadTrajectories(
      const checkpoint::ModelDescriptor& descriptor) const;
  // JSON lines of trajectories that share a forward.
  absl::StatusOr<std::string> ScoreLines(const model::Transformer& model,
                                         absl::Span<const trajectory::Trajectory> part) const;
  int64_t Rows(const trajectory::Trajectory& t) const;

  ModelOptions model_;
  std::string input_path_;
  std::string output_path_;
  std::string objective_ = "dtrpo";
  std::string draw_from_;  // empty: what suits the model's attention
  trajectory::MaskPlanOptions plan_;
};

}  // namespace dtrpo::tools
