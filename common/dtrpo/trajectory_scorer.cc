#include "common/dtrpo/trajectory_scorer.h"

#include <utility>
#include <vector>

#include "common/base/status_macros.h"
#include "common/dtrpo/remask.h"
#include "common/dtrpo/whole_states.h"
#include "common/model/device.h"
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
torch::Tensor ScoreBatch(const model::Transformer& model, RemaskedBatch batch) {
  batch.rows.output_rows = std::move(batch.target_rows);
  const torch::Tensor hidden = model.Forward(batch.rows);
  const torch::Tensor targets = model::IndexTensor(batch.target_tokens, hidden.device());
  return model::TargetLogProbs(model, hidden, targets, model.descriptor().mask_id);
}

}  // namespace

absl::StatusOr<torch::Tensor> ScoreTargets(const model::Transformer& model,
                                           absl::Span<const ScoreInput> inputs,
                                           trajectory::Boundary boundary) {
  DTRPO_ASSIGN_OR_RETURN(std::vector<RemaskedBatch> batches,
                         LayOut(model.descriptor(), inputs, boundary));
  return model::TorchBoundary([&] {
    std::vector<torch::Tensor> scores;
    for (RemaskedBatch& batch : batches) {
      if (!batch.target_rows.empty()) scores.push_back(ScoreBatch(model, std::move(batch)));
    }
    return scores.empty() ? torch::zeros({0}, torch::device(model.device())) : torch::cat(scores);
  });
}

}  // namespace dtrpo::objective
