#include "tools/dtrpo/pair_data.h"

#include <utility>
#include <variant>

#include "absl/strings/str_cat.h"
#include "common/base/file_system.h"
#include "common/base/status_macros.h"
#include "common/trajectory/unmask_spec.h"

namespace dtrpo::tools {

absl::StatusOr<trajectory::CanvasRules> CanvasRulesOf(const checkpoint::CheckpointFolder& folder,
                                                      const job::JobSpec& job) {
  const checkpoint::ModelDescriptor& descriptor = folder.descriptor();
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
  rules.max_positions = folder.config().max_position_embeddings;
  const int32_t block = rules.block_size > 0 ? rules.block_size : rules.max_new_tokens;
  if (job.sampling.sub_block > block) {
    return absl::InvalidArgumentError(absl::StrCat("sub_block ", job.sampling.sub_block,
                                                   ": is larger than the block of ", block));
  }
  return rules;
}

absl::StatusOr<trajectory::SyntheticOrder> OrderOf(const job::JobSpec& job,
                                                   trajectory::OrderKind kind) {
  DTRPO_ASSIGN_OR_RETURN(const trajectory::UnmaskSpec unmask,
                         trajectory::ParseUnmaskSpec(job.sampling.unmask));
  const auto* const steps = std::get_if<trajectory::StepsSpec>(&unmask);
  return trajectory::SyntheticOrder{.kind = kind,
                                    .steps = steps == nullptr ? 0 : steps->steps,
                                    .sub_block = job.sampling.sub_block,
                                    .seed = job.seed};
}

absl::StatusOr<PairData> ReadPairFile(const std::string& path, const text::PromptEncoder& encoder,
                                      const trajectory::CanvasRules& rules,
                                      const trajectory::SyntheticOrder& order,
                                      double heldout_share) {
  DTRPO_ASSIGN_OR_RETURN(const std::string content, base::PosixFileSystem()->Read(path));
  PairData data;
  const auto accept = [&](text::Preference preference) -> absl::Status {
    const trajectory::ExternalPair pair{
        absl::StrCat("line/", preference.line), std::move(preference.prompt_tokens),
        std::move(preference.chosen_tokens), std::move(preference.rejected_tokens)};
    DTRPO_ASSIGN_OR_RETURN(trajectory::PreferencePair made,
                           trajectory::MakeExternalPair(pair, rules, order));
    const bool heldout = trajectory::IsHeldOut(pair.prompt_tokens, order.seed, heldout_share);
    (heldout ? data.heldout : data.train).push_back(std::move(made));
    return absl::OkStatus();
  };
  data.rejects = text::ReadPreferences(content, encoder, rules.vocabulary_size, accept);
  if (!data.train.empty()) return data;
  if (data.rejects.empty()) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": no pairs to train on"));
  }
  return absl::InvalidArgumentError(absl::StrCat(path, ":", data.rejects.front().line, ": ",
                                                 data.rejects.front().reason,
                                                 "; no line is a pair to train on"));
}

}  // namespace dtrpo::tools
