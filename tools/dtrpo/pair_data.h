// Thread safety: pure functions but for the disk. No torch.
//
// Preference pairs as `dtrpo train` reads them: lines of a JSONL file, as trajectories, divided
// into those to train on and those held out.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/checkpoint/checkpoint_folder.h"
#include "common/job/job_spec.h"
#include "common/text/preference_file.h"
#include "common/text/prompt_encoder.h"
#include "common/trajectory/external_pair.h"
#include "common/trajectory/trajectory.h"

namespace dtrpo::tools {

struct PairData {
  std::vector<trajectory::PreferencePair> train, heldout;  // in the order of the file
  std::vector<text::RejectedLine> rejects;
};

// What a job on this model allows. INVALID_ARGUMENT for a block-causal model without blocks, and
// for sub-blocks larger than its blocks.
absl::StatusOr<trajectory::CanvasRules> CanvasRulesOf(const checkpoint::CheckpointFolder& folder,
                                                      const job::JobSpec& job);

// The order that imitates the job's sampler: random with the steps of `steps:k`, else one token
// after the other.
absl::StatusOr<trajectory::SyntheticOrder> OrderOf(const job::JobSpec& job,
                                                   trajectory::OrderKind kind);

// A pair's id is its line number. INVALID_ARGUMENT when no line can be used, with the first reason.
absl::StatusOr<PairData> ReadPairFile(const std::string& path, const text::PromptEncoder& encoder,
                                      const trajectory::CanvasRules& rules,
                                      const trajectory::SyntheticOrder& order,
                                      double heldout_share);

}  // namespace dtrpo::tools
