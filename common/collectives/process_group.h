// Thread safety: the operations are for one thread at a time; Abort() may be called from any.
//
// The ranks of one training, and what they compute together: c10d inside LibTorch behind one small
// interface, Gloo for tensors on the CPU and NCCL for those on a GPU. Every rank calls the same
// operations in the same order with tensors of the same size.
//
// Nothing waits for ever. An operation that fails, that a peer never joins, or that Abort() breaks
// off gives a Status that says which rank of how many was in which operation; it is UNAVAILABLE,
// for another attempt may do better. A group that has failed once stays failed: the tensors of the
// broken operation hold anything, and whoever is in the group starts anew in another one. Who died
// is known best by those who watch the processes (services/coordinator); they hand it to Abort().
#pragma once

#include <torch/types.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "common/collectives/backend.h"

namespace dtrpo::collectives {

class ProcessGroup {
 public:
  struct Options {
    int rank = 0;
    int world = 1;
    std::string name = {};   // the same for all ranks; never used twice with one store
    std::string store = {};  // host:port of a RendezvousStore that all ranks reach
    std::string host = {};   // of this rank, where the others connect to; empty: 127.0.0.1
    torch::Device device = torch::kCPU;  // of the tensors; GPUs need the CUDA build
    absl::Duration join_timeout = absl::Seconds(60);
    // The longest that one operation may take, waiting for the slowest rank included.
    absl::Duration timeout = absl::Minutes(5);
  };

  explicit ProcessGroup(Options options);
  // Leaves the group; doesn't wait for operations that a peer will never join.
  ~ProcessGroup();
  ProcessGroup(const ProcessGroup&) = delete;
  ProcessGroup& operator=(const ProcessGroup&) = delete;

  // Waits until all ranks are there. The first operation; may be aborted like the others.
  absl::Status Join() ABSL_LOCKS_EXCLUDED(mutex_);

  int rank() const { return options_.rank; }
  int world() const { return options_.world; }
  const torch::Device& device() const { return options_.device; }
  // "rank 1 of 4".
  std::string Who() const;

  // An operation under way. The tensors are the group's until Await() returned.
  class Pending {
   public:
    Pending() = default;

   private:
    friend class ProcessGroup;
    std::string what_;
    std::shared_ptr<Operation> operation_;
    absl::Status started_;
  };
  // output [n] = this rank's slice, the rank-th of `world` equal ones, of the sum of all inputs
  // [world * n]. Contiguous. The input is left undefined.
  Pending StartReduceScatter(const torch::Tensor& input, const torch::Tensor& output);
  // output [world * n] = the inputs [n] of all ranks, in order. The input may be the own slice of
  // the output.
  Pending StartAllGather(const torch::Tensor& input, const torch::Tensor& output);
  absl::Status Await(Pending& pending) ABSL_LOCKS_EXCLUDED(mutex_);

  // The words of all ranks, in order; they may differ in length. Through the CPU.
  absl::StatusOr<std::vector<std::string>> AllGatherBytes(absl::string_view own);

  // OK until something has failed or was aborted; then why, and nothing works any more.
  absl::Status status() const ABSL_LOCKS_EXCLUDED(mutex_);
  bool broken() const { return !status().ok(); }

  // Breaks off what is under way, and everything later, with `why`.
  void Abort(const std::string& why) ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  absl::Status Failed(absl::string_view what, absl::Status status) ABSL_LOCKS_EXCLUDED(mutex_);
  Pending Start(std::string what, std::shared_ptr<Backend> backend,
                const std::function<std::shared_ptr<Operation>(Backend&)>& call);

  const Options options_;
  mutable absl::Mutex mutex_;
  absl::Status broken_ ABSL_GUARDED_BY(mutex_);
  std::shared_ptr<Backend> host_backend_ ABSL_GUARDED_BY(mutex_);    // CPU tensors
  std::shared_ptr<Backend> device_backend_ ABSL_GUARDED_BY(mutex_);  // those of options_.device
};

}  // namespace dtrpo::collectives
