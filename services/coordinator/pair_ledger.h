// Not thread-safe: belongs to the coordinator's lock. Pure state.
//
// What became of the pairs of a job's data.pairs. The learner imports them; uses are numbered
// through the epochs (use u: pair u mod usable of the order of epoch u div usable). What is stored
// and consumed is known from replay's event log alone:
//
//   (not imported) --stored--> STORED --consumed--> [consumed]
//         ^                       |
//         | the store was lost    +--evicted (after the end of data), the job ends--> [cancelled]
//         +-----------------------+
//
//   imported = stored + consumed + cancelled, and of the file: lines = rejected + held_out + usable
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>

#include "absl/status/status.h"
#include "proto/dtrpo/v1/coordinator.pb.h"

namespace dtrpo::coordinator {

inline constexpr char kPairsChanged[] = "pairs_changed";  // FAILED_PRECONDITION

class PairLedger {
 public:
  // A learner has read the file: the same words each time. INVALID_ARGUMENT when the counts don't
  // add up, FAILED_PRECONDITION "pairs_changed" when the file isn't the one that was told first.
  absl::Status Begin(const v1::PairCounts& file, const std::string& fingerprint);
  // Every use of every epoch is stored or final.
  void AllImported() { all_imported_ = true; }
  bool all_imported() const { return all_imported_; }

  // Replay's events, in log order. `index` counts within the epoch.
  void OnStored(int64_t epoch, int64_t index);
  void OnConsumed(int64_t epoch, int64_t index);
  void OnEvicted(int64_t epoch, int64_t index);
  // The store came back empty: what was stored is to be imported again, but for the first
  // `contained` uses, which are in the checkpoint that the job goes on from.
  void OnStoreLost(int64_t contained);
  // The job ended.
  void CancelRest();

  v1::PairCounts counts() const;
  // What an importer need not bring: uses before first_use, and known_uses.
  void Fill(v1::ReportPairsResponse* response) const;
  // Of the oldest use that isn't final: keys of older epochs may be forgotten.
  int64_t OldestLiveEpoch() const;

  template <typename Archive>
  void Kept(Archive& archive) {
    archive(file_, fingerprint_, all_imported_, stored_, final_before_, final_, consumed_,
            cancelled_);
  }

 private:
  int64_t UseOf(int64_t epoch, int64_t index) const { return epoch * file_.usable() + index; }
  void Finish(int64_t use, int64_t& count);

  v1::PairCounts file_;
  std::string fingerprint_;
  bool all_imported_ = false;
  std::set<int64_t> stored_;
  int64_t final_before_ = 0;  // every use before it is final
  std::set<int64_t> final_;   // later ones
  int64_t consumed_ = 0;
  int64_t cancelled_ = 0;
};

}  // namespace dtrpo::coordinator
