#include "common/dtrpo/trajectory_scorer.h"

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/model/target_log_probs.h"
#include "common/model/torch_boundary.h"

namespace dtrpo::objective {

absl::StatusOr<torch::Tensor> ScoreTargets(const model::Transformer& model,
                                           absl::Span<const ScoreInput> inputs,
                                           trajectory::Boundary boundary) {
  const checkpoint::ModelDescriptor& descriptor = model.descriptor();
  if (descriptor.attention != checkpoint::Attention::kBlockCausal) {
    return absl::UnimplementedError(
        absl::StrCat("family '", descriptor.family,
                     "': scoring needs block-causal attention; with bidirectional attention states "
                     "of different blocks can't share a forward"));
  }
  RemaskOptions options;
  options.mask_id = descriptor.mask_id;
  options.vocabulary_size = descriptor.vocab_size;
  options.logit_shift = descriptor.logit_shift;
  options.boundary = boundary;
  DTRPO_ASSIGN_OR_RETURN(const RemaskedBatch batch, Remask(inputs, options));
  return model::TorchBoundary([&] {
    if (batch.target_rows.empty()) return torch::zeros({0});
    const torch::Tensor hidden = model.Forward(batch.rows);
    const auto index = [&](const std::vector<int64_t>& values) {
      return torch::tensor(values, torch::kInt64).to(hidden.device());
    };
    return model::TargetLogProbs(model, hidden.index_select(0, index(batch.target_rows)),
                                 index(batch.target_tokens), descriptor.mask_id);
  });
}

}  // namespace dtrpo::objective
