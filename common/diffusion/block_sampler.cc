#include "common/diffusion/block_sampler.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/diffusion/repetition.h"
#include "common/diffusion/sampling_run.h"

namespace dtrpo::diffusion {
namespace {

using trajectory::FirstToken;

bool IsBidirectional(const checkpoint::ModelDescriptor& descriptor) {
  return descriptor.attention == checkpoint::Attention::kBidirectional;
}

absl::Status CheckModel(const checkpoint::ModelDescriptor& descriptor) {
  const bool from_response = descriptor.block_origin == checkpoint::BlockOrigin::kResponse;
  if (from_response != IsBidirectional(descriptor)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "model family ", descriptor.family, ": block_origin ", ToString(descriptor.block_origin),
        " with ", ToString(descriptor.attention),
        " attention can't be sampled: bidirectional models have blocks from the response start, "
        "block-causal ones on the absolute grid"));
  }
  if (descriptor.block_size < 1 && !IsBidirectional(descriptor)) {
    return absl::InvalidArgumentError("block_size: the model has none; give one");
  }
  return absl::OkStatus();
}

// 0 in the descriptor of a bidirectional model: the whole canvas is one block.
int32_t BlockSizeOf(const checkpoint::ModelDescriptor& descriptor,
                    const trajectory::SamplerParameters& parameters) {
  return descriptor.block_size > 0 ? descriptor.block_size : parameters.max_new_tokens;
}

absl::Status CheckParameters(const trajectory::SamplerParameters& p, int32_t block_size) {
  if (!std::isfinite(p.temperature) || p.temperature < 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("temperature ", p.temperature, ": must be finite and >= 0"));
  }
  if (!(p.top_p > 0 && p.top_p <= 1)) {
    return absl::InvalidArgumentError(absl::StrCat("top_p ", p.top_p, ": must be in (0, 1]"));
  }
  if (p.top_k < 0) {
    return absl::InvalidArgumentError(absl::StrCat("top_k ", p.top_k, ": must be >= 0"));
  }
  if (p.max_new_tokens < 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("max_new_tokens ", p.max_new_tokens, ": must be >= 1"));
  }
  if (p.sub_block < 0 || p.sub_block > block_size) {
    return absl::InvalidArgumentError(
        absl::StrCat("sub_block ", p.sub_block, ": must be in [0, block size ", block_size, "]"));
  }
  if (p.repetition_guard != 0 && p.repetition_guard < kCycleRounds) {
    return absl::InvalidArgumentError(
        absl::StrCat("repetition_guard ", p.repetition_guard, ": must be 0 or >= ", kCycleRounds));
  }
  return trajectory::CheckConfidence(p.confidence);
}

SequenceRules MakeRules(const checkpoint::ModelDescriptor& descriptor,
                        const SamplerOptions& options, const UnmaskPolicy* policy) {
  const trajectory::SamplerParameters& parameters = options.parameters;
  SequenceRules rules;
  rules.bidirectional = IsBidirectional(descriptor);
  rules.block_size = BlockSizeOf(descriptor, parameters);
  rules.sub_block = parameters.sub_block > 0 ? parameters.sub_block : rules.block_size;
  rules.max_new_tokens = parameters.max_new_tokens;
  rules.mask_id = descriptor.mask_id;
  if (!options.ignore_stop) rules.stop_ids = descriptor.stop_ids;
  rules.repetition_guard = parameters.repetition_guard;
  rules.token_shift = descriptor.logit_shift == 1;
  rules.greedy_first_token = parameters.first_token == FirstToken::kGreedy;
  rules.policy = policy;
  return rules;
}

}  // namespace

