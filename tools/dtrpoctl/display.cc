#include "tools/dtrpoctl/display.h"

#include <algorithm>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/time/time.h"
#include "common/base/check.h"
#include "common/wire/job_codec.h"
#include "google/protobuf/util/json_util.h"

namespace dtrpo::ctl {
namespace {

std::string Accuracy(const v1::EvaluationRecord& record) {
  if (record.total() == 0) return "?";
  return absl::StrFormat(
      "%.3f", static_cast<double>(record.correct()) / static_cast<double>(record.total()));
}

std::string Bytes(int64_t bytes) {
  constexpr int64_t kKiB = 1024;
  if (bytes < 10 * kKiB) return absl::StrCat(bytes, " bytes");
  if (bytes < 10 * kKiB * kKiB) return absl::StrFormat("%.1f KiB", double(bytes) / kKiB);
  if (bytes < 10 * kKiB * kKiB * kKiB)
    return absl::StrFormat("%.1f MiB", double(bytes) / kKiB / kKiB);
  return absl::StrFormat("%.1f GiB", double(bytes) / kKiB / kKiB / kKiB);
}

constexpr size_t kCurvePoints = 20;  // the newest

// An evaluation as one of eight heights, from 0 to all right.
std::string Bar(const v1::EvaluationRecord& record) {
  constexpr const char* kBars[] = {"▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
  if (record.total() == 0) return " ";
  return kBars[std::clamp<int64_t>(8 * record.correct() / record.total(), 0, 7)];
}

// "0.502 -> 0.610 [▄▄▅]", the curve from the third evaluation on, with the evaluation that runs.
std::string HeldOut(const v1::JobStatus& status) {
  std::string text;
  const v1::EvaluationRecord* first = nullptr;
  const v1::EvaluationRecord* last = nullptr;
  const v1::EvaluationRecord* running = nullptr;
  std::vector<std::string> curve;
  for (const v1::EvaluationRecord& record : status.evaluations()) {
    if (!record.complete()) {
      running = &record;
      continue;
    }
    if (first == nullptr) first = &record;
    last = &record;
    curve.push_back(Bar(record));
  }
  if (first != nullptr) text = Accuracy(*first);
  if (last != first) absl::StrAppend(&text, " -> ", Accuracy(*last));
  if (curve.size() > 2) {
    const size_t shown = std::min(curve.size(), kCurvePoints);
    absl::StrAppend(&text, " [", absl::StrJoin(curve.end() - shown, curve.end(), ""), "]");
  }
  if (running != nullptr && !wire::IsFinal(status.state())) {
    absl::StrAppend(
        &text, text.empty() ? "" : " ", "(evaluating version ", running->version(), ": ",
        running->total() / std::max(1, status.spec().evaluation().samples()) + running->failed(),
        "/", running->prompts(), ")");
  }
  return text.empty() ? "-" : text;
}

// "0.000 -> 0.844 (step 100)": the share of held-out pairs with a positive margin.
std::string HeldOutPairs(const v1::JobStatus& status) {
  if (status.pair_evaluations().empty()) return "-";
  const v1::PairEvaluation& first = status.pair_evaluations(0);
  const v1::PairEvaluation& last = *status.pair_evaluations().rbegin();
  std::string text = absl::StrFormat("%.3f", first.accuracy());
  if (last.step() > first.step()) {
    absl::StrAppendFormat(&text, " -> %.3f (step %d)", last.accuracy(), last.step());
  }
  return text;
}

std::string Seconds(double seconds) {
  return absl::FormatDuration(absl::Seconds(static_cast<int64_t>(seconds + 0.5)));
}

std::string Time(int64_t unix_ms) {
  if (unix_ms == 0) return "-";
  return absl::FormatTime("%Y-%m-%d %H:%M:%S", absl::FromUnixMillis(unix_ms),
                          absl::LocalTimeZone());
}

}  // namespace

std::string Table(const std::vector<Row>& rows) {
  std::vector<size_t> widths;
  for (const Row& row : rows) {
    widths.resize(std::max(widths.size(), row.size()));
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  }
  std::string table;
  for (const Row& row : rows) {
    std::string line;
    for (size_t i = 0; i < row.size(); ++i) {
      absl::StrAppend(&line, row[i]);
      if (i + 1 < row.size()) line.append(widths[i] + 2 - row[i].size(), ' ');
    }
    absl::StrAppend(&table, line, "\n");
  }
  return table;
}

const char* StateWord(v1::JobState state) {
  switch (state) {
    case v1::PENDING:
      return "PENDING";
    case v1::RUNNING:
      return "RUNNING";
    case v1::PAUSED:
      return "PAUSED";
    case v1::RESTARTING:
      return "RESTARTING";
    case v1::SUCCEEDED:
      return "SUCCEEDED";
    case v1::FAILED:
      return "FAILED";
    case v1::JOB_CANCELLED:
      return "CANCELLED";
    default:
      return "UNKNOWN";
  }
}

std::string ProgressLine(const v1::JobStatus& status) {
  std::string line = absl::StrFormat(
      "%s  %s  step %d/%d  reward %.3f  held-out %s  %.0f tokens/s  version %d", status.job_id(),
      StateWord(status.state()), status.step(), status.total_steps(), status.reward_mean(),
      HeldOut(status), status.rollout_tokens_per_second(), status.version());
  if (status.has_pairs()) {
    absl::StrAppend(&line, "  pairs ", status.pairs().consumed(), " used, ",
                    status.pairs().imported(), " imported  held-out pairs ", HeldOutPairs(status));
  }
  if (status.seconds_left() > 0) {
    absl::StrAppend(&line, "  ", Seconds(status.seconds_left()), " left");
  }
  if (!status.reason().empty()) absl::StrAppend(&line, "  (", status.reason(), ")");
  return line;
}

std::string SizeLines(const v1::SubmitJobResponse& checked) {
  const v1::JobSizes& sizes = checked.sizes();
  std::vector<Row> rows = {
      {"# parameters", absl::StrFormat("%d in %s", sizes.parameters(), sizes.dtype())},
      {"# prompts", absl::StrFormat("%d, held out %d", sizes.prompts(), sizes.heldout())},
      {"# memory of a rollout", Bytes(sizes.rollout_bytes())},
  };
  if (sizes.trained_parameters() > 0) {
    rows.insert(rows.begin() + 1, {"# trained", absl::StrCat(sizes.trained_parameters())});
    rows.push_back({"# memory of the reference", Bytes(sizes.reference_bytes())});
    rows.push_back({"# memory of a learner rank", Bytes(sizes.learner_bytes())});
    rows.push_back({"# pushed a version, to each rollout", Bytes(sizes.push_bytes())});
    rows.push_back({"# a checkpoint", Bytes(sizes.checkpoint_bytes())});
    rows.push_back({"# disk for all checkpoints", Bytes(sizes.disk_bytes())});
    rows.push_back({"# replay store", absl::StrCat(sizes.replay_items(), " items, at most ",
                                                   Bytes(sizes.replay_bytes()))});
  }
  std::string lines = absl::StrCat("# What it takes, activations and caches aside:\n", Table(rows));
  for (const std::string& note : checked.notes()) absl::StrAppend(&lines, "# note: ", note, "\n");
  return lines;
}

std::string Details(const v1::JobStatus& status) {
  const v1::PromptCounts& prompts = status.prompts();
  std::vector<Row> rows = {
      {"job", status.job_id()},
      {"state", StateWord(status.state())},
      {"reason", status.reason().empty() ? "-" : status.reason()},
      {"step", absl::StrCat(status.step(), " of ", status.total_steps())},
      {"weights version", absl::StrCat(status.version())},
      {"learner attempt", absl::StrCat(status.attempt())},
      {"checkpoint", status.checkpoint().empty() ? "-" : status.checkpoint()},
      {"best checkpoint",
       status.has_best_checkpoint()
           ? absl::StrFormat("%s (step %d, %.1f %% of held-out right)",
                             status.best_checkpoint().path(), status.best_checkpoint().step(),
                             100 * status.best_accuracy())
           : "-"},
      {"can go back to step", absl::StrJoin(status.checkpoints(), ", ",
                                            [](std::string* out, const v1::CheckpointRecord& each) {
                                              absl::StrAppend(out, each.step());
                                            })},
      {"reward", absl::StrFormat("%.3f", status.reward_mean())},
      {"held-out", HeldOut(status)},
      {"prompts",
       absl::StrCat(prompts.issued(), " handed out: ", prompts.leased(), " leased, ",
                    prompts.waiting(), " waiting, ", prompts.stored(), " stored, ",
                    prompts.consumed(), " consumed, ", prompts.no_pair(), " without a pair, ",
                    prompts.failed(), " failed, ", prompts.cancelled(), " cancelled; ",
                    prompts.evicted_and_leased_again(), " evictions")},
      {"sampled", absl::StrFormat("%d answers, %d tokens, %.0f tokens/s", status.rollout_samples(),
                                  status.rollout_tokens(), status.rollout_tokens_per_second())},
      {"submitted", Time(status.submitted_unix_ms())},
      {"started", Time(status.started_unix_ms())},
      {"finished", Time(status.finished_unix_ms())},
  };
  if (const v1::RewardCounts& rewards = status.rewards();
      rewards.prompts() > 0 || rewards.failed_answers() > 0) {
    const auto share = [&rewards](int64_t prompts) {
      return absl::StrFormat("%.1f %%",
                             100.0 * static_cast<double>(prompts) /
                                 static_cast<double>(std::max<int64_t>(1, rewards.prompts())));
    };
    rows.push_back(
        {"judged", absl::StrCat(rewards.prompts(), " prompts: ", share(rewards.without_pair()),
                                " without a pair, ", share(rewards.all_right()), " all right, ",
                                share(rewards.all_wrong()), " all wrong; ", rewards.left_out(),
                                " left out for their pass rate")});
    rows.push_back(
        {"failed rewards",
         rewards.failed_answers() == 0
             ? "none"
             : absl::StrCat(rewards.failed_answers(), " answers; last: ", rewards.last_failure())});
    for (const v1::RewardFailure& failure : rewards.failures()) {
      if (rewards.failures_size() == 1) break;  // it is the last one
      rows.push_back({"", absl::StrCat(failure.answers(), ": ", failure.reason())});
    }
  }
  if (status.has_pairs()) {
    const v1::PairCounts& pairs = status.pairs();
    rows.push_back(
        {"pairs", absl::StrCat(pairs.lines(), " lines: ", pairs.usable(), " usable, ",
                               pairs.held_out(), " held out, ", pairs.rejected(), " rejected",
                               pairs.rejects().empty() ? "" : " (" + pairs.rejects() + ")")});
    rows.push_back({"imported", absl::StrCat(pairs.imported(), ": ", pairs.stored(), " stored, ",
                                             pairs.consumed(), " consumed, ", pairs.cancelled(),
                                             " cancelled", pairs.complete() ? "; complete" : "")});
  }
  if (status.seconds_left() > 0) rows.push_back({"time left", Seconds(status.seconds_left())});
  for (const v1::EvaluationRecord& record : status.evaluations()) {
    rows.push_back(
        {absl::StrCat("evaluation at version ", record.version()),
         absl::StrFormat("%s (%d of %d right, %d failed, %.2f tokens per forward)%s",
                         Accuracy(record), record.correct(), record.total(), record.failed(),
                         record.tokens_per_forward(), record.complete() ? "" : ", not complete")});
    for (const v1::EvaluationEstimate& pass : record.estimates()) {
      rows.push_back(
          {absl::StrCat("pass@", pass.k(), pass.category().empty() ? "" : " of ", pass.category(),
                        pass.unmask().empty() ? "" : " by ", pass.unmask()),
           absl::StrFormat("%.4f [%.4f, %.4f] (%d questions)", pass.value(), pass.low(),
                           pass.high(), pass.questions())});
    }
  }
  for (const v1::PairEvaluation& record : status.pair_evaluations()) {
    rows.push_back({absl::StrCat("held-out pairs at step ", record.step()),
                    absl::StrFormat("accuracy %.3f, margin %.4f, loss %.4f, chosen likelier %.3f "
                                    "(%d pairs)",
                                    record.accuracy(), record.margin(), record.loss(),
                                    record.chosen_likelier(), record.pairs())});
  }
  for (Row& row : rows) row[0] += ":";
  return Table(rows);
}

std::string JobTable(const v1::ListJobsResponse& jobs) {
  std::vector<Row> rows = {{"JOB", "STATE", "STEP", "VERSION", "REWARD", "HELD-OUT", "REASON"}};
  for (const v1::JobStatus& job : jobs.jobs()) {
    rows.push_back({job.job_id(), StateWord(job.state()),
                    absl::StrCat(job.step(), "/", job.total_steps()), absl::StrCat(job.version()),
                    absl::StrFormat("%.3f", job.reward_mean()), HeldOut(job), job.reason()});
  }
  return Table(rows);
}

std::string WorkerTable(const v1::ListWorkersResponse& workers, int64_t now_unix_ms) {
  std::vector<Row> rows = {
      {"WORKER", "ROLE", "ADDRESS", "PID", "JOB", "VERSION", "HEARD", "STATE"}};
  for (const v1::WorkerStatus& worker : workers.workers()) {
    const int64_t silent_ms = std::max<int64_t>(0, now_unix_ms - worker.last_heartbeat_unix_ms());
    rows.push_back({worker.worker_id(), worker.role(), worker.address(), absl::StrCat(worker.pid()),
                    worker.job_id().empty() ? "-" : worker.job_id(), absl::StrCat(worker.version()),
                    absl::StrFormat("%.1fs ago", static_cast<double>(silent_ms) / 1000),
                    worker.state()});
  }
  return Table(rows);
}

std::string Json(const google::protobuf::Message& message) {
  google::protobuf::util::JsonPrintOptions options;
  options.preserve_proto_field_names = true;
  options.always_print_primitive_fields = true;
  std::string json;
  const auto status = google::protobuf::util::MessageToJsonString(message, &json, options);
  DTRPO_CHECK(status.ok()) << status.ToString();
  return json;
}

}  // namespace dtrpo::ctl
