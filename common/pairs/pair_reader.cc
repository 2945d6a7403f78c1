#include "common/pairs/pair_reader.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/checkpoint/checkpoint_folder.h"
#include "common/pairs/pair_rules.h"
#include "common/text/preference_file.h"

namespace dtrpo::pairs {

PairReader::PairReader(text::PromptEncoder encoder, const trajectory::CanvasRules& rules,
                       const trajectory::SyntheticOrder& order, double heldout_share)
    : encoder_(std::move(encoder)), rules_(rules), order_(order), heldout_share_(heldout_share) {}

absl::StatusOr<std::unique_ptr<PairReader>> PairReader::Load(const job::JobSpec& job,
                                                             base::FileSystem* files) {
  DTRPO_ASSIGN_OR_RETURN(const checkpoint::CheckpointFolder folder,
                         checkpoint::CheckpointFolder::OpenWithoutTensors(
                             job.model.path,
                             checkpoint::GivenOverrides(job.model.mask_token_id,
                                                        job.model.block_size, job.model.stop_ids),
                             files));
  DTRPO_ASSIGN_OR_RETURN(const trajectory::CanvasRules rules,
                         CanvasRulesOf(folder.descriptor(), folder.config(), job));
  DTRPO_ASSIGN_OR_RETURN(const trajectory::SyntheticOrder order, OrderOf(job));
  DTRPO_ASSIGN_OR_RETURN(text::PromptEncoder encoder,
                         text::PromptEncoder::Load(job.model.path, job.data.apply_chat_template));
  return std::make_unique<PairReader>(std::move(encoder), rules, order, job.data.pairs_heldout);
}

absl::StatusOr<ReadPair> PairReader::Read(absl::string_view line, int64_t number) const {
  DTRPO_ASSIGN_OR_RETURN(text::Preference preference,
                         text::ParsePreferenceLine(line, encoder_, rules_.vocabulary_size));
  const trajectory::ExternalPair external{
      absl::StrCat("line/", number), std::move(preference.prompt_tokens),
      std::move(preference.chosen_tokens), std::move(preference.rejected_tokens)};
  ReadPair read;
  DTRPO_ASSIGN_OR_RETURN(read.pair, trajectory::MakeExternalPair(external, rules_, order_));
  read.heldout = trajectory::IsHeldOut(external.prompt_tokens, order_.seed, heldout_share_);
  return read;
}

}  // namespace dtrpo::pairs
