#include "services/coordinator/learner_gang.h"

#include <algorithm>
#include <limits>

#include "absl/strings/str_cat.h"

namespace dtrpo::coordinator {

std::vector<const Worker*> LearnerGang::Candidates(const WorkerRegistry& workers,
                                                   absl::Time now) const {
  std::vector<const Worker*> learners = workers.OfRole(kLearner);
  const size_t wanted = static_cast<size_t>(options_.ranks);
  const bool waited = now - disbanded_ >= options_.regroup;
  const size_t enough = waited ? static_cast<size_t>(options_.min_ranks) : wanted;
  if (learners.size() < enough) return {};
  std::stable_sort(learners.begin(), learners.end(), [](const Worker* a, const Worker* b) {
    constexpr int32_t kLast = std::numeric_limits<int32_t>::max();
    return a->ordinal.value_or(kLast) < b->ordinal.value_or(kLast);
  });
  if (learners.size() > wanted) learners.resize(wanted);
  return learners;
}

std::string LearnerGang::Missing(const WorkerRegistry& workers) const {
  if (options_.ranks == 1) return "a learner";
  const size_t there = workers.OfRole(kLearner).size();
  return absl::StrCat(options_.ranks, " learners (there ", there == 1 ? "is " : "are ", there, ")");
}

void LearnerGang::Form(const std::vector<const Worker*>& members) {
  members_.clear();
  for (const Worker* worker : members) members_.push_back(worker->id);
  rendezvous_ = members.front()->rendezvous_address;
}

void LearnerGang::Disband(const std::string& why, absl::Time now) {
  lost_why_ = why;
  members_.clear();
  rendezvous_.clear();
  disbanded_ = now;
}

int32_t LearnerGang::RankOf(absl::string_view worker_id) const {
  const auto it = std::find(members_.begin(), members_.end(), worker_id);
  return it == members_.end() ? -1 : static_cast<int32_t>(it - members_.begin());
}

const std::string& LearnerGang::leader() const {
  static const std::string* const kNobody = new std::string;
  return members_.empty() ? *kNobody : members_.front();
}

std::string LearnerGang::Describe(absl::string_view worker_id) const {
  if (world() < 2) return "";
  return absl::StrCat("rank ", RankOf(worker_id), " of ", world());
}

}  // namespace dtrpo::coordinator
