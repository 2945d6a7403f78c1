#include "common/report/evaluation_report.h"

#include <algorithm>
#include <map>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/base/atomic_file.h"
#include "common/base/status_macros.h"
#include "common/report/html_escape.h"
#include "common/report/line_chart.h"
#include "common/report/page.h"

namespace dtrpo::report {
namespace {

using evaluation::ComparedQuestion;
using evaluation::Flip;
using evaluation::JudgedAnswer;
using evaluation::PassEstimate;
using evaluation::PolicyComparison;
using evaluation::PolicySummary;

// A page stays a few megabytes: all answers are in the runs' results.jsonl.
constexpr size_t kMaxFlipped = 300;
constexpr size_t kMaxAlike = 100;
constexpr size_t kMaxExamples = 50;
constexpr size_t kMaxListBytes = size_t{8} << 20;
constexpr size_t kMaxPieces = 2000;         // shown with their order, of one answer
constexpr size_t kMaxTextBytes = 32 << 10;  // of a question or an answer

std::string Percent(double value) { return absl::StrFormat("%.1f %%", value * 100); }

std::string Cell(const std::string& text) {
  return absl::StrCat("<td>", HtmlEscape(text), "</td>");
}

std::string WithInterval(const evaluation::Estimate& estimate) {
  return absl::StrFormat("%.1f %% [%.1f, %.1f]", estimate.value * 100, estimate.low * 100,
                         estimate.high * 100);
}

std::string PolicyTable(const std::vector<PolicySummary>& summaries) {
  std::string html =
      "<div class='box'><table id='policies'>\n<tr><th>unmask</th><th>k</th><th>pass@k [95 %]</th>"
      "<th>questions</th><th>tokens per forward</th><th>forwards per answer</th>"
      "<th>tokens per answer</th><th>tokens/s</th><th>finished</th></tr>\n";
  for (const PolicySummary& summary : summaries) {
    for (const PassEstimate& pass : summary.estimates) {
      if (!pass.category.empty()) continue;
      absl::StrAppend(
          &html, "<tr>", Cell(summary.unmask), Cell(absl::StrCat(pass.k)),
          Cell(WithInterval(pass.estimate)), Cell(absl::StrCat(pass.questions)),
          Cell(absl::StrFormat("%.3f", summary.TokensPerForward())),
          Cell(absl::StrFormat("%.2f", summary.ForwardsPerAnswer())),
          Cell(absl::StrFormat("%.1f", summary.TokensPerAnswer())),
          Cell(summary.TokensPerSecond() > 0 ? absl::StrFormat("%.0f", summary.TokensPerSecond())
                                             : "-"),
          Cell(Percent(static_cast<double>(summary.finished) /
                       static_cast<double>(std::max<int64_t>(1, summary.answers)))),
          "</tr>\n");
    }
  }
  return absl::StrCat(html, "</table></div>\n");
}

// Of the smallest k; a dot is a policy.
std::string EfficiencyChart(std::vector<PolicySummary> summaries) {
  std::sort(summaries.begin(), summaries.end(), [](const auto& a, const auto& b) {
    return a.TokensPerForward() < b.TokensPerForward();
  });
  Series series{.name = "accuracy", .points = {}, .dots = true};
  int32_t k = 1;
  for (const PolicySummary& summary : summaries) {
    const PassEstimate* smallest = nullptr;
    for (const PassEstimate& pass : summary.estimates) {
      if (!pass.category.empty() || (smallest != nullptr && smallest->k <= pass.k)) continue;
      smallest = &pass;
    }
    if (smallest == nullptr) continue;
    k = smallest->k;
    series.points.emplace_back(summary.TokensPerForward(), smallest->estimate.value);
    series.labels.push_back(summary.unmask);
  }
  const LineChart chart{absl::StrCat("Accuracy (pass@", k, ") against tokens per forward"),
                        "tokens per forward",
                        {series},
                        /*ratio=*/true};
  return absl::StrCat("<div class='chart' id='efficiency'>", RenderSvg(chart), "</div>\n");
}

std::string CategoryTable(const std::vector<PolicySummary>& summaries) {
  std::string rows;
  for (const PolicySummary& summary : summaries) {
    for (const PassEstimate& pass : summary.estimates) {
      if (pass.category.empty()) continue;
      absl::StrAppend(&rows, "<tr>", Cell(pass.category), Cell(summary.unmask),
                      Cell(absl::StrCat(pass.k)), Cell(WithInterval(pass.estimate)),
                      Cell(absl::StrCat(pass.questions)), "</tr>\n");
    }
  }
  if (rows.empty()) return "";
  return absl::StrCat(
      "<h2>By category</h2>\n<div class='box'><table id='categories'>\n<tr><th>category</th>"
      "<th>unmask</th><th>k</th><th>pass@k [95 %]</th><th>questions</th></tr>\n",
      rows, "</table></div>\n");
}

const std::vector<std::string> kNoPieces;

std::string Cut(const std::string& text) {
  if (text.size() <= kMaxTextBytes) return text;
  size_t end = kMaxTextBytes;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;  // within UTF-8
  return absl::StrCat(text.substr(0, end), " … (", text.size(), " bytes)");
}

std::string AskedFor(const JudgedAnswer& answer) {
  return absl::StrCat("<p>Question</p><code>", HtmlEscape(Cut(answer.question)),
                      "</code><p>Expected</p><code>", HtmlEscape(Cut(answer.expected)), "</code>");
}

std::string Answered(const std::string& title, const JudgedAnswer& answer) {
  const bool with_order = answer.pieces.size() <= kMaxPieces;
  return absl::StrCat("<div><p>", HtmlEscape(title), ": ", answer.correct ? "right" : "wrong",
                      answer.finished ? "" : ", not finished",
                      absl::StrFormat(", %d tokens, %d forwards. ", answer.tokens, answer.forwards),
                      HtmlEscape(answer.reason), "</p>",
                      DenoisingView(Cut(answer.answer), with_order ? answer.pieces : kNoPieces,
                                    answer.steps, answer.correct),
                      "</div>");
}

// As many wrong ones as right ones, of the first policy.
std::string Examples(const evaluation::Run& run) {
  std::map<bool, size_t> shown;
  std::string items;
  for (const JudgedAnswer& answer : run.answers) {
    if (answer.unmask != run.answers.front().unmask) continue;
    if (items.size() > kMaxListBytes || ++shown[answer.correct] > kMaxExamples) continue;
    absl::StrAppend(&items, "<details class='", answer.correct ? "is-right" : "is-wrong",
                    "'><summary>", HtmlEscape(answer.id),
                    answer.sample > 0 ? absl::StrCat(", sample ", answer.sample) : "", ": ",
                    answer.correct ? "right" : "wrong", "</summary>", AskedFor(answer),
                    Answered("Answer", answer), "</details>\n");
  }
  if (items.empty()) return "";
  return absl::StrCat(
      "<h2>Answers with ", HtmlEscape(run.answers.front().unmask), "</h2>\n<p>The first ",
      kMaxExamples, " right and wrong ones at most; all are in ", evaluation::kResultsFile,
      ".</p>\n",
      FilterButtons("answers", {{"all", ""}, {"wrong", "is-wrong"}, {"right", "is-right"}}),
      "<div class='list' id='answers'>\n", items, "</div>\n");
}

std::string DifferenceTable(const PolicyComparison& policy) {
  std::string html =
      "<div class='box'><table class='differences'>\n<tr><th>questions of</th><th>number</th>"
      "<th>A</th><th>B</th><th>B - A [95 %]</th><th>p</th></tr>\n";
  for (const evaluation::CategoryDifference& d : policy.differences) {
    absl::StrAppend(&html, "<tr>", Cell(d.category.empty() ? "all categories" : d.category),
                    Cell(absl::StrCat(d.paired.questions)), Cell(Percent(d.a)), Cell(Percent(d.b)),
                    Cell(absl::StrFormat("%+.1f %% [%+.1f, %+.1f]", d.paired.difference * 100,
                                         d.paired.low * 100, d.paired.high * 100)),
                    Cell(absl::StrFormat("%.4f", d.paired.p_value)), "</tr>\n");
  }
  return absl::StrCat(html, "</table></div>\n");
}

std::string CompareItem(const ComparedQuestion& question) {
  const char* kind = question.flip == Flip::kGained ? "gained"
                     : question.flip == Flip::kLost ? "lost"
                     : question.a >= 1              ? "both-right"
                     : question.a <= 0              ? "both-wrong"
                                                    : "alike";
  return absl::StrCat(
      "<details class='", kind, "'><summary>", HtmlEscape(question.id), ": ",
      absl::StrFormat("%s, A %s, B %s", kind, Percent(question.a), Percent(question.b)),
      "</summary>", AskedFor(question.answer_a), "<div class='two'>",
      Answered("A", question.answer_a), Answered("B", question.answer_b), "</div></details>\n");
}

std::string ComparePolicy(const PolicyComparison& policy, const std::string& list_id) {
  std::string items;
  for (const bool flips : {true, false}) {
    size_t shown = 0;
    for (const ComparedQuestion& question : policy.questions) {
      if ((question.flip != Flip::kNone) != flips || items.size() > kMaxListBytes) continue;
      if (++shown <= (flips ? kMaxFlipped : kMaxAlike)) items += CompareItem(question);
    }
  }
  return absl::StrCat(
      "<h2>", HtmlEscape(policy.unmask_a),
      policy.unmask_a == policy.unmask_b ? ""
                                         : absl::StrCat(" against ", HtmlEscape(policy.unmask_b)),
      "</h2>\n<div class='tiles'>\n",
      Tile("questions that B has right more often", absl::StrCat(policy.gained)),
      Tile("questions that B has right less often", absl::StrCat(policy.lost)),
      Tile("tokens per forward, A and B",
           absl::StrFormat("%.2f, %.2f", policy.TokensPerForwardA(), policy.TokensPerForwardB())),
      "</div>\n", DifferenceTable(policy),
      policy.only_in_a + policy.only_in_b > 0
          ? absl::StrCat("<p>Left out: ", policy.only_in_a, " questions that only A answered, ",
                         policy.only_in_b, " that only B answered.</p>\n")
          : "",
      "<p>Answers side by side, the first of each question: at most ", kMaxFlipped,
      " questions that flipped, then ", kMaxAlike, " others.</p>\n",
      FilterButtons(list_id, {{"all", ""},
                              {"gained", "gained"},
                              {"lost", "lost"},
                              {"both right", "both-right"},
                              {"both wrong", "both-wrong"}}),
      "<div class='list' id='", list_id, "'>\n", items, "</div>\n");
}

}  // namespace

std::string EvaluationReport(const evaluation::Run& run) {
  const std::vector<PolicySummary> summaries =
      evaluation::SummariseRun(run.answers, run.PassK(), run.timing);
  return HtmlPage(
      absl::StrCat("Evaluation ", run.folder),
      absl::StrCat("<h1>Evaluation ", HtmlEscape(run.folder), "</h1>\n",
                   "<p>Intervals: Wilson's with the effective number of questions.</p>\n",
                   PolicyTable(summaries), "<div class='charts'>\n", EfficiencyChart(summaries),
                   "</div>\n", CategoryTable(summaries), Examples(run),
                   "<h2>The run</h2>\n<details class='box'><summary>every setting</summary><pre>",
                   HtmlEscape(run.settings.dump(2)), "</pre></details>\n"));
}

absl::StatusOr<std::string> WriteEvaluationReport(base::FileSystem* files,
                                                  const evaluation::Run& run) {
  const std::string page = base::JoinPath(run.folder, evaluation::kReportFile);
  DTRPO_RETURN_IF_ERROR(base::WriteFileAtomically(files, page, EvaluationReport(run)));
  return page;
}

std::string ComparisonReport(const evaluation::RunComparison& comparison) {
  std::string body = absl::StrCat("<h1>Two evaluations compared</h1>\n<p>A: <code>",
                                  HtmlEscape(comparison.folder_a), "</code><br>B: <code>",
                                  HtmlEscape(comparison.folder_b),
                                  "</code><br>Intervals and p: paired bootstrap over questions, ",
                                  evaluation::kBootstrapSamples, " resamples.</p>\n");
  for (size_t i = 0; i < comparison.policies.size(); ++i) {
    body += ComparePolicy(comparison.policies[i], absl::StrCat("questions-", i));
  }
  return HtmlPage("Two evaluations compared", body);
}

}  // namespace dtrpo::report
