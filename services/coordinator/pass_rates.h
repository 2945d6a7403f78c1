// Not thread-safe. Pure state.
//
// How often each prompt was answered right, over all epochs so far, and which are left out for it
// (data.min_pass_rate, data.max_pass_rate): nothing is learned from what is always right or always
// wrong. A prompt without a judged answer stays in.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <utility>

namespace dtrpo::coordinator {

class PassRates {
 public:
  struct Options {
    double min_rate = 0;
    double max_rate = 1;
  };
  explicit PassRates(const Options& options) : options_(options) {}

  // Counts nothing while nothing can be left out, so as not to grow with the prompts.
  void Count(int64_t prompt, int64_t right, int64_t answers) {
    if (answers <= 0 || (options_.min_rate <= 0 && options_.max_rate >= 1)) return;
    auto& [right_so_far, answers_so_far] = counts_[prompt];
    right_so_far += right;
    answers_so_far += answers;
  }

  // Those whose rate is outside now.
  std::set<int64_t> LeftOut() const {
    std::set<int64_t> prompts;
    for (const auto& [prompt, count] : counts_) {
      const double rate = static_cast<double>(count.first) / static_cast<double>(count.second);
      if (rate < options_.min_rate || rate > options_.max_rate) prompts.insert(prompt);
    }
    return prompts;
  }

  template <typename Archive>
  void Kept(Archive& archive) {
    archive(counts_);
  }

 private:
  const Options options_;
  std::map<int64_t, std::pair<int64_t, int64_t>> counts_;  // prompt: right answers, answers
};

}  // namespace dtrpo::coordinator
