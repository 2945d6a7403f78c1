// Thread safety: all methods may be called from any thread.
//
// The coordinator as a worker sees it: registers whoever comes, hands out the assignment and the
// prompts that a test has put in, and keeps what it is told.
#pragma once

#include <algorithm>
#include <deque>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "common/rpc/serve.h"
#include "proto/dtrpo/v1/coordinator.grpc.pb.h"

namespace dtrpo::support {

class FakeCoordinator : public v1::WorkerService::Service {
 public:
  // What happened, in order: "register rollout", "lease 3", "report l3 STORED", and what others
  // Note().
  void Note(const std::string& event) ABSL_LOCKS_EXCLUDED(mutex_) {
    absl::MutexLock lock(&mutex_);
    events_.push_back(event);
  }
  std::vector<std::string> events() const ABSL_LOCKS_EXCLUDED(mutex_) {
    absl::MutexLock lock(&mutex_);
    return events_;
  }
  // Waits until `count` events begin with `prefix`. False after 10 s.
  bool AwaitEvents(const std::string& prefix, int count = 1) const ABSL_LOCKS_EXCLUDED(mutex_) {
    return Await([&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
      return std::count_if(events_.begin(), events_.end(), [&](const std::string& event) {
               return event.rfind(prefix, 0) == 0;
             }) >= count;
    });
  }
  // Waits for a heartbeat that fits.
  bool AwaitHeartbeat(const std::function<bool(const v1::HeartbeatRequest&)>& fits) const
      ABSL_LOCKS_EXCLUDED(mutex_) {
    return Await([&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return fits(heartbeat_); });
  }

  void Assign(const v1::Assignment& assignment) ABSL_LOCKS_EXCLUDED(mutex_) {
    absl::MutexLock lock(&mutex_);
    assignment_ = assignment;
  }
  // The next heartbeat finds its worker unknown.
  void ForgetWorkers() ABSL_LOCKS_EXCLUDED(mutex_) {
    absl::MutexLock lock(&mutex_);
    known_worker_.clear();
  }
  void OfferPrompts(const std::vector<v1::PromptLease>& leases) ABSL_LOCKS_EXCLUDED(mutex_) {
    absl::MutexLock lock(&mutex_);
    leases_.insert(leases_.end(), leases.begin(), leases.end());
  }
  // Answers the next `count` reports with an error after they were noted.
  void LoseReplies(int count) ABSL_LOCKS_EXCLUDED(mutex_) {
    absl::MutexLock lock(&mutex_);
    lost_replies_ = count;
  }

  std::vector<v1::RegisterWorkerRequest> registrations() const ABSL_LOCKS_EXCLUDED(mutex_) {
    absl::MutexLock lock(&mutex_);
    return registrations_;
  }
  std::vector<v1::PromptResult> results() const ABSL_LOCKS_EXCLUDED(mutex_) {
    absl::MutexLock lock(&mutex_);
    return results_;
  }

  grpc::Status RegisterWorker(grpc::ServerContext* context,
                              const v1::RegisterWorkerRequest* request,
                              v1::RegisterWorkerResponse* response) override {
    return rpc::Serve(*context, [&](const rpc::IncomingCall&) {
      absl::MutexLock lock(&mutex_);
      registrations_.push_back(*request);
      events_.push_back("register " + request->role());
      known_worker_ = absl::StrCat(request->role(), "-", registrations_.size());
      response->set_worker_id(known_worker_);
      response->set_heartbeat_interval_ms(20);
      return absl::OkStatus();
    });
  }
  grpc::Status Heartbeat(grpc::ServerContext* context, const v1::HeartbeatRequest* request,
                         v1::HeartbeatResponse* response) override {
    return rpc::Serve(*context, [&](const rpc::IncomingCall&) {
      absl::MutexLock lock(&mutex_);
      if (request->worker_id() != known_worker_) return absl::NotFoundError("register again");
      heartbeat_ = *request;
      *response->mutable_assignment() = assignment_;
      return absl::OkStatus();
    });
  }
  grpc::Status LeasePrompts(grpc::ServerContext* context, const v1::LeasePromptsRequest* request,
                            v1::LeasePromptsResponse* response) override {
    return rpc::Serve(*context, [&](const rpc::IncomingCall&) {
      absl::MutexLock lock(&mutex_);
      while (!leases_.empty() && response->leases_size() < request->max_prompts()) {
        *response->add_leases() = std::move(leases_.front());
        leases_.pop_front();
      }
      response->set_reason("no more prompts");
      response->set_retry_after_ms(20);
      if (response->leases_size() > 0) {
        events_.push_back(absl::StrCat("lease ", response->leases_size()));
      }
      return absl::OkStatus();
    });
  }
  grpc::Status ReportPrompts(grpc::ServerContext* context, const v1::ReportPromptsRequest* request,
                             v1::ReportPromptsResponse*) override {
    return rpc::Serve(*context, [&](const rpc::IncomingCall&) {
      absl::MutexLock lock(&mutex_);
      for (const v1::PromptResult& result : request->results()) {
        results_.push_back(result);
        events_.push_back(absl::StrCat("report ", result.lease_id(), " ",
                                       v1::PromptResult::Outcome_Name(result.outcome())));
      }
      return lost_replies_-- > 0 ? absl::UnavailableError("reply lost") : absl::OkStatus();
    });
  }

 private:
  template <typename Condition>
  bool Await(const Condition& condition) const ABSL_LOCKS_EXCLUDED(mutex_) {
    absl::MutexLock lock(&mutex_);
    return mutex_.AwaitWithTimeout(absl::Condition(&condition), absl::Seconds(10));
  }

  mutable absl::Mutex mutex_;
  std::vector<std::string> events_ ABSL_GUARDED_BY(mutex_);
  std::vector<v1::RegisterWorkerRequest> registrations_ ABSL_GUARDED_BY(mutex_);
  std::vector<v1::PromptResult> results_ ABSL_GUARDED_BY(mutex_);
  std::string known_worker_ ABSL_GUARDED_BY(mutex_);
  v1::HeartbeatRequest heartbeat_ ABSL_GUARDED_BY(mutex_);
  v1::Assignment assignment_ ABSL_GUARDED_BY(mutex_);
  std::deque<v1::PromptLease> leases_ ABSL_GUARDED_BY(mutex_);
  int lost_replies_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace dtrpo::support
