// Not thread-safe: belongs to the coordinator's lock. Time comes in as an argument.
//
// The processes that do the work: who they are, when they last spoke, which weights they hold. A
// worker is known by its incarnation (random per process start): the same one again is the same
// worker, another one at the same address is a process that took the place of one that died.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "proto/dtrpo/v1/coordinator.pb.h"

namespace dtrpo::coordinator {

inline constexpr char kRollout[] = "rollout";
inline constexpr char kReference[] = "reference";
inline constexpr char kLearner[] = "learner";

struct Worker {
  std::string id;  // "<role>-<number>", never given twice
  std::string role;
  std::string address;
  std::string metrics_address;
  std::string incarnation;
  std::string rendezvous_address;  // learners
  std::optional<int32_t> ordinal;  // learners
  int64_t pid = 0;
  absl::Time last_heartbeat;
  // As of the last heartbeat:
  std::string job_id;
  std::string state;
  int64_t version = 0;
  std::vector<int64_t> versions_held;
  std::vector<v1::WaitState> waits;

  bool Holds(int64_t version) const;
  template <typename Archive>
  void Kept(Archive& archive) {
    archive(id, role, address, metrics_address, incarnation, rendezvous_address, ordinal, pid,
            last_heartbeat, job_id, state, version, versions_held, waits);
  }
};

class WorkerRegistry {
 public:
  explicit WorkerRegistry(absl::Duration timeout) : timeout_(timeout) {}

  struct Registration {
    std::string worker_id;
    std::string replaced;  // id of the worker whose place it took; empty: none. It is gone from the
                           // registry
  };
  // INVALID_ARGUMENT for an unknown role or an empty address or incarnation.
  absl::StatusOr<Registration> Register(const v1::RegisterWorkerRequest& request, absl::Time now);

  // NOT_FOUND: unknown; the worker registers again.
  absl::Status Heartbeat(const v1::HeartbeatRequest& request, absl::Time now);
  // Versions as a lease request tells them, between heartbeats.
  void NoteVersions(absl::string_view worker_id, int64_t version,
                    const std::vector<int64_t>& versions_held);

  // The coordinator was away and heard nobody: all have spoken just now.
  void RestoredAt(absl::Time now);
  // Forgets one; false when it isn't there.
  bool Remove(absl::string_view worker_id);
  // Forgets those that were silent for longer than the timeout and returns them.
  std::vector<Worker> Expire(absl::Time now);

  const Worker* Find(absl::string_view worker_id) const;  // null: unknown
  // By number, so the oldest first.
  std::vector<const Worker*> OfRole(absl::string_view role) const;
  std::vector<const Worker*> All() const;

  template <typename Archive>
  void Kept(Archive& archive) {
    archive(workers_, by_incarnation_, registered_);
  }

 private:
  const absl::Duration timeout_;
  std::map<std::string, Worker, std::less<>> workers_;
  std::map<std::string, std::string> by_incarnation_;  // -> id
  std::map<std::string, int64_t> registered_;          // per role, in all
};

// What clients and learners see of a worker.
v1::WorkerStatus ToStatus(const Worker& worker);

}  // namespace dtrpo::coordinator
