#include <chrono>
#include <exception>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>
#include <utility>
#include <vector>

#include "common/collectives/backend.h"

namespace dtrpo::collectives {
namespace {

class GlooOperation : public Operation {
 public:
  explicit GlooOperation(c10::intrusive_ptr<c10d::Work> work) : work_(std::move(work)) {}
  bool Wait(absl::Duration patience) override {
    try {
      work_->wait(absl::ToChronoMilliseconds(patience));
      return true;
    } catch (...) {
      // Running out of patience is an exception too, also when the end comes right behind it.
      if (!work_->isCompleted()) return false;
      if (const std::exception_ptr failed = work_->exception()) std::rethrow_exception(failed);
      return true;
    }
  }

 private:
  const c10::intrusive_ptr<c10d::Work> work_;
};

// Gloo has no reduce-scatter: c10d's is an all-reduce of a copy, whose wait can't be cut short.
// This is one in place, of which the own slice is taken.
class SlicedReduction : public GlooOperation {
 public:
  SlicedReduction(c10::intrusive_ptr<c10d::Work> work, torch::Tensor slice, torch::Tensor output)
      : GlooOperation(std::move(work)), slice_(std::move(slice)), output_(std::move(output)) {}
  bool Wait(absl::Duration patience) override {
    if (!GlooOperation::Wait(patience)) return false;
    output_.copy_(slice_);
    return true;
  }

 private:
  const torch::Tensor slice_, output_;
};

// Gloo's group has no abort of its own. Without connections the peers' operations fail; own ones
// that wait for a peer that stands still end with their timeout, on Gloo's threads.
class Group : public c10d::ProcessGroupGloo {
 public:
  using ProcessGroupGloo::ProcessGroupGloo;
  void CloseConnections() {
    for (const auto& context : contexts_) context->closeConnections();
  }
};

class GlooBackend : public Backend {
 public:
  explicit GlooBackend(c10::intrusive_ptr<Group> group) : group_(std::move(group)) {}

  std::shared_ptr<Operation> ReduceScatter(torch::Tensor input, torch::Tensor output) override {
    std::vector<torch::Tensor> tensors = {input};
    const int64_t length = output.numel();
    return std::make_shared<SlicedReduction>(
        group_->allreduce(tensors), input.narrow(0, group_->getRank() * length, length), output);
  }
  std::shared_ptr<Operation> AllGather(torch::Tensor input, torch::Tensor output) override {
    return std::make_shared<GlooOperation>(group_->_allgather_base(output, input));
  }
  void Abort() override { group_->CloseConnections(); }

 private:
  const c10::intrusive_ptr<Group> group_;
};

}  // namespace

std::shared_ptr<Backend> MakeGlooBackend(const BackendOptions& options) {
  c10d::TCPStoreOptions client;
  client.port = static_cast<uint16_t>(options.store_port);
  client.waitWorkers = false;
  client.timeout = absl::ToChronoMilliseconds(options.join_timeout);
  const auto store = c10::make_intrusive<c10d::PrefixStore>(
      options.name + "/gloo", c10::make_intrusive<c10d::TCPStore>(options.store_host, client));
  auto gloo =
      c10d::ProcessGroupGloo::Options::create(absl::ToChronoMilliseconds(options.join_timeout));
  gloo->devices.push_back(c10d::ProcessGroupGloo::createDeviceForHostname(options.host));
  auto group = c10::make_intrusive<Group>(store, options.rank, options.world, gloo);
  group->setTimeout(absl::ToChronoMilliseconds(options.timeout));
  return std::make_shared<GlooBackend>(std::move(group));
}

}  // namespace dtrpo::collectives
