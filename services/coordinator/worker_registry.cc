#include "services/coordinator/worker_registry.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

namespace dtrpo::coordinator {

bool Worker::Holds(int64_t wanted) const {
  return std::find(versions_held.begin(), versions_held.end(), wanted) != versions_held.end();
}

absl::StatusOr<WorkerRegistry::Registration> WorkerRegistry::Register(
    const v1::RegisterWorkerRequest& request, absl::Time now) {
  const std::string& role = request.role();
  if (role != kRollout && role != kReference && role != kLearner) {
    return absl::InvalidArgumentError(
        absl::StrCat("field role: \"", role, "\" is none of rollout, reference, learner"));
  }
  if (request.address().empty()) return absl::InvalidArgumentError("field address: is missing");
  if (request.incarnation().empty()) {
    return absl::InvalidArgumentError("field incarnation: is missing");
  }

  Registration registration;
  auto known = by_incarnation_.find(request.incarnation());
  if (known != by_incarnation_.end() && workers_.at(known->second).role == role) {
    registration.worker_id = known->second;
  } else {
    for (const auto& [id, worker] : workers_) {
      if (worker.address == request.address() && worker.role == role) registration.replaced = id;
    }
    if (!registration.replaced.empty()) {
      by_incarnation_.erase(workers_.at(registration.replaced).incarnation);
      workers_.erase(registration.replaced);
    }
    registration.worker_id = absl::StrCat(role, "-", ++registered_[role]);
    by_incarnation_[request.incarnation()] = registration.worker_id;
  }
  Worker& worker = workers_[registration.worker_id];
  worker.id = registration.worker_id;
  worker.role = role;
  worker.address = request.address();
  worker.metrics_address = request.metrics_address();
  worker.incarnation = request.incarnation();
  worker.rendezvous_address = request.rendezvous_address();
  if (request.has_ordinal()) worker.ordinal = request.ordinal();
  worker.pid = request.pid();
  worker.last_heartbeat = now;
  return registration;
}

absl::Status WorkerRegistry::Heartbeat(const v1::HeartbeatRequest& request, absl::Time now) {
  auto it = workers_.find(request.worker_id());
  if (it == workers_.end()) {
    return absl::NotFoundError(
        absl::StrCat("worker ", request.worker_id(), " isn't registered; register again"));
  }
  Worker& worker = it->second;
  worker.last_heartbeat = now;
  worker.job_id = request.job_id();
  worker.state = request.state();
  worker.version = request.version();
  worker.versions_held.assign(request.versions_held().begin(), request.versions_held().end());
  worker.waits.assign(request.waits().begin(), request.waits().end());
  return absl::OkStatus();
}

void WorkerRegistry::NoteVersions(absl::string_view worker_id, int64_t version,
                                  const std::vector<int64_t>& versions_held) {
  auto it = workers_.find(worker_id);
  if (it == workers_.end()) return;
  it->second.version = version;
  it->second.versions_held = versions_held;
}

std::vector<Worker> WorkerRegistry::Expire(absl::Time now) {
  std::vector<Worker> gone;
  for (auto it = workers_.begin(); it != workers_.end();) {
    if (now - it->second.last_heartbeat <= timeout_) {
      ++it;
      continue;
    }
    by_incarnation_.erase(it->second.incarnation);
    gone.push_back(std::move(it->second));
    it = workers_.erase(it);
  }
  return gone;
}

void WorkerRegistry::RestoredAt(absl::Time now) {
  for (auto& [id, worker] : workers_) worker.last_heartbeat = now;
}

bool WorkerRegistry::Remove(absl::string_view worker_id) {
  auto it = workers_.find(worker_id);
  if (it == workers_.end()) return false;
  by_incarnation_.erase(it->second.incarnation);
  workers_.erase(it);
  return true;
}

const Worker* WorkerRegistry::Find(absl::string_view worker_id) const {
  auto it = workers_.find(worker_id);
  return it == workers_.end() ? nullptr : &it->second;
}

std::vector<const Worker*> WorkerRegistry::All() const {
  std::vector<const Worker*> all;
  for (const auto& [id, worker] : workers_) all.push_back(&worker);
  // Ids end in a number: rollout-2 comes before rollout-10.
  std::sort(all.begin(), all.end(), [](const Worker* a, const Worker* b) {
    if (a->role != b->role) return a->role < b->role;
    if (a->id.size() != b->id.size()) return a->id.size() < b->id.size();
    return a->id < b->id;
  });
  return all;
}

std::vector<const Worker*> WorkerRegistry::OfRole(absl::string_view role) const {
  std::vector<const Worker*> workers = All();
  std::erase_if(workers, [role](const Worker* worker) { return worker->role != role; });
  return workers;
}

v1::WorkerStatus ToStatus(const Worker& worker) {
  v1::WorkerStatus status;
  status.set_worker_id(worker.id);
  status.set_role(worker.role);
  status.set_address(worker.address);
  status.set_pid(worker.pid);
  status.set_job_id(worker.job_id);
  status.set_state(worker.state);
  status.set_version(worker.version);
  status.set_last_heartbeat_unix_ms(absl::ToUnixMillis(worker.last_heartbeat));
  status.mutable_waits()->Add(worker.waits.begin(), worker.waits.end());
  status.set_metrics_address(worker.metrics_address);
  return status;
}

}  // namespace dtrpo::coordinator
