#include "common/training/sharded_optimizer.h"

#include <torch/csrc/autograd/function_hook.h>
#include <torch/csrc/autograd/variable.h>
#include <torch/utils.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/base/status_macros.h"
#include "common/model/torch_boundary.h"

namespace dtrpo::training {

struct ShardedOptimizer::Hook : public torch::autograd::PostAccumulateGradHook {
  Hook(ShardedOptimizer* optimizer, int64_t parameter)
      : optimizer(optimizer), parameter(parameter) {}
  void operator()(const torch::autograd::Variable&) override { optimizer->OnGradient(parameter); }
  ShardedOptimizer* const optimizer;
  const int64_t parameter;
};

ShardedOptimizer::ShardedOptimizer(TrainedModel* trained, collectives::ProcessGroup* group,
                                   const Options& options)
    : group_(group),
      options_(options),
      has_masters_(trained->has_masters()),
      saves_masters_(trained->parameters_are_state()) {}

ShardedOptimizer::~ShardedOptimizer() {
  for (const auto& [name, parameter] : parameters_) {
    torch::autograd::impl::set_post_acc_grad_hooks(parameter, nullptr);
  }
}

absl::StatusOr<std::unique_ptr<ShardedOptimizer>> ShardedOptimizer::Create(
    TrainedModel* trained, collectives::ProcessGroup* group, const Options& options) {
  std::unique_ptr<ShardedOptimizer> optimizer(new ShardedOptimizer(trained, group, options));
  DTRPO_RETURN_IF_ERROR(model::TorchBoundary([&] {
    const NamedTensors masters = trained->TakeMasters();
    optimizer->parameters_ = trained->trained();
    optimizer->Flatten(optimizer->has_masters_ ? masters : NamedTensors());
  }));
  return optimizer;
}

void ShardedOptimizer::Flatten(const NamedTensors& masters) {
  torch::NoGradGuard no_grad;
  std::vector<int64_t> lengths;
  for (const auto& [name, parameter] : parameters_) lengths.push_back(parameter.numel());
  DTRPO_CHECK(!parameters_.empty()) << "nothing is trained";
  const torch::TensorOptions stored = parameters_.front().second.options().requires_grad(false);
  const torch::Dtype own = parameters_.front().second.scalar_type();
  const torch::TensorOptions summed =
      stored.dtype(own == torch::kFloat64 ? torch::kFloat64 : torch::kFloat32);
  const int64_t bucket_elements =
      std::max<int64_t>(1, options_.bucket_bytes / static_cast<int64_t>(summed.dtype().itemsize()));
  bucket_of_.resize(parameters_.size());
  gradient_of_.resize(parameters_.size());
  const int world = group_->world();
  for (Bucket& layout : MakeBuckets(lengths, world, bucket_elements)) {
    FlatBucket& bucket = buckets_.emplace_back();
    bucket.layout = std::move(layout);
    const int64_t length = bucket.layout.length, slice = length / world;
    const int64_t begin = group_->rank() * slice;
    bucket.parameters = torch::zeros({length}, stored);
    bucket.gradients = torch::zeros({length}, summed);
    bucket.gradient_slice = torch::empty({slice}, summed);
    bucket.parameter_slice = bucket.parameters.narrow(0, begin, slice);
    bucket.master_slice = has_masters_ ? torch::zeros({slice}, summed) : bucket.parameter_slice;
    for (const BucketEntry& entry : bucket.layout.entries) {
      torch::Tensor parameter = parameters_[entry.parameter].second;
      const auto view = [&](const torch::Tensor& flat) {
        return flat.narrow(0, entry.offset, parameter.numel()).view(parameter.sizes());
      };
      view(bucket.parameters).copy_(parameter);
      parameter.set_data(view(bucket.parameters));
      gradient_of_[entry.parameter] = view(bucket.gradients);
      bucket_of_[entry.parameter] = static_cast<int64_t>(buckets_.size()) - 1;
    }
    const torch::Tensor exp_avg = torch::zeros({slice}, summed);
    const torch::Tensor exp_avg_sq = torch::zeros({slice}, summed);
    for (const Piece& piece : PiecesOf(bucket.layout, lengths, group_->rank(), world)) {
      const auto cut = [&](const torch::Tensor& flat) {
        return flat.narrow(0, piece.offset, piece.end - piece.begin);
      };
      if (has_masters_) {
        const torch::Tensor master = masters[piece.parameter].second.detach().reshape({-1});
        cut(bucket.master_slice).copy_(master.narrow(0, piece.begin, piece.end - piece.begin));
      }
      bucket.pieces.push_back({.piece = piece,
                               .decayed = parameters_[piece.parameter].second.dim() >= 2,
                               .master = cut(bucket.master_slice),
                               .gradient = cut(bucket.gradient_slice),
                               .exp_avg = cut(exp_avg),
                               .exp_avg_sq = cut(exp_avg_sq),
                               .steps = torch::zeros({}, summed.dtype(torch::kFloat32))});
    }
  }
  for (size_t i = 0; i < parameters_.size(); ++i) {
    torch::autograd::impl::set_post_acc_grad_hooks(
        parameters_[i].second, std::make_unique<Hook>(this, static_cast<int64_t>(i)));
  }
}

void ShardedOptimizer::BeginStep() {
  torch::NoGradGuard no_grad;
  last_pass_ = late_gradient_ = false;
  launched_ = 0;
  for (FlatBucket& bucket : buckets_) bucket.gradients.zero_();
  for (const auto& [name, parameter] : parameters_) parameter.mutable_grad().reset();
}

void ShardedOptimizer::BeforeLastBackward() {
  last_pass_ = true;
  for (FlatBucket& bucket : buckets_) {
    bucket.missing = static_cast<int64_t>(bucket.layout.entries.size());
  }
}

// The gradient moves into the bucket at once: in bfloat16 two whole sets never exist.
void ShardedOptimizer::OnGradient(int64_t parameter) {
  torch::NoGradGuard no_grad;
  FlatBucket& bucket = buckets_[bucket_of_[parameter]];
  if (static_cast<size_t>(bucket_of_[parameter]) < launched_) {
    late_gradient_ = true;  // a parameter that is used twice in ways autograd doesn't add up
    return;
  }
  torch::Tensor& gradient = parameters_[parameter].second.mutable_grad();
  gradient_of_[parameter].add_(gradient);
  gradient.reset();
  if (!last_pass_) return;
  --bucket.missing;
  LaunchReady();
}

void ShardedOptimizer::LaunchReady() {
  while (launched_ < buckets_.size() && buckets_[launched_].missing <= 0) {
    FlatBucket& bucket = buckets_[launched_++];
    bucket.reduction = group_->StartReduceScatter(bucket.gradients, bucket.gradient_slice);
  }
}

absl::Status ShardedOptimizer::FinishGradients() {
  DTRPO_RETURN_IF_ERROR(model::TorchBoundary([&] {
    for (FlatBucket& bucket : buckets_) bucket.missing = 0;
    LaunchReady();
  }));
  for (FlatBucket& bucket : buckets_) DTRPO_RETURN_IF_ERROR(group_->Await(bucket.reduction));
  if (late_gradient_) {
    return absl::InternalError("a gradient came after its bucket had left for the other ranks");
  }
  return absl::OkStatus();
}

double ShardedOptimizer::SquaresOfGradients() const {
  torch::NoGradGuard no_grad;
  std::vector<torch::Tensor> slices;
  for (const FlatBucket& bucket : buckets_) slices.push_back(bucket.gradient_slice);
  return torch::stack(at::_foreach_norm(slices)).to(torch::kFloat64).square().sum().item<double>();
}

void ShardedOptimizer::UpdatePieces(FlatBucket& bucket, double learning_rate, bool decayed) {
  std::vector<torch::Tensor> masters, gradients, exp_avg, exp_avg_sq, steps;
  for (OwnPiece& own : bucket.pieces) {
    if (own.decayed != decayed) continue;
    own.steps.add_(1);
    masters.push_back(own.master);
    gradients.push_back(own.gradient);
    exp_avg.push_back(own.exp_avg);
    exp_avg_sq.push_back(own.exp_avg_sq);
    steps.push_back(own.steps);
  }
  if (masters.empty()) return;
  at::_fused_adamw_(masters, gradients, exp_avg, exp_avg_sq, /*max_exp_avg_sqs=*/{}, steps,
                    learning_rate, options_.adamw.beta1, options_.adamw.beta2,
                    decayed ? options_.adamw.weight_decay : 0, options_.adamw.epsilon,
                    /*amsgrad=*/false, /*maximize=*/false);
}

absl::Status ShardedOptimizer::Gather() {
  std::vector<collectives::ProcessGroup::Pending> gathers;
  for (FlatBucket& bucket : buckets_) {
    if (has_masters_) bucket.parameter_slice.copy_(bucket.master_slice);
    gathers.push_back(group_->StartAllGather(bucket.parameter_slice, bucket.parameters));
  }
  for (auto& gather : gathers) DTRPO_RETURN_IF_ERROR(group_->Await(gather));
  return absl::OkStatus();
}

absl::Status ShardedOptimizer::Step(double learning_rate, double gradient_factor) {
  std::vector<collectives::ProcessGroup::Pending> gathers;
  DTRPO_RETURN_IF_ERROR(model::TorchBoundary([&] {
    torch::NoGradGuard no_grad;
    for (FlatBucket& bucket : buckets_) {
      if (gradient_factor != 1) bucket.gradient_slice.mul_(gradient_factor);
      UpdatePieces(bucket, learning_rate, /*decayed=*/true);
      UpdatePieces(bucket, learning_rate, /*decayed=*/false);
      if (has_masters_) bucket.parameter_slice.copy_(bucket.master_slice);
      gathers.push_back(group_->StartAllGather(bucket.parameter_slice, bucket.parameters));
    }
  }));
  for (auto& gather : gathers) DTRPO_RETURN_IF_ERROR(group_->Await(gather));
  return absl::OkStatus();
}

NamedTensors ShardedOptimizer::State() const {
  NamedTensors state;
  for (const FlatBucket& bucket : buckets_) {
    for (const OwnPiece& own : bucket.pieces) {
      const auto& [name, parameter] = parameters_[own.piece.parameter];
      const auto add = [&, &name = name, &parameter = parameter](const char* kind,
                                                                 const torch::Tensor& tensor) {
        state.emplace_back(
            RangeName(absl::StrCat(kind, name), own.piece.begin, own.piece.end, parameter.numel()),
            tensor);
      };
      add(kFirstMoment, own.exp_avg);
      add(kSecondMoment, own.exp_avg_sq);
      if (saves_masters_) add(kMaster, own.master);
      // One number per parameter: kept by whoever has its beginning.
      if (own.piece.begin == 0) {
        state.emplace_back(absl::StrCat(kSteps, name), own.steps.view({1}));
      }
    }
  }
  return state;
}

absl::Status ShardedOptimizer::Restore(const SavedOptimizer& saved) {
  return model::TorchBoundary([&]() -> absl::Status {
    torch::NoGradGuard no_grad;
    for (FlatBucket& bucket : buckets_) {
      for (OwnPiece& own : bucket.pieces) {
        const auto& [name, parameter] = parameters_[own.piece.parameter];
        const auto read = [&, &name = name, &parameter = parameter](const char* kind,
                                                                    const torch::Tensor& to) {
          return saved.Read(absl::StrCat(kind, name), own.piece.begin, parameter.numel(), to);
        };
        DTRPO_RETURN_IF_ERROR(read(kFirstMoment, own.exp_avg));
        DTRPO_RETURN_IF_ERROR(read(kSecondMoment, own.exp_avg_sq));
        if (saves_masters_) DTRPO_RETURN_IF_ERROR(read(kMaster, own.master));
        DTRPO_RETURN_IF_ERROR(saved.Read(absl::StrCat(kSteps, name), 0, 1, own.steps.view({1})));
      }
    }
    return saves_masters_ ? Gather() : absl::OkStatus();
  });
}

}  // namespace dtrpo::training
