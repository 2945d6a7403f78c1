// Thread safety: pure functions.
//
// Preference pairs from elsewhere as trajectories (ARCHITECTURE.md, "External pairs"). Nobody saw
// them unmasked, so they get an order: a pure function of (seed, pair, answer), kept with the pair.
// With it they are scored like any other, but they have no behaviour log-probabilities and no
// weights version.
//
// What stands on their canvas is what a sampler's would hold that wrote the answer down:
// block-first tokens have step 0 with token shift, sub-blocks follow each other, nothing behind the
// stop token is ever committed. Bidirectional models see the whole canvas of max_new_tokens.
//
//   kRandom  as `steps:k` with a random choice instead of the most confident: n tokens of a
//            sub-block in min(k, n) steps, n div k at a time, the remainder in the first steps
//   kNoise   the noise schedule as `dream:origin,k` walks it: time falls from 1 to 0.001 in k even
//            steps, and the step from t to s unmasks each token still masked with probability
//            (t - s) / t, the last step the rest. Steps in which nothing happens aren't counted
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "common/trajectory/trajectory.h"

namespace dtrpo::trajectory {

enum class OrderKind { kRandom, kNoise };

struct SyntheticOrder {
  OrderKind kind = OrderKind::kRandom;
  int32_t steps = 0;      // k, of a sub-block; 0: as many as it has tokens
  int32_t sub_block = 0;  // 0: the whole block
  uint64_t seed = 1;
};

// What the model and the job say about answers.
struct CanvasRules {
  int32_t block_size = 0;  // 0, bidirectional models only: the whole canvas
  BlockOrigin block_origin = BlockOrigin::kAbsolute;  // kResponse: bidirectional
  bool first_tokens = false;  // block-first tokens have step 0: block-causal with token shift
  int32_t mask_id = 0;
  std::vector<int32_t> stop_ids;  // not empty
  int64_t vocabulary_size = 0;
  int32_t max_prompt_tokens = 0;  // 0: no limit
  int32_t max_new_tokens = 0;     // longest answer, its stop token included
  int64_t max_positions = 0;      // of prompt and canvas; 0: no limit
};

struct ExternalPair {
  std::string id;  // answers become "<id>/chosen", "<id>/rejected"
  std::vector<int32_t> prompt_tokens, chosen_tokens, rejected_tokens;
};

// Appends the first stop id to answers that don't end with one. A valid pair (trajectory.h), or
// INVALID_ARGUMENT naming the field: empty, too long, a mask token, a stop token before the end, a
// token outside the vocabulary, equal answers.
absl::StatusOr<PreferencePair> MakeExternalPair(const ExternalPair& pair, const CanvasRules& rules,
                                                const SyntheticOrder& order);

// About `share` of all prompts: by hash, so all pairs of one prompt are on the same side, whatever
// else there is and in which order.
bool IsHeldOut(absl::Span<const int32_t> prompt_tokens, uint64_t seed, double share);

absl::StatusOr<OrderKind> ParseOrderKind(absl::string_view word);  // "random", "noise"

}  // namespace dtrpo::trajectory
