#include "common/model/target_log_probs.h"

#include <algorithm>
#include <limits>
#include <vector>

#include "common/model/head.h"

namespace dtrpo::model {
namespace {

// [c, V], the mask's column at -infinity.
torch::Tensor MaskedLogits(const torch::Tensor& hidden, const torch::Tensor& head,
                           int64_t mask_id) {
  torch::Tensor logits = HeadLogits(hidden, head);
  if (logits.scalar_type() != torch::kFloat64) logits = logits.to(torch::kFloat32);
  logits.select(1, mask_id).fill_(-std::numeric_limits<double>::infinity());
  return logits;
}

struct GatheredLogSoftmax : public torch::autograd::Function<GatheredLogSoftmax> {
  static torch::Tensor forward(torch::autograd::AutogradContext* context,
                               const torch::Tensor& hidden, const torch::Tensor& head,
                               const torch::Tensor& targets, int64_t mask_id, int64_t step) {
    std::vector<torch::Tensor> picked, normalisers;
    const int64_t rows = hidden.size(0);
    for (int64_t begin = 0; begin < rows; begin += step) {
      const int64_t count = std::min(step, rows - begin);
      const torch::Tensor logits = MaskedLogits(hidden.narrow(0, begin, count), head, mask_id);
      normalisers.push_back(logits.logsumexp(1));
      picked.push_back(logits.gather(1, targets.narrow(0, begin, count).unsqueeze(1)).squeeze(1));
    }
    const torch::Tensor normaliser = torch::cat(normalisers);
    context->save_for_backward({hidden, head, targets, normaliser});
    context->saved_data["mask_id"] = mask_id;
    context->saved_data["step"] = step;
    return torch::cat(picked) - normaliser;
  }

  // d log p_t / d logits = onehot(t) - softmax(logits).
  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 torch::autograd::variable_list gradients) {
    const torch::autograd::variable_list saved = context->get_saved_variables();
    const torch::Tensor &hidden = saved[0], &head = saved[1], &targets = saved[2];
    const torch::Tensor& normaliser = saved[3];
    const int64_t mask_id = context->saved_data["mask_id"].toInt();
    const torch::Tensor upstream =
        gradients[0].to(normaliser.scalar_type()).unsqueeze(1);  // [r, 1]
    std::vector<torch::Tensor> to_hidden;
    const bool head_is_trained = context->needs_input_grad(1);
    torch::Tensor to_head = head_is_trained ? torch::zeros_like(head) : torch::Tensor();
    const int64_t rows = hidden.size(0), step = context->saved_data["step"].toInt();
    for (int64_t begin = 0; begin < rows; begin += step) {
      const int64_t count = std::min(step, rows - begin);
      const torch::Tensor rows_of_chunk = hidden.narrow(0, begin, count);
      const torch::Tensor weight = upstream.narrow(0, begin, count);
      torch::Tensor delta = MaskedLogits(rows_of_chunk, head, mask_id)
                                .sub_(normaliser.narrow(0, begin, count).unsqueeze(1))
                                .exp_()
                                .mul_(-weight);
      delta.scatter_add_(1, targets.narrow(0, begin, count).unsqueeze(1), weight);
      delta = delta.to(head.scalar_type());
      to_hidden.push_back(torch::mm(delta, head));
      if (head_is_trained) to_head.addmm_(delta.t(), rows_of_chunk);
    }
    return {torch::cat(to_hidden), to_head, torch::Tensor(), torch::Tensor(), torch::Tensor()};
  }
};

}  // namespace

torch::Tensor TargetLogProbs(const Transformer& model, const torch::Tensor& hidden_rows,
                             const torch::Tensor& targets, int64_t mask_id,
                             int64_t logits_per_chunk) {
  TORCH_CHECK(
      hidden_rows.dim() == 2 && targets.dim() == 1 && hidden_rows.size(0) == targets.size(0),
      "hidden rows ", hidden_rows.sizes(), " for targets ", targets.sizes());
  const torch::Tensor head = model.HeadWeight();
  if (targets.size(0) == 0) {
    return hidden_rows.sum() * 0 + torch::empty({0}, hidden_rows.options());
  }
  const int64_t step = std::max<int64_t>(1, logits_per_chunk / head.size(0));  // rows
  return GatheredLogSoftmax::apply(hidden_rows, head, targets, mask_id, step);
}

}  // namespace dtrpo::model
