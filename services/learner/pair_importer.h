// Thread safety: all methods may be called from any thread; the importer's own does the work.
//
// Brings data.pairs into the replay store, epoch after epoch, each in a seeded order of its own:
//
//   read the file once: rejected lines are listed, held-out pairs kept    (pairs/pair_file.h)
//   -> tell the coordinator; it answers what was imported before
//   -> for each use u that wasn't: insert under the key (epoch u div usable, u mod usable), with
//      back-pressure, for as long as the run lives
//
// Everything is a function of file, job and seed, so an importer that was killed is followed by one
// that inserts the same pairs under the same keys: nothing is imported twice, nothing is lost. The
// file must not change; the coordinator compares its fingerprint.
#pragma once

#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "common/base/clock.h"
#include "common/base/file_system.h"
#include "common/base/stop_signal.h"
#include "common/base/wait_states.h"
#include "common/job/job_spec.h"
#include "common/pairs/pair_file.h"
#include "services/learner/pair_peers.h"

namespace dtrpo::learner {

class PairImporter {
 public:
  struct Options {
    std::string job_id;
    job::JobSpec spec;
    absl::Duration call_timeout = absl::Seconds(30);
  };
  // All outlive the importer.
  struct Deps {
    PairPeers* peers;
    base::FileSystem* files;
    base::Clock* clock;
    base::WaitStateRegistry* waits;
  };
  PairImporter(Options options, Deps deps);
  ~PairImporter();  // stops and joins: a call under way ends first

  // The held-out pairs, once the file is read and the coordinator knows of it. DEADLINE_EXCEEDED:
  // not yet. Any other error is final, and status() from then on.
  absl::StatusOr<absl::Span<const trajectory::PreferencePair>> HeldOut(absl::Time deadline);
  // OK while all goes well, and when everything is imported.
  absl::Status status() const;

  // "<output>/rejects.jsonl"
  static std::string RejectsPath(const job::JobSpec& spec);

 private:
  void Run();
  absl::Status Import();
  absl::Status ReadFile();
  absl::StatusOr<v1::ReportPairsResponse> Tell(const v1::ReportPairsRequest& request);
  absl::Status InsertUse(int64_t use, int64_t index);
  // Repeats a call, registered as a wait, until it answers for good or the importer ends.
  absl::Status Persist(const std::string& what, const std::string& on_whom,
                       const std::function<absl::Status(absl::Time)>& call);

  const Options options_;
  const Deps deps_;
  base::StopSignal stop_;
  std::unique_ptr<pairs::PairReader> reader_;
  std::unique_ptr<pairs::PairFile> file_;  // set before told_
  mutable absl::Mutex mutex_;
  bool told_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Status status_ ABSL_GUARDED_BY(mutex_);
  std::thread thread_;  // last: it uses all of the above
};

}  // namespace dtrpo::learner
