#include "tools/report/job_summary.h"

#include <map>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "google/protobuf/util/json_util.h"
#include "nlohmann/json.hpp"

namespace dtrpo::tools {
namespace {

using Json = nlohmann::ordered_json;

// A chat template spreads a prompt over several lines.
std::string OnOneLine(const std::string& text) {
  return absl::StrJoin(absl::StrSplit(text, absl::ByAnyChar(" \t\r\n"), absl::SkipEmpty()), " ");
}

ShownAnswer Shown(const v1::EvaluationSample& sample) {
  ShownAnswer answer{.text = sample.answer(), .correct = sample.correct(), .frames = {}};
  for (const std::string& frame : sample.denoising()) {
    // A step that only unmasks what comes after the end shows no change.
    if (answer.frames.empty() || answer.frames.back() != frame) answer.frames.push_back(frame);
  }
  return answer;
}

std::vector<ShownPrompt> ShownPrompts(const v1::EvaluationRecord& before,
                                      const v1::EvaluationRecord& after) {
  std::map<std::string, const v1::EvaluationSample*> first;
  for (const v1::EvaluationSample& sample : before.samples()) first[sample.prompt()] = &sample;
  std::vector<ShownPrompt> shown;
  for (const v1::EvaluationSample& sample : after.samples()) {
    const auto it = first.find(sample.prompt());
    if (it == first.end()) continue;
    shown.push_back({.prompt = OnOneLine(sample.prompt()),
                     .expected = sample.expected(),
                     .before = Shown(*it->second),
                     .after = Shown(sample)});
  }
  return shown;
}

double Accuracy(const v1::EvaluationRecord& record) {
  return static_cast<double>(record.correct()) / static_cast<double>(record.total());
}

std::string OrNone(const std::optional<double>& accuracy) {
  return accuracy.has_value() ? absl::StrFormat("%.4f", *accuracy) : "none";
}

Json OrNull(const std::optional<double>& accuracy) {
  return accuracy.has_value() ? Json(*accuracy) : Json(nullptr);
}

Json AnswerJson(const ShownAnswer& answer) {
  return {{"answer", answer.text}, {"correct", answer.correct}, {"denoising", answer.frames}};
}

std::string AnswerText(const char* when, const ShownAnswer& answer) {
  return absl::StrFormat("    %-7s %-6s %s\n", when, answer.correct ? "right" : "wrong",
                         absl::StrJoin(answer.frames, "  >  "));
}

}  // namespace

absl::StatusOr<v1::JobStatus> ParseJobStatus(absl::string_view json, const std::string& file) {
  google::protobuf::util::JsonParseOptions options;
  options.ignore_unknown_fields = true;  // a report of a newer coordinator's job
  v1::JobStatus status;
  const auto parsed = google::protobuf::util::JsonStringToMessage(
      google::protobuf::StringPiece(json.data(), json.size()), &status, options);
  if (!parsed.ok()) {
    return absl::InvalidArgumentError(
        absl::StrCat(file, ": not a job's status: ", std::string(parsed.message())));
  }
  if (status.job_id().empty()) {
    return absl::InvalidArgumentError(absl::StrCat(file, ": field 'job_id' is missing"));
  }
  return status;
}

JobSummary Summarise(const v1::JobStatus& status) {
  JobSummary summary;
  summary.job_id = status.job_id();
  summary.state = v1::JobState_Name(status.state());
  summary.reason = status.reason();
  summary.steps = status.step();
  summary.tokens = status.rollout_tokens();
  summary.checkpoint = status.checkpoint();
  if (status.started_unix_ms() > 0 && status.finished_unix_ms() > status.started_unix_ms()) {
    summary.seconds =
        static_cast<double>(status.finished_unix_ms() - status.started_unix_ms()) / 1000;
  }
  if (status.pair_evaluations_size() > 1) {
    const v1::PairEvaluation& after = *status.pair_evaluations().rbegin();
    summary.pairs_before = status.pair_evaluations(0).accuracy();
    summary.pairs_after = after.accuracy();
    summary.pairs_margin = after.margin();
    summary.heldout_pairs = after.pairs();
  }
  const v1::EvaluationRecord* first = nullptr;
  const v1::EvaluationRecord* last = nullptr;
  for (const v1::EvaluationRecord& record : status.evaluations()) {
    if (!record.complete() || record.total() == 0) continue;
    if (first == nullptr || record.version() < first->version()) first = &record;
    if (last == nullptr || record.version() > last->version()) last = &record;
  }
  if (first == last) return summary;  // none, or only one
  summary.heldout_before = Accuracy(*first);
  summary.heldout_after = Accuracy(*last);
  summary.heldout_prompts = last->total();
  summary.shown = ShownPrompts(*first, *last);
  return summary;
}

std::string SummaryLine(const JobSummary& summary) {
  return absl::StrFormat(
      "heldout_accuracy_before=%s heldout_accuracy_after=%s steps=%d seconds=%.1f checkpoint=%s",
      OrNone(summary.heldout_before), OrNone(summary.heldout_after), summary.steps, summary.seconds,
      summary.checkpoint);
}

std::string SummaryJson(const JobSummary& summary) {
  Json samples = Json::array();
  for (const ShownPrompt& shown : summary.shown) {
    samples.push_back({{"prompt", shown.prompt},
                       {"expected", shown.expected},
                       {"before", AnswerJson(shown.before)},
                       {"after", AnswerJson(shown.after)}});
  }
  const Json json = {{"heldout_accuracy_before", OrNull(summary.heldout_before)},
                     {"heldout_accuracy_after", OrNull(summary.heldout_after)},
                     {"steps", summary.steps},
                     {"seconds", summary.seconds},
                     {"checkpoint", summary.checkpoint},
                     {"job_id", summary.job_id},
                     {"state", summary.state},
                     {"heldout_prompts", summary.heldout_prompts},
                     {"tokens", summary.tokens},
                     {"heldout_pairs", summary.heldout_pairs},
                     {"heldout_pairs_accuracy_before", OrNull(summary.pairs_before)},
                     {"heldout_pairs_accuracy_after", OrNull(summary.pairs_after)},
                     {"samples", samples}};
  return absl::StrCat(json.dump(2, ' ', false, Json::error_handler_t::replace), "\n");
}

std::string SummaryText(const JobSummary& summary) {
  std::string text =
      absl::StrFormat("Job %s: %s%s, %d steps in %.1f s\n", summary.job_id, summary.state,
                      summary.reason.empty() ? "" : absl::StrCat(" (", summary.reason, ")"),
                      summary.steps, summary.seconds);
  if (summary.pairs_after.has_value()) {
    absl::StrAppendFormat(&text,
                          "Held-out pairs: %s before, %s after with a positive margin, mean %.4f "
                          "(%d pairs)\n",
                          OrNone(summary.pairs_before), OrNone(summary.pairs_after),
                          summary.pairs_margin, summary.heldout_pairs);
  }
  absl::StrAppend(&text, "Held-out accuracy: ", OrNone(summary.heldout_before), " before, ",
                  OrNone(summary.heldout_after), " after (", summary.heldout_prompts,
                  " answers)\n");
  absl::StrAppend(&text, "Checkpoint: ", summary.checkpoint, "\n");
  for (const ShownPrompt& shown : summary.shown) {
    absl::StrAppend(&text, "  ", shown.prompt, "   expected ", shown.expected, "\n",
                    AnswerText("before", shown.before), AnswerText("after", shown.after));
  }
  return text;
}

}  // namespace dtrpo::tools
