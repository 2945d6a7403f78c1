#include "services/replay/inserted_items.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <string>
#include <unordered_set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/trajectory/trajectory.h"
#include "common/wire/item_body.h"
#include "common/wire/trajectory_codec.h"
#include "services/replay/prioritised_selector.h"

namespace dtrpo::replay {
namespace {

// The oldest weights that had a hand in any of them; -1 when none names any.
class OldestVersion {
 public:
  void Add(const trajectory::Trajectory& t) {
    const int64_t version = trajectory::OldestVersion(t);
    if (version >= 0) oldest_ = oldest_ < 0 ? version : std::min(oldest_, version);
  }
  int64_t get() const { return oldest_; }

 private:
  int64_t oldest_ = -1;
};

// Rewards are finite (validation), but their difference needn't be.
double Gap(double best, double worst) { return std::min(std::abs(best - worst), kMaxPriority); }

StoredPair Stored(v1::ReplayItemBody body, const OldestVersion& version, double priority) {
  return {.version = version.get(),
          .body = wire::EncodeItemBody(std::move(body)),
          .priority = priority};
}

absl::StatusOr<StoredPair> FromPair(const v1::PreferencePair& from, int64_t vocabulary_size) {
  DTRPO_ASSIGN_OR_RETURN(const trajectory::PreferencePair pair,
                         wire::FromProto(from, vocabulary_size));
  OldestVersion version;
  version.Add(pair.chosen);
  version.Add(pair.rejected);
  v1::ReplayItemBody body;
  *body.mutable_pair() = from;
  return Stored(std::move(body), version, Gap(pair.chosen.reward, pair.rejected.reward));
}

absl::StatusOr<StoredPair> FromGroup(const v1::TrajectoryGroup& from, int64_t vocabulary_size) {
  if (from.trajectories().empty() || from.trajectories_size() > kMaxGroupTrajectories) {
    return absl::InvalidArgumentError(absl::StrCat("trajectories: ", from.trajectories_size(),
                                                   " is outside [1, ", kMaxGroupTrajectories, "]"));
  }
  OldestVersion version;
  double best = 0, worst = 0;
  std::unordered_set<std::string> ids;
  const auto& prompt = from.trajectories(0).prompt_tokens();
  for (int i = 0; i < from.trajectories_size(); ++i) {
    const v1::Trajectory& member = from.trajectories(i);
    DTRPO_ASSIGN_OR_RETURN(
        const trajectory::Trajectory t,
        base::Annotate(wire::FromProto(member, vocabulary_size), "trajectories[", i, "]"));
    if (!std::equal(prompt.begin(), prompt.end(), member.prompt_tokens().begin(),
                    member.prompt_tokens().end())) {
      return absl::InvalidArgumentError(absl::StrCat(
          "trajectories[", i, "].prompt_tokens: differ from those of the first trajectory"));
    }
    if (!ids.insert(t.id).second) {
      return absl::InvalidArgumentError(
          absl::StrCat("trajectories[", i, "].id: '", t.id, "' is there twice"));
    }
    version.Add(t);
    best = i == 0 ? t.reward : std::max(best, t.reward);
    worst = i == 0 ? t.reward : std::min(worst, t.reward);
  }
  v1::ReplayItemBody body;
  *body.mutable_group() = from;
  return Stored(std::move(body), version, Gap(best, worst));
}

}  // namespace

absl::StatusOr<std::vector<StoredPair>> InsertedItems(const v1::InsertRequest& request,
                                                      int64_t vocabulary_size) {
  const int carried = request.pairs_size() + request.groups_size();
  if (request.no_pair() != (carried == 0)) {
    return absl::InvalidArgumentError(
        absl::StrCat("no_pair: ", request.no_pair() ? "set beside " : "not set with ",
                     request.pairs_size(), " pairs and ", request.groups_size(), " groups"));
  }
  std::vector<StoredPair> items;
  items.reserve(carried);
  for (int i = 0; i < request.pairs_size(); ++i) {
    DTRPO_ASSIGN_OR_RETURN(
        items.emplace_back(),
        base::Annotate(FromPair(request.pairs(i), vocabulary_size), "pairs[", i, "]"));
  }
  for (int i = 0; i < request.groups_size(); ++i) {
    DTRPO_ASSIGN_OR_RETURN(
        items.emplace_back(),
        base::Annotate(FromGroup(request.groups(i), vocabulary_size), "groups[", i, "]"));
  }
  return items;
}

}  // namespace dtrpo::replay
