// Thread safety: pure functions. No torch.
//
// What a job on a model allows of imported preference pairs, and the order of unmasking they get.
#pragma once

#include "absl/status/statusor.h"
#include "common/checkpoint/model_config.h"
#include "common/checkpoint/model_descriptor.h"
#include "common/job/job_spec.h"
#include "common/trajectory/external_pair.h"

namespace dtrpo::pairs {

// INVALID_ARGUMENT for a block-causal model without blocks, and for sub-blocks larger than its
// blocks.
absl::StatusOr<trajectory::CanvasRules> CanvasRulesOf(const checkpoint::ModelDescriptor& descriptor,
                                                      const checkpoint::ModelConfig& config,
                                                      const job::JobSpec& job);

// data.pairs_order, as the job's sampler would take its steps: random with those of `steps:k`, else
// one token after the other.
absl::StatusOr<trajectory::SyntheticOrder> OrderOf(const job::JobSpec& job);

}  // namespace dtrpo::pairs
