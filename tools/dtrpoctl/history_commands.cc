#include "tools/dtrpoctl/history_commands.h"

#include <map>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/time.h"
#include "common/base/status_macros.h"
#include "common/wire/job_codec.h"
#include "nlohmann/json.hpp"
#include "tools/dtrpoctl/display.h"
#include "tools/dtrpoctl/event_file.h"
#include "tools/dtrpoctl/exit_codes.h"

namespace dtrpo::ctl {
namespace {

constexpr absl::Duration kLookAgain = absl::Seconds(1);
constexpr absl::Duration kSilence = absl::Seconds(30);

absl::Time Deadline(const Session& session) { return session.clock->Now() + session.timeout; }

void Print(const Session& session, const v1::JobEvent& event) {
  if (session.json) {
    *session.out << Json(event) << "\n";
    return;
  }
  *session.out << absl::FormatTime("%Y-%m-%d %H:%M:%E3S", absl::FromUnixMillis(event.unix_ms()),
                                   absl::LocalTimeZone())
               << absl::StrFormat("  %-10s  %s%s\n", event.kind(), event.warning() ? "! " : "",
                                  event.text());
}

// One point of the curves.
struct Point {
  const char* kind;
  int64_t step = 0;
  int64_t version = -1;  // not of one
  int64_t unix_ms = 0;
  std::map<std::string, double> values;
};

std::vector<Point> PointsOf(const v1::JobStatus& status) {
  std::vector<Point> points;
  for (const v1::StepRecord& step : status.steps()) {
    points.push_back({"step",
                      step.step(),
                      step.version(),
                      step.unix_ms(),
                      {step.values().begin(), step.values().end()}});
  }
  for (const v1::EvaluationRecord& record : status.evaluations()) {
    if (!record.complete() || record.total() == 0) continue;
    points.push_back(
        {"evaluation",
         record.step(),
         record.version(),
         record.unix_ms(),
         {{"accuracy", static_cast<double>(record.correct()) / static_cast<double>(record.total())},
          {"correct", static_cast<double>(record.correct())},
          {"total", static_cast<double>(record.total())},
          {"failed", static_cast<double>(record.failed())},
          {"tokens_per_forward", record.tokens_per_forward()}}});
  }
  for (const v1::PairEvaluation& record : status.pair_evaluations()) {
    points.push_back({"heldout_pairs",
                      record.step(),
                      -1,
                      record.unix_ms(),
                      {{"loss", record.loss()},
                       {"margin", record.margin()},
                       {"accuracy", record.accuracy()},
                       {"chosen_likelier", record.chosen_likelier()},
                       {"pairs", static_cast<double>(record.pairs())}}});
  }
  return points;
}

std::string JsonLines(const std::vector<Point>& points) {
  std::string lines;
  for (const Point& point : points) {
    nlohmann::ordered_json line = {
        {"kind", point.kind}, {"step", point.step}, {"unix_ms", point.unix_ms}};
    if (point.version >= 0) line["version"] = point.version;
    for (const auto& [name, value] : point.values) line[name] = value;
    absl::StrAppend(&lines, line.dump(), "\n");
  }
  return lines;
}

std::string EventFile(const std::vector<Point>& points, double begin_seconds) {
  std::string file = EventFileHeader(begin_seconds);
  for (const Point& point : points) {
    for (const auto& [name, value] : point.values) {
      file += ScalarEvent(static_cast<double>(point.unix_ms) / 1000, point.step,
                          absl::StrCat(point.kind, "/", name), value);
    }
  }
  return file;
}

absl::Status Write(base::FileSystem* files, const std::string& path, const std::string& content) {
  DTRPO_RETURN_IF_ERROR(files->MakeDirectories(base::ParentPath(path)));
  DTRPO_ASSIGN_OR_RETURN(const auto file, files->Create(path));
  DTRPO_RETURN_IF_ERROR(file->Append(content));
  return file->Close();
}

}  // namespace

int Logs(const Session& session, const HistoryOptions& options) {
  int64_t after = 0;
  absl::Time last_heard = session.clock->Now();
  for (;;) {
    const auto page = session.client->Events(options.job_id, after, Deadline(session));
    if (!page.ok()) {
      const bool away =
          absl::IsUnavailable(page.status()) || absl::IsDeadlineExceeded(page.status());
      if (!options.follow || !away || session.clock->Now() - last_heard > kSilence) {
        return Report(session, page.status());
      }
    } else {
      last_heard = session.clock->Now();
      for (const v1::JobEvent& event : page->events()) {
        Print(session, event);
        after = event.number();
      }
      session.out->flush();
      if (!options.follow || wire::IsFinal(page->state())) return kOk;
    }
    session.clock->SleepFor(kLookAgain);
  }
}

int Metrics(const Session& session, const HistoryOptions& options) {
  const auto status =
      session.client->Get(options.job_id, /*include_steps=*/true, Deadline(session));
  if (!status.ok()) return Report(session, status.status());
  const std::vector<Point> points = PointsOf(*status);
  const bool tensorboard = options.format == "tensorboard";
  // The same name again for the same job, so that a later call replaces the file.
  const int64_t begin = status->submitted_unix_ms() / 1000;
  const std::string name = tensorboard
                               ? absl::StrCat("events.out.tfevents.", begin, ".", options.job_id)
                               : std::string("metrics.jsonl");
  const std::string path = base::JoinPath(options.out, name);
  const absl::Status written =
      Write(session.files, path,
            tensorboard ? EventFile(points, static_cast<double>(begin)) : JsonLines(points));
  if (!written.ok()) return Report(session, written);
  *session.out << path << ": " << points.size() << " points\n";
  return kOk;
}

int RollBack(const Session& session, const HistoryOptions& options) {
  v1::RollBackJobRequest request;
  request.set_job_id(options.job_id);
  if (options.version.has_value()) request.set_version(*options.version);
  if (options.checkpoint.has_value()) request.set_checkpoint_step(*options.checkpoint);
  const auto status = session.client->RollBack(request, Deadline(session));
  if (!status.ok()) return Report(session, status.status());
  *session.out << (session.json ? Json(*status) : ProgressLine(*status)) << "\n";
  return kOk;
}

void AddHistoryCommands(CLI::App* app, const Session* session, HistoryOptions* options,
                        std::function<int()>* command) {
  using Run = int (*)(const Session&, const HistoryOptions&);
  auto add = [&](const char* name, const char* help, Run run) {
    CLI::App* sub = app->add_subcommand(name, help);
    sub->callback([=] { *command = [=] { return run(*session, *options); }; });
    sub->add_option("JOB_ID", options->job_id, "As `submit` printed it, e.g. add-1")->required();
    return sub;
  };
  add("logs", "Show what happened to a job: states, attempts, workers, checkpoints, failures", Logs)
      ->add_flag("--follow", options->follow, "Go on showing what happens, to the job's end");
  CLI::App* metrics = add("metrics", "Write a job's curves and evaluations to a file", Metrics);
  metrics
      ->add_option("--format", options->format,
                   "jsonl: OUT/metrics.jsonl; tensorboard: an event file in OUT; default jsonl")
      ->check(CLI::IsMember({"jsonl", "tensorboard"}));
  metrics->add_option("--out", options->out, "Folder, made when it isn't there; default: this one")
      ->type_name("FOLDER");
  CLI::App* back =
      add("rollback", "Go back to an earlier checkpoint's weights, everywhere", RollBack);
  auto* version =
      back->add_option("--to-version", options->version,
                       "Weights version; its step must have a checkpoint. 0: the base model");
  auto* step = back->add_option("--to-checkpoint", options->checkpoint,
                                "Step of a checkpoint, as `get` lists them. 0: the base model");
  version->excludes(step);
  back->require_option(2);
}

}  // namespace dtrpo::ctl
