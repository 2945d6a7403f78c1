#include "common/dtrpo/trajectory_scorer.h"

#include <utility>
#include <vector>

#include "common/base/status_macros.h"
#include "common/dtrpo/remask.h"
#include "common/dtrpo/whole_states.h"
#include "common/model/target_log_probs.h"
#include "common/model/torch_boundary.h"

namespace dtrpo::objective {
namespace {

absl::StatusOr<std::vector<RemaskedBatch>> LayOut(const checkpoint::ModelDescriptor& descriptor,
                                                  absl::Span<const ScoreInput> inputs,
                                                  trajectory::Boundary boundary) {
  if (descriptor.attention == checkpoint::Attention::kBidirectional) {
    return LayOutWholeStates(inputs, {.mask_id = descriptor.mask_id,
                                      .vocabulary_size = descriptor.vocab_size,
                                      .logit_shift = descriptor.logit_shift});
  }
  DTRPO_ASSIGN_OR_RETURN(RemaskedBatch batch,
                         Remask(inputs, {.mask_id = descriptor.mask_id,
                                         .vocabulary_size = descriptor.vocab_size,
                                         .logit_shift = descriptor.logit_shift,
                                         .boundary = boundary}));
  std::vector<RemaskedBatch> batches;
  batches.push_back(std::move(batch));
  return batches;
}

// [targets of the batch].
torch::Tensor ScoreBatch(const model::Transformer& model, const RemaskedBatch& batch) {
  const torch::Tensor hidden = model.Forward(batch.rows);
  const auto index = [&](const std::vector<int64_t>& values) {
    return torch::tensor(values, torch::kInt64).to(hidden.device());
  };
  return model::TargetLogProbs(model, hidden.index_select(0, index(batch.target_rows)),
                               index(batch.target_tokens), model.descriptor().mask_id);
}

}  // namespace

absl::StatusOr<torch::Tensor> ScoreTargets(const model::Transformer& model,
                                           absl::Span<const ScoreInput> inputs,
                                           trajectory::Boundary boundary) {
  DTRPO_ASSIGN_OR_RETURN(const std::vector<RemaskedBatch> batches,
                         LayOut(model.descriptor(), inputs, boundary));
  return model::TorchBoundary([&] {
    std::vector<torch::Tensor> scores;
    for (const RemaskedBatch& batch : batches) {
      if (!batch.target_rows.empty()) scores.push_back(ScoreBatch(model, batch));
    }
    return scores.empty() ? torch::zeros({0}) : torch::cat(scores);
  });
}

}  // namespace dtrpo::objective
