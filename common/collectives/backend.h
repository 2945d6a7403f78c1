// Thread safety: as ProcessGroup's, the only caller.
//
// What ProcessGroup needs of c10d, so that c10d's headers stay in two files. All of these throw
// LibTorch's exceptions; ProcessGroup makes them Status.
#pragma once

#include <torch/types.h>

#include <functional>
#include <memory>
#include <string>

#include "absl/time/time.h"

namespace dtrpo::collectives {

class Operation {
 public:
  virtual ~Operation() = default;
  // Waits up to `patience`; false when it is still under way. Throws what the operation failed
  // with.
  virtual bool Wait(absl::Duration patience) = 0;
};

class Backend {
 public:
  virtual ~Backend() = default;
  virtual std::shared_ptr<Operation> ReduceScatter(torch::Tensor input, torch::Tensor output) = 0;
  virtual std::shared_ptr<Operation> AllGather(torch::Tensor input, torch::Tensor output) = 0;
  // Makes operations under way fail soon, here and on the other ranks. From any thread.
  virtual void Abort() = 0;
};

struct BackendOptions {
  int rank = 0;
  int world = 1;
  std::string name;
  std::string store_host;
  int store_port = 0;
  std::string host;
  torch::Device device = torch::kCPU;
  absl::Duration join_timeout;
  absl::Duration timeout;
};

// Blocks until all ranks are there, or for join_timeout.
std::shared_ptr<Backend> MakeGlooBackend(const BackendOptions& options);
// Throws unless this is the CUDA build.
std::shared_ptr<Backend> MakeNcclBackend(const BackendOptions& options);

}  // namespace dtrpo::collectives
