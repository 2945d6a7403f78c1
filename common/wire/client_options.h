// Thread safety: plain data; CallService has no state.
//
// What the typed clients share: who is called, and how a call is retried. Everything here is
// idempotent on the server's side, so each client retries UNAVAILABLE, and back-pressure that names
// a retry-after, until the caller's deadline.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "common/base/retry.h"
#include "common/base/stop_signal.h"
#include "common/base/wait_states.h"
#include "common/rpc/unary_call.h"

namespace dtrpo::wire {

// A job, and for learners the attempt that the coordinator granted; others leave it at 0 and aren't
// fenced.
struct JobAttempt {
  std::string job_id;
  int32_t attempt = 0;
};

struct ClientOptions {
  std::string target;  // "replay 127.0.0.1:4003", for messages and wait states
  base::WaitStateRegistry* waits = nullptr;  // null: waits aren't registered
  base::StopSignal* stop = nullptr;          // ends the waits between attempts
  uint64_t seed = 0;                         // of the back-off's jitter
  base::RetryOptions retry;                  // max_attempts 1 switches retries off
};

// One unary call with retries. `what` says what is wanted, e.g. "batch 12 of job add-1".
template <typename Stub, typename Interface, typename Request, typename Response>
absl::StatusOr<Response> CallService(
    const ClientOptions& options, const std::string& what, Stub* stub,
    grpc::Status (Interface::*method)(grpc::ClientContext*, const Request&, Response*),
    const Request& request, const JobAttempt& job, absl::Time deadline) {
  base::ScopedWait wait(options.waits, what, options.target);
  const base::RetryCall call = {.what = absl::StrCat(what, " from ", options.target),
                                .deadline = deadline,
                                .seed = options.seed,
                                .stop = options.stop};
  return base::Retry(
      options.retry, call, [&](absl::Time attempt_deadline) -> absl::StatusOr<Response> {
        return rpc::UnaryCall(
            stub, method, request,
            {.deadline = attempt_deadline, .job_id = job.job_id, .attempt = job.attempt});
      });
}

}  // namespace dtrpo::wire
