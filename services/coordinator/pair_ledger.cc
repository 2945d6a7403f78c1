#include "services/coordinator/pair_ledger.h"

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/base/retry_after.h"

namespace dtrpo::coordinator {

absl::Status PairLedger::Begin(const v1::PairCounts& file, const std::string& fingerprint) {
  const bool sane = file.rejected() >= 0 && file.held_out() >= 0 && file.usable() >= 1 &&
                    file.rejected() + file.held_out() + file.usable() == file.lines();
  if (!sane) {
    return absl::InvalidArgumentError(absl::StrCat("field file: ", file.rejected(), " rejected, ",
                                                   file.held_out(), " held out and ", file.usable(),
                                                   " usable lines of ", file.lines()));
  }
  if (fingerprint_.empty()) {
    fingerprint_ = fingerprint;
    file_ = file;
    return absl::OkStatus();
  }
  if (fingerprint == fingerprint_ && file.usable() == file_.usable()) return absl::OkStatus();
  absl::Status status = absl::FailedPreconditionError(
      "data.pairs isn't the file that the job began with; a job goes on with the same pairs only");
  base::SetReason(status, kPairsChanged);
  return status;
}

void PairLedger::OnStored(int64_t epoch, int64_t index) {
  const int64_t use = UseOf(epoch, index);
  if (use >= final_before_ && final_.count(use) == 0) stored_.insert(use);
}

void PairLedger::OnConsumed(int64_t epoch, int64_t index) {
  Finish(UseOf(epoch, index), consumed_);
}

// External pairs never grow stale: replay lets go of them only when the data has ended.
void PairLedger::OnEvicted(int64_t epoch, int64_t index) {
  Finish(UseOf(epoch, index), cancelled_);
}

void PairLedger::Finish(int64_t use, int64_t& count) {
  stored_.erase(use);
  if (use < final_before_ || !final_.insert(use).second) return;
  ++count;
  while (!final_.empty() && *final_.begin() == final_before_) {
    final_.erase(final_.begin());
    ++final_before_;
  }
  DTRPO_CHECK_EQ(consumed_ + cancelled_, final_before_ + static_cast<int64_t>(final_.size()));
}

void PairLedger::OnStoreLost(int64_t contained) {
  for (int64_t use = final_before_; use < contained; ++use) Finish(use, consumed_);
  stored_.clear();
  all_imported_ = false;
}

void PairLedger::CancelRest() {
  cancelled_ += static_cast<int64_t>(stored_.size());
  stored_.clear();
}

v1::PairCounts PairLedger::counts() const {
  v1::PairCounts counts = file_;
  const int64_t stored = static_cast<int64_t>(stored_.size());
  counts.set_imported(stored + consumed_ + cancelled_);
  counts.set_stored(stored);
  counts.set_consumed(consumed_);
  counts.set_cancelled(cancelled_);
  counts.set_complete(all_imported_);
  return counts;
}

void PairLedger::Fill(v1::ReportPairsResponse* response) const {
  response->set_first_use(final_before_);
  response->mutable_known_uses()->Add(final_.begin(), final_.end());
  response->mutable_known_uses()->Add(stored_.begin(), stored_.end());
}

int64_t PairLedger::OldestLiveEpoch() const {
  return file_.usable() > 0 ? final_before_ / file_.usable() : 0;
}

}  // namespace dtrpo::coordinator
