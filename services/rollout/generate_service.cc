#include "services/rollout/generate_service.h"

#include <algorithm>
#include <utility>

#include "common/base/status_macros.h"
#include "common/rpc/serve.h"
#include "common/wire/trajectory_codec.h"

namespace dtrpo::rollout {
namespace {

absl::StatusOr<GenerateTask> ToTask(const v1::GenerateRequest& request) {
  GenerateTask task;
  task.job_id = request.job_id();
  switch (request.prompt_case()) {
    case v1::GenerateRequest::kText:
      task.prompt = TextPrompt{request.text(), request.raw()};
      break;
    case v1::GenerateRequest::kChat: {
      ChatPrompt chat;
      for (const v1::GenerateMessage& message : request.chat().messages()) {
        chat.messages.push_back({message.role(), message.content()});
      }
      if (chat.messages.empty()) return absl::InvalidArgumentError("chat.messages: is empty");
      task.prompt = std::move(chat);
      break;
    }
    case v1::GenerateRequest::kTokens:
      task.prompt = TokenPrompt{{request.tokens().ids().begin(), request.tokens().ids().end()}};
      break;
    case v1::GenerateRequest::PROMPT_NOT_SET:
      return absl::InvalidArgumentError("prompt: one of text, chat and tokens is required");
  }
  if (request.raw() && !request.has_text()) {
    return absl::InvalidArgumentError("raw: goes with text only");
  }
  const v1::GenerateParameters& parameters = request.parameters();
  task.unmask = parameters.unmask();
  if (parameters.has_sub_block()) task.sub_block = parameters.sub_block();
  task.temperature = parameters.temperature();
  if (parameters.has_top_p()) task.top_p = parameters.top_p();
  if (parameters.has_top_k()) task.top_k = parameters.top_k();
  if (parameters.has_max_new_tokens()) task.max_new_tokens = parameters.max_new_tokens();
  task.confidence = parameters.confidence();
  if (parameters.has_repetition_guard()) task.repetition_guard = parameters.repetition_guard();
  task.ignore_stop = parameters.ignore_stop();
  task.seed = parameters.seed();
  if (request.has_version()) task.version = request.version();
  return task;
}

v1::GenerateResponse ToProto(const GenerateStart& start) {
  v1::GenerateResponse response;
  v1::GenerateHeader& header = *response.mutable_header();
  header.set_job_id(start.job_id);
  header.set_version(start.version);
  header.set_prompt_tokens(start.prompt_tokens);
  wire::ToProto(start.parameters, header.mutable_sampler());
  header.set_seed(start.seed);
  header.set_has_text(start.has_text);
  return response;
}

v1::GenerateResponse ToProto(const GeneratedBlock& from) {
  v1::GenerateResponse response;
  v1::GenerateBlock& block = *response.mutable_block();
  block.set_begin(from.begin);
  block.mutable_tokens()->Add(from.tokens.begin(), from.tokens.end());
  block.set_text(from.text);
  return response;
}

v1::GenerateResponse ToProto(const GenerateEnd& end) {
  v1::GenerateResponse response;
  v1::GenerateSummary& summary = *response.mutable_summary();
  summary.set_finish_reason(wire::ToProto(end.finish_reason));
  summary.set_tokens(end.tokens);
  summary.set_forwards(end.forwards);
  const double seconds = absl::ToDoubleSeconds(end.duration);
  summary.set_seconds(seconds);
  summary.set_tokens_per_second(static_cast<double>(end.tokens) / std::max(seconds, 1e-9));
  return response;
}

}  // namespace

grpc::Status GenerateService::Generate(grpc::ServerContext* context,
                                       const v1::GenerateRequest* request,
                                       grpc::ServerWriter<v1::GenerateResponse>* writer) {
  return rpc::Serve(*context, [&](const rpc::IncomingCall& call) -> absl::Status {
    DTRPO_ASSIGN_OR_RETURN(const GenerateTask task, ToTask(*request));
    bool connected = true;
    const auto send = [&](const auto& event) {
      connected = connected && writer->Write(ToProto(event));
    };
    const absl::StatusOr<GenerateEnd> end =
        generator_->Generate(task, {.on_start = send, .on_block = send, .keep_going = [&] {
                                      return connected && !context->IsCancelled();
                                    }});
    if (end.ok()) {
      send(*end);
      return absl::OkStatus();
    }
    // gRPC marks a call as cancelled in either case.
    if (absl::IsCancelled(end.status()) && clock_->Now() >= call.deadline) {
      return absl::DeadlineExceededError("the answer took longer than the call's deadline");
    }
    return end.status();
  });
}

}  // namespace dtrpo::rollout
