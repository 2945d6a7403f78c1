// Not thread-safe: belongs to the coordinator's lock. Time comes in as an argument.
//
// The learners of a job's attempt: which of those that are there become its ranks.
//
//   - The first attempt waits for `ranks` learners.
//   - After a rank was lost, a later one begins as soon as there are `ranks` again. When they don't
//     come within `regroup`, it begins with those that are there, at least `min_ranks`.
//   - Ranks go by ordinal, then by age. A gang never changes: who is lost ends the attempt.
//
// A checkpoint is independent of the number of ranks, and a batch too, so any number goes on.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "services/coordinator/worker_registry.h"

namespace dtrpo::coordinator {

class LearnerGang {
 public:
  struct Options {
    int32_t ranks = 1;
    int32_t min_ranks = 1;
    absl::Duration regroup = absl::Seconds(10);
  };
  explicit LearnerGang(const Options& options) : options_(options) {}

  // The learners that would be granted now, by rank; empty: not enough of them yet.
  std::vector<const Worker*> Candidates(const WorkerRegistry& workers, absl::Time now) const;
  // What is missing, in words: "a learner", "2 learners (there is 1)".
  std::string Missing(const WorkerRegistry& workers) const;

  // REQUIRES: Candidates() gave them.
  void Form(const std::vector<const Worker*>& members);
  void Disband(const std::string& why, absl::Time now);
  // The clock may have gone back.
  void RestoredAt(absl::Time now) {
    if (disbanded_ != absl::InfiniteFuture()) disbanded_ = std::min(disbanded_, now);
  }

  bool empty() const { return members_.empty(); }
  int32_t world() const { return static_cast<int32_t>(members_.size()); }
  // -1: not a member.
  int32_t RankOf(absl::string_view worker_id) const;
  // Why the newest gang that ended did; empty: none has.
  const std::string& lost_why() const { return lost_why_; }
  // Of rank 0; empty: there is none.
  const std::string& leader() const;
  const std::string& rendezvous() const { return rendezvous_; }
  // "rank 1 of 2", or nothing when there is only one.
  std::string Describe(absl::string_view worker_id) const;

  template <typename Archive>
  void Kept(Archive& archive) {
    archive(members_, rendezvous_, lost_why_, disbanded_);
  }

 private:
  const Options options_;
  std::vector<std::string> members_;  // worker ids by rank
  std::string rendezvous_;
  std::string lost_why_;
  absl::Time disbanded_ = absl::InfiniteFuture();  // never: the first attempt is yet to come
};

}  // namespace dtrpo::coordinator
