#include "tools/dtrpoctl/judge_items.h"

#include <cmath>
#include <deque>
#include <fstream>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/base/status_macros.h"
#include "common/trajectory/trajectory.h"
#include "google/protobuf/util/json_util.h"
#include "nlohmann/json.hpp"
#include "proto/dtrpo/v1/replay.pb.h"
#include "tools/dtrpoctl/exit_codes.h"

namespace dtrpo::ctl {
namespace {

constexpr size_t kAnswersPerRound = 256;
constexpr double kSame = 1e-9;

// A line of the data file as a question. Same numbering as the coordinator's: lines that aren't
// empty, from 0.
absl::StatusOr<reward::Question> ToQuestion(const std::string& line, const std::string& field) {
  const auto record = nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false);
  if (!record.is_object()) return absl::InvalidArgumentError("not a JSON object");
  reward::Question question;
  question.data_json = line;
  if (const auto prompt = record.find("prompt"); prompt != record.end() && prompt->is_string()) {
    question.prompt = prompt->get<std::string>();
  }
  if (const auto answer = record.find(field); answer != record.end()) {
    question.expected = answer->is_string() ? answer->get<std::string>() : answer->dump();
  }
  return question;
}

absl::StatusOr<std::vector<reward::Question>> ReadQuestions(const Session& session,
                                                            const JudgeOptions& options) {
  DTRPO_ASSIGN_OR_RETURN(const std::string content, session.files->Read(options.data));
  std::vector<reward::Question> questions;
  for (const absl::string_view line : absl::StrSplit(content, '\n')) {
    if (absl::StripAsciiWhitespace(line).empty()) continue;
    DTRPO_ASSIGN_OR_RETURN(reward::Question question,
                           base::Annotate(ToQuestion(std::string(line), options.answer_field),
                                          options.data, ", prompt ", questions.size()));
    question.id = absl::StrCat(questions.size());
    questions.push_back(std::move(question));
  }
  return questions;
}

struct StoredAnswer {
  std::string name;  // "item 12 chosen"
  trajectory::Trajectory trajectory;
  const reward::Question* question;
};

class Rejudging {
 public:
  Rejudging(const Session& session, const reward::Judge* judge,
            const std::vector<reward::Question>* questions)
      : session_(session), judge_(judge), questions_(questions) {}

  absl::Status Add(const v1::ReplayItem& item) {
    if (item.version() < 0) {  // imported pairs have no prompt of the data file
      ++imported_;
      return absl::OkStatus();
    }
    const int64_t prompt = item.prompt().prompt_index();
    if (prompt < 0 || prompt >= static_cast<int64_t>(questions_->size())) {
      return absl::InvalidArgumentError(absl::StrCat("item ", item.item(), " is of prompt ", prompt,
                                                     "; the data file has ", questions_->size()));
    }
    const auto add = [&](const v1::Trajectory& from, const std::string& name) {
      // What a judge asks for; the rest may be as it is.
      trajectory::Trajectory t;
      t.response_tokens.resize(from.response_tokens_size());
      t.sampler.max_new_tokens = from.sampler().max_new_tokens();
      t.stop_index = from.has_stop_index() ? from.stop_index() : -1;
      t.text = from.text();
      t.reward = from.reward();
      answers_.push_back(
          {absl::StrCat("item ", item.item(), " ", name), std::move(t), &(*questions_)[prompt]});
    };
    if (item.has_pair()) {
      add(item.pair().chosen(), "chosen");
      add(item.pair().rejected(), "rejected");
    }
    for (int i = 0; i < item.group().trajectories_size(); ++i) {
      add(item.group().trajectories(i), absl::StrCat("answer ", i));
    }
    if (answers_.size() >= kAnswersPerRound) Judge();
    return absl::OkStatus();
  }

