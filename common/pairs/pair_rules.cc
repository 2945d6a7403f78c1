#include "common/pairs/pair_rules.h"

#include <variant>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/trajectory/unmask_spec.h"

namespace dtrpo::pairs {

absl::StatusOr<trajectory::CanvasRules> CanvasRulesOf(const checkpoint::ModelDescriptor& descriptor,
                                                      const checkpoint::ModelConfig& config,
                                                      const job::JobSpec& job) {
  const bool bidirectional = descriptor.attention == checkpoint::Attention::kBidirectional;
  if (descriptor.block_size < 1 && !bidirectional) {
    return absl::InvalidArgumentError("block_size: the model has none; give one");
  }
  trajectory::CanvasRules rules;
  rules.block_size = descriptor.block_size;
  rules.block_origin =
      bidirectional ? trajectory::BlockOrigin::kResponse : trajectory::BlockOrigin::kAbsolute;
  rules.first_tokens = descriptor.logit_shift == 1 && !bidirectional;
  rules.mask_id = descriptor.mask_id;
  rules.stop_ids = descriptor.stop_ids;
  rules.vocabulary_size = descriptor.vocab_size;
  rules.max_prompt_tokens = job.data.max_prompt_tokens;
  rules.max_new_tokens = job.sampling.max_new_tokens;
  rules.max_positions = config.max_position_embeddings;
  const int32_t block = rules.block_size > 0 ? rules.block_size : rules.max_new_tokens;
  if (job.sampling.sub_block > block) {
    return absl::InvalidArgumentError(absl::StrCat("sub_block ", job.sampling.sub_block,
                                                   ": is larger than the block of ", block));
  }
  return rules;
}

absl::StatusOr<trajectory::SyntheticOrder> OrderOf(const job::JobSpec& job) {
  DTRPO_ASSIGN_OR_RETURN(const trajectory::OrderKind kind,
                         trajectory::ParseOrderKind(job.data.pairs_order));
  DTRPO_ASSIGN_OR_RETURN(const trajectory::UnmaskSpec unmask,
                         trajectory::ParseUnmaskSpec(job.sampling.unmask));
  const auto* const steps = std::get_if<trajectory::StepsSpec>(&unmask);
  return trajectory::SyntheticOrder{.kind = kind,
                                    .steps = steps == nullptr ? 0 : steps->steps,
                                    .sub_block = job.sampling.sub_block,
                                    .seed = job.seed};
}

}  // namespace dtrpo::pairs
