#include "common/collectives/backend.h"

#ifdef DTRPO_CUDA
#include <c10/cuda/CUDAGuard.h>

#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroupNCCL.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>
#include <utility>

#include "absl/time/clock.h"
#endif

namespace dtrpo::collectives {

#ifdef DTRPO_CUDA

namespace {

constexpr absl::Duration kPoll = absl::Microseconds(50);

class NcclOperation : public Operation {
 public:
  explicit NcclOperation(c10::intrusive_ptr<c10d::Work> work) : work_(std::move(work)) {}
  // The host waits for the kernel, so that a peer that never comes is noticed here and not in the
  // next copy to the host; then the current stream is ordered behind it.
  bool Wait(absl::Duration patience) override {
    const absl::Time until = absl::Now() + patience;
    while (!work_->isCompleted()) {
      if (absl::Now() > until) return false;
      absl::SleepFor(kPoll);
    }
    if (const std::exception_ptr failed = work_->exception()) std::rethrow_exception(failed);
    work_->wait();
    return true;
  }

 private:
  const c10::intrusive_ptr<c10d::Work> work_;
};

// NCCL runs on streams of its own, behind the work that the current stream had when the operation
// began; so a bucket is reduced while the backward pass goes on.
class NcclBackend : public Backend {
 public:
  NcclBackend(c10::intrusive_ptr<c10d::ProcessGroupNCCL> group, torch::Device device)
      : group_(std::move(group)), device_(device) {}

  std::shared_ptr<Operation> ReduceScatter(torch::Tensor input, torch::Tensor output) override {
    const c10::cuda::CUDAGuard guard(device_);
    return std::make_shared<NcclOperation>(group_->_reduce_scatter_base(output, input));
  }
  std::shared_ptr<Operation> AllGather(torch::Tensor input, torch::Tensor output) override {
    const c10::cuda::CUDAGuard guard(device_);
    return std::make_shared<NcclOperation>(group_->_allgather_base(output, input));
  }
  void Abort() override { group_->abort(); }

 private:
  const c10::intrusive_ptr<c10d::ProcessGroupNCCL> group_;
  const torch::Device device_;
};

}  // namespace

std::shared_ptr<Backend> MakeNcclBackend(const BackendOptions& options) {
  const c10::cuda::CUDAGuard guard(options.device);
  c10d::TCPStoreOptions client;
  client.port = static_cast<uint16_t>(options.store_port);
  client.waitWorkers = false;
  client.timeout = absl::ToChronoMilliseconds(options.join_timeout);
  const auto store = c10::make_intrusive<c10d::PrefixStore>(
      options.name + "/nccl", c10::make_intrusive<c10d::TCPStore>(options.store_host, client));
  auto nccl = c10d::ProcessGroupNCCL::Options::create();
  nccl->timeout = absl::ToChronoMilliseconds(options.timeout);
  return std::make_shared<NcclBackend>(
      c10::make_intrusive<c10d::ProcessGroupNCCL>(store, options.rank, options.world, nccl),
      options.device);
}

#else

std::shared_ptr<Backend> MakeNcclBackend(const BackendOptions& options) {
  TORCH_CHECK(false, "device ", options.device.str(),
              ": this build has no CUDA; build with -D DTRPO_CUDA=ON");
}

#endif  // DTRPO_CUDA

}  // namespace dtrpo::collectives