absl::StatusOr<std::unique_ptr<BlockSampler>> BlockSampler::Create(const model::Transformer* model,
                                                                   SamplerOptions options) {
  const checkpoint::ModelDescriptor& descriptor = model->descriptor();
  DTRPO_RETURN_IF_ERROR(CheckModel(descriptor));
  if (options.batch_sequences < 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("batch_sequences ", options.batch_sequences, ": must be >= 1"));
  }
  if (options.max_cache_bytes < 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("max_cache_bytes ", options.max_cache_bytes, ": must be >= 1"));
  }
  if (options.max_prefill_rows < 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("max_prefill_rows ", options.max_prefill_rows, ": must be >= 1"));
  }
  trajectory::SamplerParameters& parameters = options.parameters;
  DTRPO_RETURN_IF_ERROR(CheckParameters(parameters, BlockSizeOf(descriptor, parameters)));
  if (parameters.repetition_guard > 0 && IsBidirectional(descriptor)) {
    return absl::InvalidArgumentError(
        "repetition_guard: a bidirectional model's canvas can't end early without a stop token");
  }
  if (descriptor.logit_shift == 0 || IsBidirectional(descriptor)) {
    if (parameters.first_token == FirstToken::kGreedy) {
      return absl::InvalidArgumentError(
          "first_token greedy: the model has no token shift, or is bidirectional, so it has no "
          "block-first tokens");
    }
    parameters.first_token = FirstToken::kNone;
  } else if (parameters.first_token == FirstToken::kNone) {
    return absl::InvalidArgumentError(
        "first_token none: the model has token shift, so it must be sampled or greedy");
  }
  DTRPO_ASSIGN_OR_RETURN(std::unique_ptr<UnmaskPolicy> policy,
                         ParseUnmaskPolicy(parameters.unmask));
  return std::unique_ptr<BlockSampler>(
      new BlockSampler(model, std::move(options), std::move(policy)));
}

BlockSampler::BlockSampler(const model::Transformer* model, SamplerOptions options,
                           std::unique_ptr<UnmaskPolicy> policy)
    : model_(model),
      options_(std::move(options)),
      policy_(std::move(policy)),
      rules_(MakeRules(model->descriptor(), options_, policy_.get())),
      token_sampler_({options_.parameters.temperature, options_.parameters.top_p,
                      options_.parameters.top_k, model->descriptor().mask_id,
                      options_.parameters.confidence == trajectory::kTempered, policy_->needs()}) {}

absl::Status BlockSampler::CheckRequest(const SampleRequest& request) const {
  if (request.id.empty()) return absl::InvalidArgumentError("a request has no id");
  if (request.prompt_tokens.empty()) {
    return absl::InvalidArgumentError(absl::StrCat("request '", request.id, "': empty prompt"));
  }
  if (request.max_new_tokens < 0) {
    return absl::InvalidArgumentError(absl::StrCat("request '", request.id, "': max_new_tokens ",
                                                   request.max_new_tokens, ": must be >= 0"));
  }
  const int64_t vocabulary = model_->descriptor().vocab_size;
  for (const int32_t token : request.prompt_tokens) {
    if (token < 0 || token >= vocabulary) {
      return absl::InvalidArgumentError(absl::StrCat("request '", request.id, "': prompt token id ",
                                                     token, " lies outside the vocabulary of ",
                                                     vocabulary));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<trajectory::Trajectory>> BlockSampler::Sample(
    absl::Span<const SampleRequest> requests, const std::function<bool()>& keep_going,
    const BlockObserver& on_block) {
  for (const SampleRequest& request : requests) DTRPO_RETURN_IF_ERROR(CheckRequest(request));
  if (requests.empty()) return std::vector<trajectory::Trajectory>();

  SamplingRun run(this, requests, on_block);
  DTRPO_RETURN_IF_ERROR(run.Prepare());
  while (!run.done()) {
    if (keep_going && !keep_going()) {
      return absl::CancelledError(
          absl::StrCat("sampling was stopped after ", statistics_.sequences, " sequences"));
    }
    DTRPO_RETURN_IF_ERROR(run.Step());
  }
  return run.TakeTrajectories();
}

}  // namespace dtrpo::diffusion
