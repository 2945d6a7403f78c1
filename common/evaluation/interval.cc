#include "common/evaluation/interval.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "common/base/check.h"
#include "common/base/philox.h"

namespace dtrpo::evaluation {
namespace {

constexpr double kZ = 1.959963984540054;  // of 95 %

double Mean(absl::Span<const double> values) {
  double sum = 0;
  for (const double value : values) sum += value;
  return values.empty() ? 0 : sum / static_cast<double>(values.size());
}

}  // namespace

Estimate MeanWithInterval(absl::Span<const double> scores, int64_t answers) {
  if (scores.empty()) return {};
  const double n = static_cast<double>(scores.size());
  const double p = Mean(scores);
  double variance = 0;
  for (const double score : scores) variance += (score - p) * (score - p) / n;
  // Scores that are all alike say nothing about how much questions differ: all answers count.
  const double most = n * static_cast<double>(std::max<int64_t>(1, answers));
  double size = n;
  if (p > 0 && p < 1) size = variance > 0 ? std::min(most, p * (1 - p) * n / variance) : most;

  const double z2 = kZ * kZ;
  const double middle = (p + z2 / (2 * size)) / (1 + z2 / size);
  const double half = kZ / (1 + z2 / size) * std::sqrt(p * (1 - p) / size + z2 / (4 * size * size));
  return {p, std::max(0.0, middle - half), std::min(1.0, middle + half)};
}

PairedDifference ComparePaired(absl::Span<const double> a, absl::Span<const double> b,
                               uint64_t seed) {
  DTRPO_CHECK(a.size() == b.size()) << a.size() << " and " << b.size();
  PairedDifference result;
  result.questions = static_cast<int64_t>(a.size());
  if (a.empty()) return result;
  std::vector<double> differences(a.size());
  for (size_t i = 0; i < a.size(); ++i) differences[i] = b[i] - a[i];
  result.difference = Mean(differences);

  std::vector<double> means(kBootstrapSamples);
  const auto differing =
      std::count_if(differences.begin(), differences.end(), [](double d) { return d != 0; });
  int64_t not_above = 0, not_below = 0;
  for (int sample = 0; sample < kBootstrapSamples; ++sample) {
    base::CounterRng rng(seed, static_cast<uint64_t>(sample));
    double sum = 0;
    for (size_t i = 0; i < differences.size(); ++i) {
      sum += differences[rng.UniformInt(differences.size())];
    }
    means[sample] = sum / static_cast<double>(differences.size());
    if (means[sample] <= 1e-12) ++not_above;  // sums of thirds don't end exactly at zero
    if (means[sample] >= -1e-12) ++not_below;
  }
  std::sort(means.begin(), means.end());
  result.low = means[kBootstrapSamples * 25 / 1000];
  result.high = means[kBootstrapSamples * 975 / 1000 - 1];
  const double smaller = static_cast<double>(std::min(not_above, not_below) + 1);
  result.p_value = std::min(1.0, std::max(2 * smaller / (kBootstrapSamples + 1),
                                          2 * std::pow(0.5, static_cast<double>(differing))));
  return result;
}

}  // namespace dtrpo::evaluation
