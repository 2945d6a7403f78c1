// Thread safety: pure functions.
//
// Turns the judged samples of one prompt into preference pairs. How is a policy:
//
//   best_worst       the best with the worst, the second with the second-worst, ...; each sample in
//                    one pair at most
//   correct_wrong    each right sample, best first, with a wrong one, worst first; where there are
//                    fewer wrong ones they come again
//   length_balanced  the best reward there is with the worst, and of the samples that have these
//                    the two whose lengths differ least; then the same with what is left. Else
//                    longer answers are chosen for being longer wherever right ones are
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "common/trajectory/trajectory.h"

namespace dtrpo::reward {

// Indices into the samples.
struct PairChoice {
  int64_t chosen = 0;
  int64_t rejected = 0;
};

enum class Pairing { kBestWorst, kCorrectWrong, kLengthBalanced };
inline constexpr char kPairings[] = "'best_worst', 'correct_wrong', 'length_balanced'";
std::optional<Pairing> ParsePairing(absl::string_view name);

struct PairOptions {
  Pairing pairing = Pairing::kBestWorst;
  double min_gap = 0;  // the rewards of a pair differ by more
  int32_t max_pairs = 2;
};

// `right`: which samples are. Equal rewards keep the order of the samples, so the result is a
// function of the samples alone. A pair whose targets are equal is dropped, as are cancelled
// samples. REQUIRES: finite rewards, as many of `right` as samples.
std::vector<PairChoice> BuildPairs(absl::Span<const trajectory::Trajectory> samples,
                                   const std::vector<bool>& right, const PairOptions& options);

}  // namespace dtrpo::reward
