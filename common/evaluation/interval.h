// Thread safety: pure functions.
//
// How far off may a measured share be? Questions are the units that were drawn; several answers to
// one question say less than as many questions (E. Miller 2024, "Adding error bars to evals",
// arXiv 2411.00640), so everything here works on one score a question.
#pragma once

#include <cstdint>

#include "absl/types/span.h"

namespace dtrpo::evaluation {

struct Estimate {
  double value = 0;          // mean of the scores
  double low = 0, high = 1;  // 95 % interval
};

// The mean of scores in [0, 1], one a question, each of `answers` answers. The interval is Wilson's
// (1927) with the effective sample size p (1 - p) / se^2, se the standard error of the mean over
// questions: for scores of 0 and 1 the plain Wilson interval, which keeps its coverage near 0 and 1
// and with few questions (Brown, Cai, DasGupta 2001); for shares of several answers the one of
// complex surveys (Franco et al. 2019, "Comparative study of confidence intervals for proportions
// in complex sample surveys"). The effective size is at most all answers. Without scores: 0 in
// [0, 1].
Estimate MeanWithInterval(absl::Span<const double> scores, int64_t answers);

struct PairedDifference {
  double difference = 0;     // mean of b minus mean of a
  double low = 0, high = 0;  // 95 % interval: percentiles of the bootstrap
  double p_value = 1;        // two-sided: how easily a difference of zero gives this one
  int64_t questions = 0;
};

inline constexpr int kBootstrapSamples = 10000;

// Paired bootstrap over questions (Efron, Tibshirani 1993, chapters 13 and 16; for system
// comparisons: Koehn 2004): the same questions are drawn with replacement for both, so what is hard
// for both cancels out. p is twice the smaller share of resamples on either side of zero, both
// counted with one more, so never 0; and at least the p of the sign test had all m questions that
// differ gone one way, 2 / 2^m, since resamples of a few equal differences know of no others (for
// the same reason the interval is too narrow for fewer than about ten of them). The same for the
// same seed. REQUIRES: equal sizes.
PairedDifference ComparePaired(absl::Span<const double> a, absl::Span<const double> b,
                               uint64_t seed);

}  // namespace dtrpo::evaluation
