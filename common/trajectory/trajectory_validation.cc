// The one place that decides whether a trajectory may be stored, scored or trained on. Each check
// names the field that is wrong; checks go from what others rely on (sizes) to what needs the block
// layout (steps).
#include <algorithm>
#include <cmath>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "common/base/status_macros.h"
#include "common/trajectory/block_layout.h"
#include "common/trajectory/trajectory.h"
#include "common/trajectory/unmask_spec.h"

namespace dtrpo::trajectory {
namespace {

constexpr int64_t kMaxTokens = int64_t{1} << 20;     // of a prompt, of a response, of a block
constexpr size_t kMaxIdBytes = 1024;                 // ids, names and parameter words
constexpr size_t kMaxTextBytes = size_t{1} << 24;    // text
constexpr size_t kMaxReasonBytes = size_t{1} << 16;  // reward_reason
constexpr float kRounding = 1e-4f;                   // a log-probability may round to just above 0

// Builds the errors of one trajectory.
class Refusal {
 public:
  explicit Refusal(const Trajectory& t) : id_(t.id.substr(0, kMaxIdBytes)) {}

  template <typename... Words>
  absl::Status operator()(absl::string_view field, const Words&... words) const {
    return absl::InvalidArgumentError(
        absl::StrCat("trajectory '", id_, "': ", field, ": ", words...));
  }

