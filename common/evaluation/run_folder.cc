#include "common/evaluation/run_folder.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "common/base/atomic_file.h"
#include "common/base/status_macros.h"

namespace dtrpo::evaluation {
namespace {

using Json = nlohmann::ordered_json;

// The whole lines of a file that is appended to: what a killed process left of a last one is cut.
absl::StatusOr<std::string> ReadWholeLines(base::FileSystem* files, const std::string& path) {
  DTRPO_ASSIGN_OR_RETURN(const std::optional<std::string> there, base::ReadIfThere(files, path));
  if (!there.has_value()) return std::string();
  return there->substr(0, there->rfind('\n') + 1);  // npos + 1: nothing
}

template <typename OnLine>
absl::Status ForEachLine(const std::string& content, const std::string& path, OnLine on_line) {
  absl::string_view rest = content;
  for (int64_t number = 1; !rest.empty(); ++number) {
    const size_t end = rest.find('\n');
    DTRPO_RETURN_IF_ERROR(base::Annotate(on_line(rest.substr(0, end)), path, ":", number));
    rest.remove_prefix(end + 1);
  }
  return absl::OkStatus();
}

absl::Status ReadTiming(absl::string_view line, std::map<std::string, Timing>& timing) {
  const Json record = Json::parse(line.begin(), line.end(), nullptr, false);
  if (!record.is_object() || !record.contains("unmask") || !record["unmask"].is_string()) {
    return absl::InvalidArgumentError("field 'unmask' is missing");
  }
  Timing& sum = timing[record["unmask"].get<std::string>()];
  if (!record.contains("tokens") || !record["tokens"].is_number() || !record.contains("seconds") ||
      !record["seconds"].is_number()) {
    return absl::InvalidArgumentError("fields 'tokens' and 'seconds' must be numbers");
  }
  sum.tokens += record["tokens"].get<int64_t>();
  sum.seconds += record["seconds"].get<double>();
  return absl::OkStatus();
}

// A path may be no UTF-8, which a file of JSON must be.
std::string Dumped(const Json& value) {
  return value.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

// What a run that goes on must ask for again; more policies may be asked for later.
absl::Status SameSettings(const Json& there, const Json& asked, const std::string& path) {
  const auto value_in = [](const Json& settings, const std::string& name) {
    const auto it = settings.find(name);
    return it == settings.end() ? "missing" : it->dump();
  };
  for (const Json& settings : {asked, there}) {
    for (const auto& [name, value] : settings.items()) {
      if (value_in(there, name) == value_in(asked, name)) continue;
      return absl::FailedPreconditionError(absl::StrCat(
          path, " is of another run: ", name, " is ", value_in(there, name), " there, and ",
          value_in(asked, name), " is asked for; choose another folder"));
    }
  }
  return absl::OkStatus();
}

}  // namespace

std::vector<int32_t> Run::PassK() const {
  const auto it = settings.find("pass_k");
  if (it == settings.end() || !it->is_array()) return {1};
  std::vector<int32_t> pass_k;
  for (const Json& k : *it) {
    if (k.is_number_integer() && k.get<int32_t>() > 0) pass_k.push_back(k.get<int32_t>());
  }
  return pass_k;
}

absl::StatusOr<Run> ReadRun(base::FileSystem* files, const std::string& folder) {
  Run run;
  run.folder = folder;
  const std::string path = base::JoinPath(folder, kRunFile);
  DTRPO_ASSIGN_OR_RETURN(const std::string settings, files->Read(path));
  run.settings = Json::parse(settings, nullptr, /*allow_exceptions=*/false);
  if (!run.settings.is_object()) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": not a JSON object"));
  }
  const std::string results = base::JoinPath(folder, kResultsFile);
  DTRPO_ASSIGN_OR_RETURN(const std::string lines, ReadWholeLines(files, results));
  DTRPO_RETURN_IF_ERROR(ForEachLine(lines, results, [&](absl::string_view line) -> absl::Status {
    DTRPO_ASSIGN_OR_RETURN(JudgedAnswer answer, ParseAnswer(line));
    run.answers.push_back(std::move(answer));
    return absl::OkStatus();
  }));
  const std::string timing = base::JoinPath(folder, kTimingFile);
  DTRPO_ASSIGN_OR_RETURN(const std::string times, ReadWholeLines(files, timing));
  DTRPO_RETURN_IF_ERROR(ForEachLine(
      times, timing, [&](absl::string_view line) { return ReadTiming(line, run.timing); }));
  return run;
}

