#include "services/learner/batch_feeder.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/hash.h"
#include "common/base/retry.h"
#include "common/base/retry_after.h"
#include "common/base/status_macros.h"

namespace dtrpo::learner {
namespace {

// A batch is asked for by calls that wait themselves; only a service that is away is backed off
// from.
constexpr absl::Duration kMaxBackoff = absl::Milliseconds(500);

}  // namespace

BatchFeeder::BatchFeeder(const Options& options, LearnerPeers* peers, base::Clock* clock,
                         base::WaitStateRegistry* waits)
    : options_(options),
      peers_(peers),
      clock_(clock),
      waits_(waits),
      queue_(static_cast<size_t>(options.batches_ahead), clock),
      thread_([this] { Run(); }) {}

BatchFeeder::~BatchFeeder() {
  stop_.Stop();
  queue_.Close();
  thread_.join();
}

absl::StatusOr<FedBatch> BatchFeeder::Next(absl::Time deadline) {
  DTRPO_ASSIGN_OR_RETURN(Entry entry, queue_.Pop(deadline));
  DTRPO_RETURN_IF_ERROR(entry.status);
  return std::move(entry.batch);
}

template <typename Call>
auto BatchFeeder::Persist(const std::string& what, const std::string& on_whom, Call call)
    -> decltype(call()) {
  base::ScopedWait wait(waits_, what, on_whom);
  base::Backoff backoff({.max_backoff = kMaxBackoff}, /*seed=*/base::StableHash(what));
  for (;;) {
    auto result = call();
    if (result.ok() || !base::IsRetryable(result.status()) || stop_.stopped()) return result;
    stop_.SleepFor(*clock_, backoff.Next(result.status()));
  }
}

absl::StatusOr<FedBatch> BatchFeeder::Fetch(int64_t step) {
  FedBatch fed;
  const absl::Time started = clock_->Now();
  DTRPO_ASSIGN_OR_RETURN(
      fed.batch, Persist(absl::StrCat("batch ", step), "replay", [&] {
        auto batch = peers_->GetBatch(
            step, clock_->Now() + std::min(options_.longest_poll, options_.call_timeout));
        checkpoint_wanted_ = base::GetReason(batch.status()) == "checkpoint_wanted";
        return batch;
      }));
  const absl::Time fetched = clock_->Now();
  DTRPO_ASSIGN_OR_RETURN(
      fed.reference, Persist(absl::StrCat("reference scores of batch ", step), "reference", [&] {
        return peers_->Score(fed.batch, options_.plan, clock_->Now() + options_.call_timeout);
      }));
  if (fed.reference.size() != 2 * fed.batch.items.size()) {
    return absl::InternalError(absl::StrCat("batch ", step, ": the reference answered ",
                                            fed.reference.size(), " scores for ",
                                            2 * fed.batch.items.size(), " answers"));
  }
  fed.fetch_time = fetched - started;
  fed.score_time = clock_->Now() - fetched;
  return fed;
}

// Push waits without polling; Close() in the destructor wakes it.
void BatchFeeder::Hand(Entry entry) {
  queue_.Push(std::move(entry), absl::InfiniteFuture()).IgnoreError();
}

void BatchFeeder::Run() {
  for (int64_t step = options_.first_step; step <= options_.last_step && !stop_.stopped(); ++step) {
    absl::StatusOr<FedBatch> fed = Fetch(step);
    if (!fed.ok()) return Hand({.status = fed.status(), .batch = {}});
    const bool last = fed->batch.last;
    Hand({.status = absl::OkStatus(), .batch = *std::move(fed)});
    if (last) break;
  }
  Hand({.status = absl::OutOfRangeError("no further batches"), .batch = {}});
}

}  // namespace dtrpo::learner
