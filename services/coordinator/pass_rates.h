// Not thread-safe. Pure state.
//
// How often each prompt was answered right, over all epochs so far, and which prompts the next
// epoch leaves out for it:
// - those outside of [min_rate, max_rate]: nothing is learned from what is always right or wrong;
// - with focus f > 0, by chance, those far from half right. Such a prompt's weight is
//   (p (1 - p))^f with p = (right + 1) / (answers + 2), so that none is ever 0 and one without an
//   answer has the largest; it stays with the chance weight / (the largest weight of those inside).
//   Among prompts that are all equally easy, all stay.
// The draws are a function of (seed, epoch, prompt), and only IEEE's exact operations decide, so
// that a coordinator that reads its log again leaves out the same prompts on any machine.
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
    int32_t focus = 0;
    uint64_t seed = 1;
  };
  explicit PassRates(const Options& options) : options_(options) {}

  // Counts nothing while nothing can be left out, so as not to grow with the prompts.
  void Count(int64_t prompt, int64_t right, int64_t answers);

  // Of prompts 0 .. prompts-1. A prompt without a judged answer is inside.
  std::set<int64_t> LeftOut(int64_t prompts, int64_t epoch) const;

  template <typename Archive>
  void Kept(Archive& archive) {
    archive(counts_);
  }

 private:
  using Answers = std::pair<int64_t, int64_t>;  // right ones, all

  bool Off() const;
  bool Outside(const Answers& answers) const;
  double Weight(const Answers& answers) const;

  const Options options_;
  std::map<int64_t, Answers> counts_;  // by prompt
};

}  // namespace dtrpo::coordinator
