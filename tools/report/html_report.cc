#include "tools/report/html_report.h"

#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/time.h"
#include "common/report/html_escape.h"
#include "common/report/line_chart.h"
#include "common/report/page.h"
#include "google/protobuf/util/json_util.h"

namespace dtrpo::tools {
namespace {

using report::HtmlEscape;
using report::LineChart;
using report::Series;
using report::Tile;

Series StepSeries(const v1::JobStatus& status, const std::string& name, const std::string& value) {
  Series series{.name = name, .points = {}};
  for (const v1::StepRecord& step : status.steps()) {
    const auto it = step.values().find(value);
    if (it != step.values().end())
      series.points.emplace_back(static_cast<double>(step.step()), it->second);
  }
  return series;
}

std::vector<LineChart> Charts(const v1::JobStatus& status) {
  Series accuracy{.name = "held-out accuracy", .points = {}, .dots = true};
  for (const v1::EvaluationRecord& record : status.evaluations()) {
    if (!record.complete() || record.total() == 0) continue;
    accuracy.points.emplace_back(
        static_cast<double>(record.step()),
        static_cast<double>(record.correct()) / static_cast<double>(record.total()));
  }
  return {
      {"Held-out accuracy", "learner step", {accuracy}, /*ratio=*/true},
      {"Reward of sampled answers, mean of the last 100 prompts",
       "learner step",
       {StepSeries(status, "reward", "reward_mean")},
       /*ratio=*/false},
      {"Loss",
       "learner step",
       {StepSeries(status, "preference", "preference_loss"),
        StepSeries(status, "cross-entropy", "sft_loss")},
       /*ratio=*/false},
      {"Trajectory log-ratio to the base model",
       "learner step",
       {StepSeries(status, "chosen", "log_ratio_chosen"),
        StepSeries(status, "rejected", "log_ratio_rejected")},
       /*ratio=*/false},
      {"Age of the weights that sampled (versions)",
       "learner step",
       {StepSeries(status, "mean", "staleness"), StepSeries(status, "largest", "staleness_max")},
       /*ratio=*/false},
      {"Seconds of a step",
       "learner step",
       {StepSeries(status, "computing", "seconds_step"),
        StepSeries(status, "waiting for the batch", "seconds_batch_wait")},
       /*ratio=*/false},
  };
}

std::string Percent(const std::optional<double>& accuracy) {
  return accuracy.has_value() ? absl::StrFormat("%.1f %%", *accuracy * 100) : "none";
}

std::string Tiles(const JobSummary& summary) {
  return absl::StrCat(
      "<div class='tiles'>\n",
      Tile(
          absl::StrCat("held-out accuracy before and after, ", summary.heldout_prompts, " prompts"),
          absl::StrCat(Percent(summary.heldout_before), " → ", Percent(summary.heldout_after))),
      Tile("learner steps", absl::StrCat(summary.steps)),
      Tile("wall-clock",
           absl::FormatDuration(absl::Seconds(static_cast<int64_t>(summary.seconds)))),
      Tile("tokens sampled", absl::StrCat(summary.tokens)), "</div>\n");
}

std::string AnswerCells(const ShownAnswer& answer) {
  std::string steps;
  for (const std::string& frame : answer.frames) absl::StrAppend(&steps, HtmlEscape(frame), "\n");
  return absl::StrCat("<td><code class='", answer.correct ? "right" : "wrong", "'>",
                      HtmlEscape(answer.text), "</code></td><td><code class='steps'>", steps,
                      "</code></td>");
}

std::string Answers(const JobSummary& summary) {
  if (summary.shown.empty()) return "";
  std::string html =
      "<h2>The same held-out prompts, before and after</h2>\n<div class='box'><table>\n"
      "<tr><th>prompt</th><th>expected</th><th>before</th><th>denoising</th><th>after</th>"
      "<th>denoising</th></tr>\n";
  for (const ShownPrompt& shown : summary.shown) {
    absl::StrAppend(&html, "<tr><td><code>", HtmlEscape(shown.prompt), "</code></td><td><code>",
                    HtmlEscape(shown.expected), "</code></td>", AnswerCells(shown.before),
                    AnswerCells(shown.after), "</tr>\n");
  }
  return absl::StrCat(html, "</table></div>\n");
}

std::string Rewards(const v1::RewardCounts& rewards) {
  if (rewards.prompts() == 0 && rewards.failed_answers() == 0) return "";
  std::string html = absl::StrCat(
      "<h2>Rewards</h2>\n<p>", rewards.prompts(), " prompts judged: ", rewards.without_pair(),
      " without a pair, ", rewards.all_right(), " with all answers right, ", rewards.all_wrong(),
      " with all wrong; ", rewards.left_out(), " left out for their pass rate. ",
      rewards.failed_answers(), " answers put aside, as their reward failed.</p>\n");
  if (rewards.failures().empty()) return html;
  absl::StrAppend(&html, "<div class='box'><table>\n<tr><th>answers</th><th>why</th></tr>\n");
  for (const v1::RewardFailure& failure : rewards.failures()) {
    absl::StrAppend(&html, "<tr><td>", failure.answers(), "</td><td><code>",
                    HtmlEscape(failure.reason()), "</code></td></tr>\n");
  }
  return absl::StrCat(html, "</table></div>\n");
}

std::string SpecJson(const v1::JobSpec& spec) {
  google::protobuf::util::JsonPrintOptions options;
  options.add_whitespace = true;
  options.preserve_proto_field_names = true;
  std::string json;
  const auto printed = google::protobuf::util::MessageToJsonString(spec, &json, options);
  return printed.ok() ? json : std::string(printed.message());
}

}  // namespace

std::string HtmlReport(const v1::JobStatus& status, const JobSummary& summary) {
  std::string charts;
  for (const LineChart& chart : Charts(status)) {
    absl::StrAppend(&charts, "<div class='chart'>", report::RenderSvg(chart), "</div>\n");
  }
  return report::HtmlPage(
      summary.job_id,
      absl::StrCat("<h1>Job ", HtmlEscape(summary.job_id), "</h1>\n<p>", HtmlEscape(summary.state),
                   summary.reason.empty() ? "" : absl::StrCat(": ", HtmlEscape(summary.reason)),
                   ". Checkpoint: <code>", HtmlEscape(summary.checkpoint), "</code></p>\n",
                   Tiles(summary), "<div class='charts'>\n", charts, "</div>\n", Answers(summary),
                   Rewards(status.rewards()),
                   "<h2>The job</h2>\n<details class='box'><summary>every field</summary><pre>",
                   HtmlEscape(SpecJson(status.spec())), "</pre></details>\n"));
}

}  // namespace dtrpo::tools
