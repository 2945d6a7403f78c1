#include "services/coordinator/pass_rates.h"

#include <algorithm>
#include <vector>

#include "common/base/hash.h"
#include "common/base/philox.h"

namespace dtrpo::coordinator {

void PassRates::Count(int64_t prompt, int64_t right, int64_t answers) {
  if (answers <= 0 || Off()) return;
  auto& [right_so_far, answers_so_far] = counts_[prompt];
  right_so_far += right;
  answers_so_far += answers;
}

std::set<int64_t> PassRates::LeftOut(int64_t prompts, int64_t epoch) const {
  std::set<int64_t> left_out;
  if (Off()) return left_out;
  std::vector<double> weights(prompts);  // 0: outside
  for (int64_t prompt = 0; prompt < prompts; ++prompt) {
    const auto found = counts_.find(prompt);
    const Answers answers = found == counts_.end() ? Answers{} : found->second;
    weights[prompt] = Outside(answers) ? 0 : Weight(answers);
  }
  const double largest = prompts == 0 ? 0 : *std::max_element(weights.begin(), weights.end());
  const base::CounterRng draws(options_.seed,
                               base::StableHash("pass rates", static_cast<uint64_t>(epoch)));
  for (int64_t prompt = 0; prompt < prompts; ++prompt) {
    // Below 1, so that whoever has the largest weight stays.
    const double draw = draws.Uniform01At(static_cast<uint64_t>(prompt));
    if (weights[prompt] <= draw * largest) left_out.insert(prompt);
  }
  return left_out;
}

bool PassRates::Off() const {
  return options_.min_rate <= 0 && options_.max_rate >= 1 && options_.focus == 0;
}

bool PassRates::Outside(const Answers& answers) const {
  if (answers.second == 0) return false;
  const double rate = static_cast<double>(answers.first) / static_cast<double>(answers.second);
  return rate < options_.min_rate || rate > options_.max_rate;
}

double PassRates::Weight(const Answers& answers) const {
  const auto wrong = static_cast<double>(answers.second - answers.first + 1);
  const auto right = static_cast<double>(answers.first + 1);
  const double all = right + wrong;
  const double spread = 4 * (right / all) * (wrong / all);
  double weight = 1;
  for (int32_t i = 0; i < options_.focus; ++i) weight *= spread;
  return weight;
}

}  // namespace dtrpo::coordinator