  void Judge() {
    std::vector<reward::AnsweredQuestion> asked;
    for (const StoredAnswer& answer : answers_) {
      const int64_t targets = trajectory::TargetCount(answer.trajectory);
      const int32_t stop = answer.trajectory.stop_index;
      asked.push_back(
          {answer.question, {answer.trajectory.text, stop >= 0 && stop < targets, targets}});
    }
    const reward::Judgements judgements = judge_->JudgeAll(asked);
    for (size_t i = 0; i < judgements.size(); ++i) {
      const StoredAnswer& answer = answers_[i];
      if (!judgements[i].ok()) {
        ++failed_;
        *session_.out << answer.name << ": " << judgements[i].status().message() << "\n";
      } else if (std::abs(judgements[i]->reward - answer.trajectory.reward) > kSame) {
        ++changed_;
        *session_.out << answer.name << ": " << answer.trajectory.reward << " is now "
                      << judgements[i]->reward << " (" << judgements[i]->reason << ")\n";
      }
    }
    judged_ += static_cast<int64_t>(judgements.size());
    answers_.clear();
    *session_.err << "dtrpoctl: " << judged_ << " answers judged, " << changed_
                  << " have another reward now, " << failed_ << " have none, " << imported_
                  << " imported items left out\n";
  }

  int64_t failed() const { return failed_; }

 private:
  const Session& session_;
  const reward::Judge* const judge_;
  const std::vector<reward::Question>* const questions_;
  std::deque<StoredAnswer> answers_;
  int64_t judged_ = 0, changed_ = 0, failed_ = 0, imported_ = 0;
};

absl::StatusOr<int64_t> Run(const Session& session, const JudgeOptions& options,
                            const DialReward& dial) {
  std::unique_ptr<reward::RemoteReward> remote;
  if (!options.service.empty()) {
    DTRPO_ASSIGN_OR_RETURN(remote, dial(options.service));
  }
  std::vector<reward::Term> terms;
  for (const std::string& text : options.verifiers) terms.push_back(reward::ParseTerm(text));
  DTRPO_ASSIGN_OR_RETURN(const std::unique_ptr<reward::Judge> judge,
                         reward::Judge::Create(std::move(terms), remote.get()));
  DTRPO_ASSIGN_OR_RETURN(const std::vector<reward::Question> questions,
                         ReadQuestions(session, options));
  std::ifstream file(options.file, std::ios::binary);
  if (!file) return absl::NotFoundError(absl::StrCat(options.file, ": can't be read"));
  Rejudging rejudging(session, judge.get(), &questions);
  std::string line;
  for (int64_t number = 1; std::getline(file, line); ++number) {
    if (absl::StripAsciiWhitespace(line).empty()) continue;
    v1::ReplayItem item;
    if (const auto parsed = google::protobuf::util::JsonStringToMessage(line, &item);
        !parsed.ok()) {
      return absl::InvalidArgumentError(
          absl::StrCat(options.file, ":", number, ": ", parsed.ToString()));
    }
    DTRPO_RETURN_IF_ERROR(base::Annotate(rejudging.Add(item), options.file, ":", number));
  }
  rejudging.Judge();
  return rejudging.failed();
}

}  // namespace

int JudgeItems(const Session& session, const JudgeOptions& options, const DialReward& dial) {
  const absl::StatusOr<int64_t> failed = Run(session, options, dial);
  if (!failed.ok()) return Report(session, failed.status());
  return *failed == 0 ? kOk : kFailed;
}

void AddJudgeCommand(CLI::App* app, const Session* session, JudgeOptions* options,
                     const DialReward* dial, std::function<int()>* command) {
  CLI::App* judge = app->add_subcommand(
      "judge", "Judge what `replay export` wrote anew: which rewards are others now?");
  judge->add_option("FILE", options->file, "Items, JSON, a line each")->required();
  judge->add_option("--data", options->data, "The job's data.prompts")
      ->required()
      ->type_name("FILE");
  judge
      ->add_option("--verifier", options->verifiers,
                   "A rule or service:NAME, with a weight before it (0.2*length:1..200); given "
                   "several times: their sum")
      ->required()
      ->type_name("RULE");
  judge->add_option("--service", options->service, "The reward service")->type_name("HOST:PORT");
  judge->add_option("--answer-field", options->answer_field, "Field of the expected answer")
      ->type_name("NAME")
      ->capture_default_str();
  judge->callback([=] { *command = [=] { return JudgeItems(*session, *options, *dial); }; });
}

}  // namespace dtrpo::ctl
