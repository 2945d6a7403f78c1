// Thread safety: pure functions and plain data. No torch.
//
// How the order of unmasking is written in jobs, on command lines and in trajectories: a name and,
// after a colon, its numbers separated by commas. common/diffusion builds the policies themselves
// and names the published code behind each. k and steps are whole numbers >= 1, the rest decimals.
//
//   steps:k              k steps per sub-block, the most confident first: n div k tokens a step,
//   the
//                        remainder to the first steps
//   threshold:tau[,k]    all above tau in [0, 1], and never fewer than the k most confident;
//                        default k 1
//   factor:f             by falling confidence c, rank r = 1, 2, ... while c >= 1 - f / (r + 1),
//   and
//                        always rank 1; f > 0
//   entropy:bound        by rising entropy (nats) while its sum is <= bound, and at least one;
//                        bound >= 0
//   dream:order[,steps[,eps[,alg_temp]]]
//                        Dream's schedule: with time falling from 1 to eps in even steps, the step
//                        from t to s unmasks 1 - s/t of what is masked. order: origin (each
//                        position by chance), or the best by maskgit_plus (confidence), topk_margin
//                        (the difference of the two largest probabilities) or entropy (lowest).
//                        alg_temp adds noise to the best; 0: none. Defaults 512, 0.001, 0
//   sequential:k         the k leftmost
//   random:k             k at random
#pragma once

#include <cstdint>
#include <variant>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace dtrpo::trajectory {

struct StepsSpec {
  int32_t steps = 1;
};
struct ThresholdSpec {
  double threshold = 1;
  int32_t at_least = 1;
};
struct FactorSpec {
  double factor = 1;
};
struct EntropySpec {
  double bound = 0;
};
enum class DreamOrder { kOrigin, kMaskgitPlus, kTopkMargin, kEntropy };
struct DreamSpec {
  DreamOrder order = DreamOrder::kOrigin;
  int32_t steps = 512;
  double eps = 1e-3;
  double alg_temp = 0;
};
struct SequentialSpec {
  int32_t tokens = 1;
};
struct RandomSpec {
  int32_t tokens = 1;
};
using UnmaskSpec = std::variant<StepsSpec, ThresholdSpec, FactorSpec, EntropySpec, DreamSpec,
                                SequentialSpec, RandomSpec>;

// The forms above in one line, for help texts.
inline constexpr char kUnmaskForms[] =
    "steps:k, threshold:tau[,k], factor:f, entropy:bound, "
    "dream:origin|maskgit_plus|topk_margin|entropy[,steps[,eps[,alg_temp]]], sequential:k or "
    "random:k";

// INVALID_ARGUMENT quoting `text` and the part of it that can't be read.
absl::StatusOr<UnmaskSpec> ParseUnmaskSpec(absl::string_view text);

// Which distribution the confidence, entropy and margin of a candidate are of: the model's over the
// full vocabulary, or what temperature, top-k and top-p make of it (at temperature 0: the filters
// alone). Log-probabilities are of the first, always.
inline constexpr char kUntempered[] = "untempered";
inline constexpr char kTempered[] = "tempered";

// INVALID_ARGUMENT quoting `confidence` unless it is one of these two.
absl::Status CheckConfidence(absl::string_view confidence);

}  // namespace dtrpo::trajectory