absl::StatusOr<std::unique_ptr<RunFolder>> RunFolder::Open(base::FileSystem* files,
                                                           const std::string& folder,
                                                           Json settings) {
  const std::string path = base::JoinPath(folder, kRunFile);
  settings = Json::parse(Dumped(settings));
  DTRPO_RETURN_IF_ERROR(files->MakeDirectories(folder));
  if (!files->Exists(path)) {
    DTRPO_RETURN_IF_ERROR(base::WriteFileAtomically(files, path, Dumped(settings)));
  }
  DTRPO_ASSIGN_OR_RETURN(Run run, ReadRun(files, folder));
  DTRPO_RETURN_IF_ERROR(SameSettings(run.settings, settings, path));
  auto opened = std::unique_ptr<RunFolder>(new RunFolder(files, std::move(run)));
  for (const JudgedAnswer& answer : opened->run_.answers) opened->Know(answer);
  for (const auto& [name, file] :
       {std::pair(kResultsFile, &opened->results_), std::pair(kTimingFile, &opened->timing_)}) {
    const std::string lines_path = base::JoinPath(folder, name);
    DTRPO_ASSIGN_OR_RETURN(const std::string whole, ReadWholeLines(files, lines_path));
    DTRPO_ASSIGN_OR_RETURN(const std::optional<std::string> there,
                           base::ReadIfThere(files, lines_path));
    if (there.has_value() && there->size() != whole.size()) {
      DTRPO_RETURN_IF_ERROR(base::WriteFileAtomically(files, lines_path, whole));
    }
    DTRPO_ASSIGN_OR_RETURN(*file, files->OpenToAppend(lines_path));
  }
  return opened;
}

bool RunFolder::Has(const std::string& unmask, const std::string& id, int32_t sample) const {
  return known_.count({unmask, id, sample}) > 0;
}

absl::Status RunFolder::Append(absl::Span<const JudgedAnswer> answers, const std::string& unmask,
                               const Timing& timing) {
  std::string lines;
  for (const JudgedAnswer& answer : answers) lines += ToJsonLine(answer);
  DTRPO_RETURN_IF_ERROR(results_->Append(lines));
  DTRPO_RETURN_IF_ERROR(results_->Sync());
  const Json times = {{"unmask", unmask}, {"tokens", timing.tokens}, {"seconds", timing.seconds}};
  DTRPO_RETURN_IF_ERROR(timing_->Append(absl::StrCat(times.dump(), "\n")));
  for (const JudgedAnswer& answer : answers) {
    Know(answer);
    run_.answers.push_back(answer);
  }
  Timing& sum = run_.timing[unmask];
  sum.tokens += timing.tokens;
  sum.seconds += timing.seconds;
  return absl::OkStatus();
}

absl::Status RunFolder::WriteSummary() {
  return base::WriteFileAtomically(files_, base::JoinPath(run_.folder, kSummaryFile),
                                   SummaryJson(run_));
}

std::string SummaryJson(const Run& run) {
  Json policies = Json::array();
  Json timing = Json::object();
  for (const PolicySummary& summary : SummariseRun(run.answers, run.PassK(), run.timing)) {
    policies.push_back(ToJson(summary));
    if (summary.timing.seconds > 0) {
      timing[summary.unmask] = {{"seconds", summary.timing.seconds},
                                {"tokens_per_second", summary.TokensPerSecond()}};
    }
  }
  return Dumped({{"settings", run.settings}, {"policies", policies}, {"timing", timing}});
}

}  // namespace dtrpo::evaluation