 private:
  std::string id_;
};

absl::Status CheckTokens(const Refusal& refuse, absl::string_view field,
                         const std::vector<int32_t>& tokens, int64_t vocabulary_size) {
  if (tokens.empty()) return refuse(field, "is empty");
  if (static_cast<int64_t>(tokens.size()) > kMaxTokens) {
    return refuse(field, tokens.size(), " tokens, the limit is ", kMaxTokens);
  }
  for (size_t i = 0; i < tokens.size(); ++i) {
    if (tokens[i] < 0 || (vocabulary_size > 0 && tokens[i] >= vocabulary_size)) {
      return refuse(field, "token id ", tokens[i], " at ", i, " lies outside the vocabulary of ",
                    vocabulary_size > 0 ? absl::StrCat(vocabulary_size) : "unknown size");
    }
  }
  return absl::OkStatus();
}

absl::Status CheckWords(const Refusal& refuse, const Trajectory& t) {
  if (t.id.empty()) return refuse("id", "is empty");
  if (t.id.size() > kMaxIdBytes) return refuse("id", "is longer than ", kMaxIdBytes, " bytes");
  if (t.model_id.size() > kMaxIdBytes) {
    return refuse("model_id", "is longer than ", kMaxIdBytes, " bytes");
  }
  if (t.text.size() > kMaxTextBytes) {
    return refuse("text", "is longer than ", kMaxTextBytes, " bytes");
  }
  if (t.reward_reason.size() > kMaxReasonBytes) {
    return refuse("reward_reason", "is longer than ", kMaxReasonBytes, " bytes");
  }
  return absl::OkStatus();
}

absl::Status CheckSampler(const Refusal& refuse, const Trajectory& t) {
  const SamplerParameters& s = t.sampler;
  if (s.unmask.size() > kMaxIdBytes) {
    return refuse("sampler.unmask", "is longer than ", kMaxIdBytes, " bytes");
  }
  if (const auto spec = ParseUnmaskSpec(s.unmask); !spec.ok()) {
    return refuse("sampler.unmask", spec.status().message());
  }
  if (const absl::Status known = CheckConfidence(s.confidence); !known.ok()) {
    return refuse("sampler.confidence", known.message());
  }
  if (s.sub_block < 0 || s.sub_block > t.block_size) {
    return refuse("sampler.sub_block", s.sub_block, " is outside [0, block_size ", t.block_size,
                  "]");
  }
  if (!std::isfinite(s.temperature) || s.temperature < 0) {
    return refuse("sampler.temperature", s.temperature, " must be finite and >= 0");
  }
  if (!(s.top_p > 0 && s.top_p <= 1)) {
    return refuse("sampler.top_p", s.top_p, " is outside (0, 1]");
  }
  if (s.top_k < 0) return refuse("sampler.top_k", s.top_k, " is negative");
  if (s.repetition_guard < 0) {
    return refuse("sampler.repetition_guard", s.repetition_guard, " is negative");
  }
  if (s.max_new_tokens < 1 || s.max_new_tokens > kMaxTokens) {
    return refuse("sampler.max_new_tokens", s.max_new_tokens, " is outside [1, ", kMaxTokens, "]");
  }
  if (s.first_token != FirstToken::kNone && s.first_token != FirstToken::kSampled &&
      s.first_token != FirstToken::kGreedy) {
    return refuse("sampler.first_token", static_cast<int>(s.first_token), " is unknown");
  }
  return absl::OkStatus();
}

// Sizes, and that the response fills its blocks: what ResponseBlocks needs.
absl::Status CheckLayout(const Refusal& refuse, const Trajectory& t) {
  if (t.block_size < 1 || t.block_size > kMaxTokens) {
    return refuse("block_size", t.block_size, " is outside [1, ", kMaxTokens, "]");
  }
  if (t.block_origin != BlockOrigin::kAbsolute && t.block_origin != BlockOrigin::kResponse) {
    return refuse("block_origin", static_cast<int>(t.block_origin), " is unknown");
  }
  const int64_t prompt = static_cast<int64_t>(t.prompt_tokens.size());
  const int64_t response = static_cast<int64_t>(t.response_tokens.size());
  const int64_t tail = t.block_origin == BlockOrigin::kAbsolute ? prompt % t.block_size : 0;
  if ((tail + response) % t.block_size != 0) {
    return refuse("response_tokens", response, " tokens after a prompt of ", prompt,
                  " don't end at the end of a block of ", t.block_size);
  }
  if (t.unmask_step.size() != t.response_tokens.size()) {
    return refuse("unmask_step", t.unmask_step.size(), " entries for ", response,
                  " response tokens");
  }
  const bool none_recorded = t.external && t.behaviour_logprob.empty();
  if (!none_recorded && t.behaviour_logprob.size() != t.response_tokens.size()) {
    return refuse("behaviour_logprob", t.behaviour_logprob.size(), " entries for ", response,
                  " response tokens");
  }
  return absl::OkStatus();
}

// How sampling ended against what stands on the canvas.
absl::Status CheckFinish(const Refusal& refuse, const Trajectory& t) {
  const int64_t response = static_cast<int64_t>(t.response_tokens.size());
  const int64_t canvas = CanvasTokens(static_cast<int64_t>(t.prompt_tokens.size()),
                                      t.sampler.max_new_tokens, t.block_size, t.block_origin);
  if (response > canvas) {
    return refuse("response_tokens", response, " tokens, but max_new_tokens ",
                  t.sampler.max_new_tokens, " makes a canvas of ", canvas);
  }
  if (t.stop_index < -1 || t.stop_index >= response) {
    return refuse("stop_index", t.stop_index, " is outside [-1, ", response, ")");
  }
  switch (t.finish_reason) {
    case FinishReason::kCancelled:
      return absl::OkStatus();  // cut anywhere
    case FinishReason::kStop:
      if (t.stop_index < 0) return refuse("stop_index", "-1 although finish_reason is STOP");
      break;
    case FinishReason::kLength:
      if (t.stop_index >= 0 && t.stop_index < t.sampler.max_new_tokens) {
        return refuse("finish_reason", "LENGTH although a stop token stands at ", t.stop_index);
      }
      if (response != canvas) {
        return refuse("response_tokens", response, " tokens although finish_reason is LENGTH and ",
                      "the canvas has ", canvas);
      }
      break;
    case FinishReason::kRepetition:  // at the end of a block, so all of it is committed
      if (t.stop_index >= 0 || t.sampler.repetition_guard == 0) {
        return refuse("finish_reason", "REPETITION with stop_index ", t.stop_index,
                      " and sampler.repetition_guard ", t.sampler.repetition_guard);
      }
      break;
    default:
      return refuse("finish_reason", static_cast<int>(t.finish_reason), " is unknown");
  }
  const int64_t committed = std::max<int64_t>(TargetCount(t), t.stop_index + 1);
  for (int64_t i = 0; i < committed; ++i) {
    if (t.unmask_step[i] == kNeverCommitted) {
      return refuse("unmask_step", "-1 at ", i, ", which sampling should have committed before it ",
                    "ended");
    }
  }
  return absl::OkStatus();
}

// Steps of a block are 0 for a block-first token, and 1, 2, ... without a gap for the others: every
// step commits something. Only the last block that sampling touched may still hold masks.
absl::Status CheckSteps(const Refusal& refuse, const Trajectory& t) {
  const bool has_first_token = t.sampler.first_token != FirstToken::kNone;
  bool masks_before = false;
  std::vector<char> seen;  // by step; a replay store validates every token that is inserted
  for (const ResponseBlock& block : ResponseBlocks(t)) {
    seen.assign(t.block_size + 1, 0);
    int32_t distinct = 0, last = 0;  // steps from 1 on
    bool masks = false;
    for (int64_t i = block.begin; i < block.end; ++i) {
      const int32_t step = t.unmask_step[i];
      const bool first = has_first_token && block.starts_in_response && i == block.begin;
      if (step < kNeverCommitted || step > t.block_size) {
        return refuse("unmask_step", step, " at ", i, " is outside [-1, block_size ", t.block_size,
                      "]");
      }
      if (step == kNeverCommitted) {
        masks = true;
        continue;
      }
      if (masks_before) {
        return refuse("unmask_step", step, " at ", i, ", but an earlier block still holds masks");
      }
      if (step == kBlockFirstStep && !first) {
        return refuse("unmask_step", "0 at ", i, ", which is not the first token of a block that ",
                      "begins in the response of a model with token shift");
      }
      if (step != kBlockFirstStep && first) {
        return refuse("unmask_step", step, " at ", i, ", the first token of a block, which ",
                      "sampler.first_token says was committed at step 0");
      }
      if (step < 1) continue;
      distinct += seen[step] == 0;
      seen[step] = 1;
      last = std::max(last, step);
    }
    if (last != distinct) {
      return refuse("unmask_step", "the block at ", block.begin, " has ", distinct,
                    " distinct steps but its last is ", last);
    }
    masks_before = masks_before || masks;
  }
  return absl::OkStatus();
}

// The mask id isn't known here, but it is one id, and no committed token can have it.
absl::Status CheckMasks(const Refusal& refuse, const Trajectory& t) {
  const auto mask = std::find(t.unmask_step.begin(), t.unmask_step.end(), kNeverCommitted);
  if (mask == t.unmask_step.end()) return absl::OkStatus();
  const int32_t mask_id = t.response_tokens[mask - t.unmask_step.begin()];
  for (size_t i = 0; i < t.response_tokens.size(); ++i) {
    if ((t.unmask_step[i] == kNeverCommitted) != (t.response_tokens[i] == mask_id)) {
      return refuse("response_tokens", "token id ", t.response_tokens[i], " at ", i, " with step ",
                    t.unmask_step[i], ", but never-committed positions, and only they, hold the ",
                    "mask id ", mask_id);
    }
  }
  return absl::OkStatus();
}

absl::Status CheckLogProbabilities(const Refusal& refuse, const Trajectory& t) {
  for (size_t i = 0; i < t.behaviour_logprob.size(); ++i) {
    const float logprob = t.behaviour_logprob[i];
    if (!std::isfinite(logprob) || logprob > kRounding) {
      return refuse("behaviour_logprob", logprob, " at ", i, " is not a log-probability");
    }
    // A committed token may have probability 1, so zero says nothing the other way round.
    if (logprob != 0 && (t.external || t.unmask_step[i] == kNeverCommitted)) {
      return refuse("behaviour_logprob", logprob, " at ", i, " must be 0: ",
                    t.external ? "the trajectory is external" : "the token was never committed");
    }
  }
  return absl::OkStatus();
}

absl::Status CheckVersions(const Refusal& refuse, const Trajectory& t) {
  const std::vector<int64_t>& versions = t.weights_version;
  if (t.external) {
    if (!versions.empty()) return refuse("weights_version", "an external trajectory has none");
    return absl::OkStatus();
  }
  const size_t blocks = ResponseBlocks(t).size();
  if (versions.size() != 1 && versions.size() != blocks) {
    return refuse("weights_version", versions.size(), " entries; one, or one for each of the ",
                  blocks, " blocks, are needed");
  }
  if (versions.front() < 0 || !std::is_sorted(versions.begin(), versions.end())) {
    return refuse("weights_version", "versions are >= 0 and only grow");
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status Validate(const Trajectory& t, int64_t vocabulary_size) {
  const Refusal refuse(t);
  if (t.format_version != kFormatVersion) {
    return refuse("format_version", t.format_version, " is not ", kFormatVersion);
  }
  DTRPO_RETURN_IF_ERROR(CheckWords(refuse, t));
  DTRPO_RETURN_IF_ERROR(CheckTokens(refuse, "prompt_tokens", t.prompt_tokens, vocabulary_size));
  DTRPO_RETURN_IF_ERROR(CheckTokens(refuse, "response_tokens", t.response_tokens, vocabulary_size));
  DTRPO_RETURN_IF_ERROR(CheckLayout(refuse, t));
  DTRPO_RETURN_IF_ERROR(CheckSampler(refuse, t));
  DTRPO_RETURN_IF_ERROR(CheckFinish(refuse, t));
  DTRPO_RETURN_IF_ERROR(CheckSteps(refuse, t));
  DTRPO_RETURN_IF_ERROR(CheckMasks(refuse, t));
  DTRPO_RETURN_IF_ERROR(CheckLogProbabilities(refuse, t));
  DTRPO_RETURN_IF_ERROR(CheckVersions(refuse, t));
  if (!std::isfinite(t.reward)) return refuse("reward", t.reward, " is not finite");
  return absl::OkStatus();
}

absl::Status Validate(const PreferencePair& pair, int64_t vocabulary_size) {
  const auto refuse = [&pair](absl::string_view field, absl::string_view reason) {
    return absl::InvalidArgumentError(
        absl::StrCat("pair '", pair.id.substr(0, kMaxIdBytes), "': ", field, ": ", reason));
  };
  if (pair.id.empty() || pair.id.size() > kMaxIdBytes) {
    return refuse("id", absl::StrCat("is empty or longer than ", kMaxIdBytes, " bytes"));
  }
  const Trajectory& chosen = pair.chosen;
  const Trajectory& rejected = pair.rejected;
  if (auto s = Validate(chosen, vocabulary_size); !s.ok()) return refuse("chosen", s.message());
  if (auto s = Validate(rejected, vocabulary_size); !s.ok()) return refuse("rejected", s.message());
  if (chosen.id == rejected.id) return refuse("rejected.id", "is the chosen answer's id as well");
  for (const Trajectory* t : {&chosen, &rejected}) {
    if (t->finish_reason == FinishReason::kCancelled) {
      return refuse(t == &chosen ? "chosen.finish_reason" : "rejected.finish_reason",
                    "a cancelled trajectory makes no pair");
    }
  }
  if (chosen.prompt_tokens != rejected.prompt_tokens) {
    return refuse("rejected.prompt_tokens", "differ from the chosen answer's");
  }
  if (chosen.block_size != rejected.block_size) {
    return refuse("rejected.block_size", "differs from the chosen answer's");
  }
  if (chosen.block_origin != rejected.block_origin) {
    return refuse("rejected.block_origin", "differs from the chosen answer's");
  }
  const int64_t targets = TargetCount(chosen);
  if (targets == TargetCount(rejected) &&
      std::equal(chosen.response_tokens.begin(), chosen.response_tokens.begin() + targets,
                 rejected.response_tokens.begin())) {
    return refuse("rejected.response_tokens", "have the same targets as the chosen answer's");
  }
  return absl::OkStatus();
}

}  // namespace dtrpo::trajectory
