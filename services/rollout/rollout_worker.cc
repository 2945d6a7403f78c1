#include "services/rollout/rollout_worker.h"

#include <algorithm>
#include <map>
#include <tuple>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/fault_points.h"
#include "common/base/logging.h"
#include "common/base/retry.h"
#include "common/base/status_macros.h"
#include "common/checkpoint/checkpoint_folder.h"
#include "common/wire/assigned_job.h"
#include "common/wire/job_codec.h"
#include "services/rollout/base_weights.h"

namespace dtrpo::rollout {
namespace {

constexpr absl::Duration kIdleWait = absl::Seconds(1);
constexpr absl::Duration kAfterFailure = absl::Seconds(2);
constexpr absl::Duration kMaxLeasePause = absl::Milliseconds(500);
// A full store is asked again after this long, if the pairs are still wanted then.
constexpr absl::Duration kInsertPatience = absl::Seconds(3);

PromptTask ToTask(const v1::PromptLease& lease) {
  return {.evaluate = lease.kind() == v1::EVALUATE,
          .unmask = lease.unmask(),
          .epoch = lease.epoch(),
          .prompt_index = lease.prompt_index(),
          .prompt_attempt = lease.prompt_attempt(),
          .prompt_json = lease.prompt_json(),
          .keep_sample = lease.keep_sample()};
}

v1::PromptResult ResultFor(const v1::PromptLease& lease, v1::PromptResult::Outcome outcome) {
  v1::PromptResult result;
  result.set_lease_id(lease.lease_id());
  result.set_kind(lease.kind());
  result.set_epoch(lease.epoch());
  result.set_prompt_index(lease.prompt_index());
  result.set_prompt_attempt(lease.prompt_attempt());
  result.set_outcome(outcome);
  result.set_version(lease.version());
  return result;
}

void TellFailures(const PromptResult& result, v1::PromptResult* told) {
  told->set_failed_samples(result.failed_samples);
  for (const auto& [reason, answers] : result.failures) {
    told->set_sample_error(reason);
    v1::RewardFailure* failure = told->add_failures();
    failure->set_reason(reason);
    failure->set_answers(answers);
  }
}

}  // namespace

RolloutWorker::RolloutWorker(Options options, Deps deps)
    : options_(std::move(options)), deps_(deps) {
  deps_.metrics->kv_cache_limit_bytes->Set(static_cast<double>(options_.batch.cache_bytes));
  agent_ = std::make_unique<wire::WorkerAgent>(
      wire::WorkerAgent::Options{
          .registration = options_.registration,
          .report = [this] { return Report(); },
          .on_assignment = [this](const v1::Assignment& assignment) { Follow(assignment); },
      },
      deps_.coordinator, deps_.clock, deps_.waits);
}

RolloutWorker::~RolloutWorker() { Stop(); }

void RolloutWorker::Stop() { stop_.Stop(); }

wire::WorkerReport RolloutWorker::Report() {
  absl::MutexLock lock(&mutex_);
  return {.job_id = job_id_,
          .state = state_,
          .version = job_id_.empty() ? -1 : deps_.versions->NewestVersion(),
          .versions_held = job_id_.empty() ? std::vector<int64_t>() : deps_.versions->Held()};
}

void RolloutWorker::SetState(std::string job_id, std::string state) {
  absl::MutexLock lock(&mutex_);
  job_id_ = std::move(job_id);
  state_ = std::move(state);
}

// Lets go of versions that no evaluation needs. One that was pushed after the coordinator made this
// assignment isn't in its list yet, so everything from the assignment's newest on is kept.
void RolloutWorker::Follow(const v1::Assignment& assignment) {
  {
    absl::MutexLock lock(&mutex_);
    if (job_id_.empty() || job_id_ != assignment.job().job_id()) return;
  }
  std::vector<int64_t> keep(assignment.pinned_versions().begin(),
                            assignment.pinned_versions().end());
  for (int64_t version : deps_.versions->Held()) {
    if (version >= assignment.newest_version()) keep.push_back(version);
  }
  deps_.versions->KeepOnly(keep);
  deps_.metrics->weights_held_count->Set(static_cast<double>(deps_.versions->Held().size()));
  deps_.metrics->weights_lag_versions->Set(static_cast<double>(
      std::max<int64_t>(0, assignment.newest_version() - deps_.versions->NewestVersion())));
}

absl::StatusOr<std::unique_ptr<RolloutWorker::Session>> RolloutWorker::Open(
    const v1::Assignment& assignment) {
  DTRPO_ASSIGN_OR_RETURN(const job::JobSpec spec,
                         wire::AssignedJob(assignment, options_.data_roots));
  auto session = std::make_unique<Session>();
  session->job.set_job_id(assignment.job().job_id());
  session->metrics = deps_.metrics->of_run.Of(session->job.job_id());
  wire::ClientOptions client;
  client.target = "replay";
  client.waits = deps_.waits;
  client.stop = &stop_;
  if (spec.kind == job::JobKind::kTrain) {
    DTRPO_ASSIGN_OR_RETURN(
        session->replay,
        wire::ConnectReplay(*deps_.channels,
                            {assignment.replay().begin(), assignment.replay().end()}, client));
  }

  DTRPO_ASSIGN_OR_RETURN(
      const checkpoint::CheckpointFolder folder,
      checkpoint::CheckpointFolder::Open(
          spec.model.path, checkpoint::GivenOverrides(spec.model.mask_token_id,
                                                      spec.model.block_size, spec.model.stop_ids)));
  if (const job::RewardServiceSpec& service = spec.reward.service; !service.address.empty()) {
    DTRPO_ASSIGN_OR_RETURN(const auto channel,
                           deps_.channels->Create(service.address, {rpc::Role::kReward}));
    wire::RewardClientOptions options = wire::RewardOptions(service);
    options.job_id = session->job.job_id();
    options.waits = deps_.waits;
    options.failed_calls = session->metrics->reward_failed_calls;
    session->service = wire::MakeRewardClient(channel, std::move(options));
  }
  DTRPO_ASSIGN_OR_RETURN(
      session->sampler,
      PromptSampler::Create(session->job.job_id(), spec, folder.descriptor(), options_.batch,
                            session->service.get(), session->metrics.get(), deps_.clock));
  DTRPO_ASSIGN_OR_RETURN(const BaseWeights base,
                         LoadBase(folder, session->job.job_id(), spec.model.dtype,
                                  TrainedPartsOf(spec), options_.device));
  session->policies = std::make_shared<PolicyCache>(folder.descriptor(), base.model,
                                                    base.adapter_scale, options_.device);
  deps_.versions->Clear();
  DTRPO_RETURN_IF_ERROR(deps_.versions->Install(base.image));
  deps_.weights_service->AcceptJob(session->job.job_id());
  deps_.served_job->Put(
      std::make_shared<ServedJob>(ServedJob{.job_id = session->job.job_id(),
                                            .spec = spec,
                                            .descriptor = folder.descriptor(),
                                            .encoder = session->sampler->encoder(),
                                            .policies = session->policies}));
  SetState(session->job.job_id(), "ready");
  agent_->BeatNow();  // evaluations of version 0, and pushes, wait for this
  base::LogInfo("job begins", {{"job", session->job.job_id()}, {"model", spec.model.path}});
  return session;
}

bool RolloutWorker::KeepGoing(const Session& session) const {
  if (stop_.stopped()) return false;
  const v1::Assignment assignment = agent_->assignment();
  return assignment.job().job_id() == session.job.job_id() && !wire::IsFinal(assignment.state());
}

bool RolloutWorker::KeepTraining(const Session& session) const {
  return KeepGoing(session) && !agent_->assignment().training_finished();
}

std::vector<v1::PromptLease> RolloutWorker::Lease(const Session& session) {
  v1::LeasePromptsRequest request;
  *request.mutable_job() = session.job;
  request.set_worker_id(agent_->worker_id());
  request.set_max_prompts(options_.lease_prompts);
  request.set_holds_no_lease(!session.holds_leases);  // else reported, or given up
  request.set_version(deps_.versions->NewestVersion());
  for (int64_t version : deps_.versions->Held()) request.add_versions_held(version);
  absl::StatusOr<v1::LeasePromptsResponse> response =
      deps_.coordinator->LeasePrompts(request, deps_.clock->Now() + options_.call_timeout);
  if (response.ok() && !response->leases().empty())
    return {response->leases().begin(), response->leases().end()};

  const std::string why =
      response.ok() ? response->reason() : std::string(response.status().message());
  SetState(session.job.job_id(), absl::StrCat("no prompts: ", why));
  base::ScopedWait wait(deps_.waits, "prompts", absl::StrCat("coordinator (", why, ")"));
  const absl::Duration pause = absl::Milliseconds(response.ok() ? response->retry_after_ms() : 500);
  stop_.SleepFor(*deps_.clock, std::clamp(pause, absl::Milliseconds(10), kMaxLeasePause));
  return {};
}

v1::PromptResult RolloutWorker::Store(Session& session, const v1::PromptLease& lease,
                                      PromptResult result) {
  if (!result.status.ok()) {
    // A reward of that name, which the service doesn't know, is not found elsewhere either.
    v1::PromptResult failed = Failed(session, lease,
                                     absl::IsNotFound(result.status)
                                         ? absl::FailedPreconditionError(result.status.message())
                                         : result.status);
    TellFailures(result, &failed);
    return failed;
  }
  v1::PromptResult done = ResultFor(lease, v1::PromptResult::EVALUATED);
  done.set_samples(result.samples);
  done.set_tokens(result.tokens);
  done.set_forwards(result.forwards);
  done.set_reward_sum(result.reward_sum);
  done.set_right_samples(result.right_samples);
  TellFailures(result, &done);
  if (lease.kind() == v1::EVALUATE) {
    done.set_correct(result.right_samples);
    done.set_sampling_seconds(result.sampling_seconds);
    if (lease.keep_sample()) {
      done.mutable_sample()->set_prompt(result.kept.prompt);
      done.mutable_sample()->set_answer(result.kept.answer);
      done.mutable_sample()->set_expected(result.kept.expected);
      done.mutable_sample()->set_correct(result.correct);
      for (const std::string& line : result.kept.denoising)
        done.mutable_sample()->add_denoising(line);
    }
    session.metrics->prompts_evaluated->Increment();
    return done;
  }
  const size_t pairs = result.pairs.size();
  const wire::PromptOutcome outcome{.epoch = lease.epoch(),
                                    .prompt_index = lease.prompt_index(),
                                    .prompt_attempt = lease.prompt_attempt(),
                                    .pairs = std::move(result.pairs)};
  const absl::Time started = deps_.clock->Now();
  // Back-pressure lasts as long as it lasts; the wait is registered by the client.
  absl::Status status = absl::UnavailableError("training has ended");
  while (base::IsRetryable(status) && KeepTraining(session)) {
    status = session.replay
                 ->Insert({session.job.job_id(), 0}, outcome,
                          deps_.clock->Now() + std::min(options_.call_timeout, kInsertPatience))
                 .status();
  }
  session.metrics->insert_wait_seconds->Observe(
      absl::ToDoubleSeconds(deps_.clock->Now() - started));
  if (!status.ok()) {
    // A store that doesn't know the job lost it, which is no fault of the prompt.
    const bool returned = !KeepTraining(session) || absl::IsNotFound(status);
    done.set_outcome(returned ? v1::PromptResult::RETURNED : v1::PromptResult::FAILED);
    if (!returned) done.set_error(absl::StrCat("insert: ", status.message()));
    (returned ? session.metrics->prompts_returned : session.metrics->prompts_failed)->Increment();
    return done;
  }
  done.set_outcome(pairs == 0 ? v1::PromptResult::NO_PAIR : v1::PromptResult::STORED);
  session.metrics->pairs->Increment(static_cast<double>(pairs));
  (pairs == 0 ? session.metrics->prompts_no_pair : session.metrics->prompts_stored)->Increment();
  return done;
}

void RolloutWorker::Process(Session& session, const std::vector<v1::PromptLease>& leases) {
  // Prompts of one kind, version and policy share forwards. Training uses the newest weights,
  // whatever they were when leased.
  const std::shared_ptr<const weights::Image> newest_image = deps_.versions->Newest();
  const int64_t newest = newest_image->manifest().version;
  std::map<std::tuple<bool, int64_t, std::string>, std::vector<v1::PromptLease>> groups;
  for (const v1::PromptLease& lease : leases) {
    const bool evaluate = lease.kind() == v1::EVALUATE;
    groups[{evaluate, evaluate ? lease.version() : newest, lease.unmask()}].push_back(lease);
  }
  for (auto& [key, group] : groups) {
    const auto& [evaluate, version, unmask] = key;
    SetState(session.job.job_id(), absl::StrCat(evaluate ? "evaluating " : "sampling ",
                                                group.size(), " prompts at version ", version));
    std::vector<PromptTask> tasks;
    for (v1::PromptLease& lease : group) {
      lease.set_version(version);
      tasks.push_back(ToTask(lease));
    }
    const absl::Time started = deps_.clock->Now();
    absl::StatusOr<SampledPrompts> sampled =
        absl::NotFoundError(absl::StrCat("version ", version, " isn't held any more"));
    if (const std::shared_ptr<const weights::Image> image =
            evaluate ? deps_.versions->Find(version) : newest_image;
        image != nullptr) {
      const absl::StatusOr<std::shared_ptr<const model::Transformer>> policy =
          session.policies->Get(image);
      sampled = policy.ok() ? session.sampler->Sample(**policy, version, tasks,
                                                      [&, evaluate = evaluate] {
                                                        return evaluate ? KeepGoing(session)
                                                                        : KeepTraining(session);
                                                      })
                            : policy.status();
    }
    session.metrics->sample_seconds->Observe(absl::ToDoubleSeconds(deps_.clock->Now() - started));
    if (!sampled.ok()) {
      std::vector<v1::PromptResult> reports;
      for (const v1::PromptLease& lease : group)
        reports.push_back(Failed(session, lease, sampled.status()));
      ReportResults(session, reports);
      continue;
    }
    session.AwaitJudged();
    if (!session.sampler->asks_service()) {
      Finish(session, group, *std::move(sampled));
      continue;
    }
    // The next prompts are sampled while the service judges these.
    session.holds_leases = true;
    session.judging = std::thread(
        [this, &session, leases = std::move(group), sampled = *std::move(sampled)]() mutable {
          Finish(session, leases, std::move(sampled));
          session.holds_leases = false;
        });
  }
}

void RolloutWorker::Finish(Session& session, const std::vector<v1::PromptLease>& leases,
                           SampledPrompts sampled) {
  const bool evaluate = leases.front().kind() == v1::EVALUATE;
  std::vector<PromptResult> results = session.sampler->Judge(
      std::move(sampled),
      [this, &session, evaluate] { return evaluate ? KeepGoing(session) : KeepTraining(session); });
  std::vector<v1::PromptResult> reports;
  for (size_t i = 0; i < leases.size(); ++i) {
    reports.push_back(Store(session, leases[i], std::move(results[i])));
    base::HitFaultPoint("rollout.after_insert").IgnoreError();
  }
  ReportResults(session, reports);
}

// What isn't wanted any more, or can't be done here, is returned: another may do it.
v1::PromptResult RolloutWorker::Failed(const Session& session, const v1::PromptLease& lease,
                                       const absl::Status& why) {
  const bool returned = absl::IsCancelled(why) || absl::IsNotFound(why);
  v1::PromptResult result =
      ResultFor(lease, returned ? v1::PromptResult::RETURNED : v1::PromptResult::FAILED);
  if (!returned) result.set_error(std::string(why.message()));
  (returned ? session.metrics->prompts_returned : session.metrics->prompts_failed)->Increment();
  return result;
}

// Until the coordinator has it: an evaluation's result is nowhere else. A leaving process tries
// once.
void RolloutWorker::ReportResults(const Session& session,
                                  const std::vector<v1::PromptResult>& results) {
  v1::ReportPromptsRequest request;
  *request.mutable_job() = session.job;
  request.set_worker_id(agent_->worker_id());
  for (const v1::PromptResult& result : results) *request.add_results() = result;
  base::ScopedWait wait(deps_.waits, absl::StrCat("report of ", results.size(), " prompts"),
                        "coordinator");
  base::Backoff backoff({}, /*seed=*/static_cast<uint64_t>(request.ByteSizeLong()));
  for (;;) {
    const absl::Status status =
        deps_.coordinator->ReportPrompts(request, deps_.clock->Now() + options_.call_timeout)
            .status();
    if (status.ok()) return;
    if (!base::IsRetryable(status) || !KeepGoing(session)) {
      return base::LogWarning("prompts not reported",
                              {{"prompts", results.size()}, {"error", status}});
    }
    stop_.SleepFor(*deps_.clock, std::min(backoff.Next(status), kMaxLeasePause));
  }
}

void RolloutWorker::WorkOnce(Session& session) {
  session.policies->KeepOnly(deps_.versions->Held());
  const std::vector<v1::PromptLease> leases = Lease(session);
  if (leases.empty()) return;
  deps_.metrics->leased_prompts->Set(static_cast<double>(leases.size()));
  Process(session, leases);
  deps_.metrics->leased_prompts->Set(0);
}

void RolloutWorker::Run() {
  std::unique_ptr<Session> session;
  while (!stop_.stopped()) {
    if (session != nullptr && KeepGoing(*session)) {
      WorkOnce(*session);
      continue;
    }
    if (session != nullptr) {
      deps_.served_job->Clear("works on no job");
      session->policies->KeepOnly({});  // a Generate call keeps the one that it uses
      session.reset();
      deps_.weights_service->AcceptJob("");
      SetState("", "idle");
      deps_.versions->Clear();
    }
    if (!agent_->AwaitJob(deps_.clock->Now() + kIdleWait)) continue;
    const std::string job_id = agent_->assignment().job().job_id();
    deps_.served_job->Clear(absl::StrCat("is loading job ", job_id));
    absl::StatusOr<std::unique_ptr<Session>> opened = Open(agent_->assignment());
    if (opened.ok()) {
      session = *std::move(opened);
    } else {
      SetState("", absl::StrCat("can't work on the job: ", opened.status().message()));
      deps_.served_job->Clear(
          absl::StrCat("can't work on job ", job_id, ": ", opened.status().message()));
      base::LogError("can't work on the job", {{"error", opened.status()}});
      stop_.SleepFor(*deps_.clock, kAfterFailure);
    }
  }
}

}  // namespace dtrpo::rollout
