// Thread safety: plain data; const access from many threads is fine.
//
// A diffusion trajectory: the tokens of a response and the order in which they were unmasked. With
// the prompt, the block layout and the step of every token, each state the sampler went through can
// be rebuilt, so the trajectory can be scored exactly long after the weights that made it are gone.
//
// Letters: P prompt tokens, R response tokens (to the end of the last block), B block size, N
// response blocks.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"

namespace dtrpo::trajectory {

inline constexpr int32_t kFormatVersion = 1;
inline constexpr int32_t kNeverCommitted =
    -1;  // unmask_step of a position that still holds the mask
inline constexpr int32_t kBlockFirstStep =
    0;  // unmask_step of a block-first token read from the clean row before it

enum class BlockOrigin { kAbsolute, kResponse };
enum class FinishReason { kStop, kLength, kCancelled, kRepetition };
enum class FirstToken { kNone, kSampled, kGreedy };

struct SamplerParameters {
  std::string unmask = "threshold:0.9";   // see unmask_spec.h
  int32_t sub_block = 0;                  // 0: the whole block
  double temperature = 0;                 // 0: argmax
  double top_p = 1;                       // 1: off
  int32_t top_k = 0;                      // 0: off
  int32_t max_new_tokens = 256;           // M
  std::string confidence = "untempered";  // or "tempered", see unmask_spec.h
  FirstToken first_token = FirstToken::kSampled;
  int32_t repetition_guard = 0;  // 0: off
};

struct Trajectory {
  int32_t format_version = kFormatVersion;
  std::string id;
  std::string model_id;
  std::vector<int32_t> prompt_tokens;    // [P], P >= 1
  std::vector<int32_t> response_tokens;  // [R]; never-committed positions hold the mask id
  std::vector<int32_t> unmask_step;      // [R]: -1 never, 0 block-first, 1, 2, ... within the block
  std::vector<float>
      behaviour_logprob;  // [R]: natural log, untempered, mask id excluded; 0 where never committed
  int32_t block_size = 0;
  BlockOrigin block_origin = BlockOrigin::kAbsolute;
  int32_t stop_index = -1;  // into response_tokens; -1: none
  FinishReason finish_reason = FinishReason::kLength;
  SamplerParameters sampler;
  uint64_t seed = 0;
  std::vector<int64_t> weights_version;  // one, or one per response block; empty only if external
  std::string text;
  double reward = 0;
  std::string reward_reason;
  bool external = false;  // imported: no behaviour log-probabilities, no weights version
};

// A preference pair: the unit of storage and training. Both answers have the same prompt.
struct PreferencePair {
  std::string id;
  Trajectory chosen;
  Trajectory rejected;
};

// Number of leading response tokens that count as targets: up to and including the stop token, and
// fewer than max_new_tokens. Loss, `logprob`, text and reward use targets only; the rest is context
// (algorithm rules, "Targets").
int64_t TargetCount(const Trajectory& t);

// True when response index i is a target that was committed: it has a step >= 0 and i <
// TargetCount.
bool IsTarget(const Trajectory& t, int64_t i);

// Oldest weights version that had a hand in it; -1 for external ones.
int64_t OldestVersion(const Trajectory& t);

// Checks every field against every other (lengths, ranges, steps that fit the block layout, finite
// log-probabilities, token ids in [0, vocabulary_size) when vocabulary_size > 0). INVALID_ARGUMENT
// naming the trajectory and the field.
absl::Status Validate(const Trajectory& t, int64_t vocabulary_size = 0);

// Validates both answers and that they share prompt, block layout and differ in their targets.
absl::Status Validate(const PreferencePair& pair, int64_t vocabulary_size = 0);

// Bytes that the pair occupies in memory, for bounds.
int64_t SizeBytes(const PreferencePair& pair);

}  // namespace dtrpo::trajectory
