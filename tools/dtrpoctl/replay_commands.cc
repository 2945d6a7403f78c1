#include "tools/dtrpoctl/replay_commands.h"

#include <fstream>
#include <iostream>
#include <memory>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/base/status_macros.h"
#include "common/text/tokenizer.h"
#include "google/protobuf/util/json_util.h"
#include "tools/dtrpoctl/display.h"
#include "tools/dtrpoctl/exit_codes.h"
#include "tools/dtrpoctl/replay_display.h"

namespace dtrpo::ctl {
namespace {

constexpr absl::Duration kProgressInterval = absl::Seconds(2);
// Of an import, in one call.
constexpr size_t kPromptsPerCall = 64;
constexpr size_t kBytesPerCall = size_t{4} << 20;

absl::Time Deadline(const Session& session) { return session.clock->Now() + session.timeout; }

int ReplayFailed(const Session& session, const absl::Status& status) {
  *session.err << "dtrpoctl: " << status.message() << "\n";
  return absl::IsUnavailable(status) || absl::IsDeadlineExceeded(status) ? kUnreachable : kFailed;
}

absl::StatusOr<std::unique_ptr<wire::ReplayViewClient>> Connect(const Session& session,
                                                                const ReplayOptions& options,
                                                                const DialReplay& dial) {
  if (!options.address.empty()) return dial(absl::StrSplit(options.address, ','));
  DTRPO_ASSIGN_OR_RETURN(
      const v1::ListWorkersResponse workers,
      base::Annotate(session.client->ListWorkers(Deadline(session)),
                     "asking the coordinator for the replay store (or say --replay HOST:PORT)"));
  return dial({workers.replay().begin(), workers.replay().end()});
}

// Calls `visit` with each item that the filters leave, at most `limit`.
absl::Status ForEachItem(const Session& session, const ReplayOptions& options, bool bodies,
                         wire::ReplayViewClient& replay,
                         const std::function<absl::Status(const v1::ReplayItem&)>& visit) {
  v1::ListItemsRequest request = options.filters;
  request.mutable_job()->set_job_id(options.job_id);
  request.set_bodies(bodies);
  int64_t left = options.limit > 0 ? options.limit : INT64_MAX;
  do {
    DTRPO_ASSIGN_OR_RETURN(const v1::ListItemsResponse page,
                           replay.ListItems(request, Deadline(session)));
    for (const v1::ReplayItem& item : page.items()) {
      if (left-- == 0) return absl::OkStatus();
      DTRPO_RETURN_IF_ERROR(visit(item));
    }
    request.set_after_item(page.next_after_item());
  } while (request.after_item() != 0);
  return absl::OkStatus();
}

// The job's own tokenizer where its folder is on this machine; nullptr: token ids are shown.
std::unique_ptr<text::Tokenizer> FindTokenizer(const Session& session,
                                               const ReplayOptions& options) {
  std::string folder = options.tokenizer;
  if (folder.empty() && session.client != nullptr) {
    const auto job = session.client->Get(options.job_id, false, Deadline(session));
    if (job.ok()) folder = job->spec().model().path();
  }
  if (folder.empty()) return nullptr;
  auto tokenizer = text::Tokenizer::Load(folder, session.files);
  if (tokenizer.ok()) return *std::move(tokenizer);
  *session.err << "dtrpoctl: token ids instead of text: " << tokenizer.status().message() << "\n";
  return nullptr;
}

// Inserts the items of many prompts with a call; those of one follow one another, which is how an
// export has them.
class Importer {
 public:
  Importer(const Session& session, const std::string& job_id, wire::ReplayViewClient* replay)
      : session_(session), job_id_(job_id), replay_(replay) {}

  // `where`: of the item, for messages.
  absl::Status Add(const v1::ReplayItem& item, const std::string& where) {
    const v1::PromptKey& prompt = item.prompt();
    if (prompts_.empty() || !IsOf(prompts_.back(), prompt)) {
      if (prompts_.size() == kPromptsPerCall || bytes_ >= kBytesPerCall) {
        DTRPO_RETURN_IF_ERROR(Flush());
      }
      v1::InsertRequest& next = prompts_.emplace_back();
      next.set_epoch(prompt.epoch());
      next.set_prompt_index(prompt.prompt_index());
      next.set_prompt_attempt(prompt.prompt_attempt());
      where_.push_back(where);
    }
    if (item.has_group()) {
      *prompts_.back().add_groups() = item.group();
    } else {
      *prompts_.back().add_pairs() = item.pair();
    }
    bytes_ += item.ByteSizeLong();
    return absl::OkStatus();
  }

  // The first failure is returned; the prompts that didn't fail are stored all the same.
  absl::Status Flush() {
    if (prompts_.empty()) return absl::OkStatus();
    const auto results =
        replay_->InsertMany(job_id_, prompts_, session_.clock->Now() + session_.timeout);
    absl::Status first;
    for (size_t i = 0; i < results.size(); ++i) {
      const int items = prompts_[i].pairs_size() + prompts_[i].groups_size();
      if (results[i].ok()) {
        (results[i]->duplicate() ? duplicates_ : stored_) += items;
      } else {
        failed_ += items;
        first.Update(base::Annotate(results[i].status(), where_[i]));
      }
    }
    prompts_.clear();
    where_.clear();
    bytes_ = 0;
    return first;
  }

  int64_t stored() const { return stored_; }
  int64_t duplicates() const { return duplicates_; }
  int64_t failed() const { return failed_; }

 private:
  static bool IsOf(const v1::InsertRequest& request, const v1::PromptKey& prompt) {
    return request.epoch() == prompt.epoch() && request.prompt_index() == prompt.prompt_index() &&
           request.prompt_attempt() == prompt.prompt_attempt();
  }

  const Session& session_;
  const std::string job_id_;
  wire::ReplayViewClient* const replay_;
  std::vector<v1::InsertRequest> prompts_;
  std::vector<std::string> where_;  // each one's first item
  size_t bytes_ = 0;
  int64_t stored_ = 0;
  int64_t duplicates_ = 0;
  int64_t failed_ = 0;
};

absl::Status ImportLines(std::istream& in, const std::string& name, Importer& importer) {
  google::protobuf::util::JsonParseOptions json;
  json.ignore_unknown_fields = true;
  int64_t number = 0;
  for (std::string line; std::getline(in, line);) {
    ++number;
    if (line.empty()) continue;
    v1::ReplayItem item;
    const std::string where = absl::StrCat(name, ":", number);
    if (const auto parsed = google::protobuf::util::JsonStringToMessage(line, &item, json);
        !parsed.ok()) {
      return absl::InvalidArgumentError(absl::StrCat(where, ": ", parsed.message().ToString()));
    }
    if (!item.has_pair() && !item.has_group()) {
      return absl::InvalidArgumentError(absl::StrCat(where, ": has neither `pair` nor `group`"));
    }
    DTRPO_RETURN_IF_ERROR(importer.Add(item, where));
  }
  return importer.Flush();
}

}  // namespace

int ReplayStats(const Session& session, const ReplayOptions& options, const DialReplay& dial) {
  const auto replay = Connect(session, options, dial);
  if (!replay.ok()) return ReplayFailed(session, replay.status());
  if (options.job_id.empty()) {
    const auto jobs = (*replay)->ListJobs(Deadline(session));
    if (!jobs.ok()) return ReplayFailed(session, jobs.status());
    *session.out << (session.json ? absl::StrCat(Json(*jobs), "\n") : ReplayJobTable(*jobs));
    return kOk;
  }
  const auto stats = (*replay)->GetStats(options.job_id, Deadline(session));
  if (!stats.ok()) return ReplayFailed(session, stats.status());
  *session.out << (session.json ? absl::StrCat(Json(*stats), "\n") : ReplayDetails(*stats));
  if (session.json) return kOk;
  const auto shards = (*replay)->GetShardStats(options.job_id, Deadline(session));
  for (size_t i = 0; i < shards.size() && shards.size() > 1; ++i) {
    *session.out << ShardLine(shards[i]);
  }
  return kOk;
}

int ReplayList(const Session& session, const ReplayOptions& options, const DialReplay& dial) {
  const auto replay = Connect(session, options, dial);
  if (!replay.ok()) return ReplayFailed(session, replay.status());
  if (!session.json) *session.out << ItemHeader();
  const absl::Status listed =
      ForEachItem(session, options, /*bodies=*/false, **replay, [&](const v1::ReplayItem& item) {
        *session.out << (session.json ? absl::StrCat(Json(item), "\n") : ItemLine(item));
        return absl::OkStatus();
      });
  return listed.ok() ? kOk : ReplayFailed(session, listed);
}

int ReplayShow(const Session& session, const ReplayOptions& options, const DialReplay& dial) {
  const auto replay = Connect(session, options, dial);
  if (!replay.ok()) return ReplayFailed(session, replay.status());
  const auto item = (*replay)->GetItem(options.job_id, options.item, Deadline(session));
  if (!item.ok()) return ReplayFailed(session, item.status());
  if (session.json) {
    *session.out << Json(*item) << "\n";
    return kOk;
  }
  const std::unique_ptr<text::Tokenizer> tokenizer = FindTokenizer(session, options);
  const auto view = ItemView(*item, tokenizer.get(), options.steps);
  if (!view.ok()) return ReplayFailed(session, view.status());
  *session.out << *view;
  return kOk;
}

int ReplayExport(const Session& session, const ReplayOptions& options, const DialReplay& dial) {
  const auto replay = Connect(session, options, dial);
  if (!replay.ok()) return ReplayFailed(session, replay.status());
  std::ofstream file;
  const bool to_file = options.file != "-";
  if (to_file) {
    file.open(options.file, std::ios::binary | std::ios::trunc);
    if (!file) {
      return ReplayFailed(
          session, absl::InvalidArgumentError(absl::StrCat(options.file, ": can't be written")));
    }
  }
  std::ostream& out = to_file ? file : *session.out;
  int64_t written = 0;
  absl::Time told = session.clock->Now();
  absl::Status done = ForEachItem(
      session, options, /*bodies=*/true, **replay, [&](const v1::ReplayItem& item) -> absl::Status {
        out << Json(item) << "\n";
        if (!out) return absl::DataLossError(absl::StrCat(options.file, ": writing failed"));
        ++written;
        if (const absl::Time now = session.clock->Now(); now - told >= kProgressInterval) {
          told = now;
          *session.err << "dtrpoctl: " << written << " items\n";
        }
        return absl::OkStatus();
      });
  out.flush();
  if (done.ok() && !out) {
    done = absl::DataLossError(absl::StrCat(options.file, ": writing failed"));
  }
  if (!done.ok()) return ReplayFailed(session, done);
  *session.err << "dtrpoctl: " << written << " items exported\n";
  return kOk;
}

int ReplayImport(const Session& session, const ReplayOptions& options, const DialReplay& dial) {
  const auto replay = Connect(session, options, dial);
  if (!replay.ok()) return ReplayFailed(session, replay.status());
  Importer importer(session, options.job_id, replay->get());
  absl::Status done;
  if (options.file == "-") {
    done = ImportLines(*options.in, "standard input", importer);
  } else {
    std::ifstream file(options.file, std::ios::binary);
    done = file ? ImportLines(file, options.file, importer)
                : absl::NotFoundError(absl::StrCat(options.file, ": can't be read"));
  }
  *session.err << "dtrpoctl: " << importer.stored() << " items imported, " << importer.duplicates()
               << " were there, " << importer.failed() << " failed\n";
  return done.ok() ? kOk : ReplayFailed(session, done);
}

void AddReplayCommands(CLI::App* app, const Session* session, ReplayOptions* options,
                       const DialReplay* dial, std::function<int()>* command) {
  CLI::App* replay = app->add_subcommand("replay", "Look into the replay store");
  replay->require_subcommand(1);
  replay->fallthrough();
  replay
      ->add_option("--replay", options->address,
                   "The store, host:port, or all its shards, comma-separated and in the "
                   "coordinator's order; default: what the coordinator uses")
      ->type_name("HOST:PORT");

  using Run = int (*)(const Session&, const ReplayOptions&, const DialReplay&);
  auto add = [&](const char* name, const char* help, Run run) {
    CLI::App* sub = replay->add_subcommand(name, help);
    sub->callback([=] { *command = [=] { return run(*session, *options, *dial); }; });
    return sub;
  };
  auto add_job = [&](CLI::App* sub) {
    return sub->add_option("JOB_ID", options->job_id, "As `submit` printed it, e.g. add-1");
  };
  auto add_filters = [&](CLI::App* sub) {
    auto number = [&](const char* name, const char* help, auto set) {
      sub->add_option_function<double>(
          name, [=](const double& value) { set(value); }, help);
    };
    v1::ListItemsRequest* filters = &options->filters;
    number("--min-version", "Weights version of an item's oldest trajectory, at least",
           [=](double v) { filters->set_min_version(static_cast<int64_t>(v)); });
    number("--max-version", "... at most; -1: imported items only",
           [=](double v) { filters->set_max_version(static_cast<int64_t>(v)); });
    number("--min-reward", "Reward of an item's best trajectory, at least",
           [=](double v) { filters->set_min_reward(v); });
    number("--max-reward", "... at most", [=](double v) { filters->set_max_reward(v); });
    sub->add_option("--limit", options->limit, "Items at most; default: all")
        ->check(CLI::NonNegativeNumber);
  };

  add_job(add("stats", "How full the store is: all jobs, or one in detail", ReplayStats));
  CLI::App* list = add("list", "Items of a job, a line each", ReplayList);
  add_job(list)->required();
  add_filters(list);
  CLI::App* show = add("show", "One item: its answers, and the text at each step", ReplayShow);
  add_job(show)->required();
  show->add_option("ITEM", options->item, "Its number, as `list` shows it")->required();
  show->add_option("--tokenizer", options->tokenizer,
                   "Folder with tokenizer.json; default: the job's model, if it is at hand; else "
                   "token ids are shown")
      ->type_name("FOLDER");
  show->add_flag("!--no-steps", options->steps, "Only the final text");
  CLI::App* out = add("export", "Items of a job as JSON, a line each (ReplayItem of replay.proto)",
                      ReplayExport);
  add_job(out)->required();
  add_filters(out);
  out->add_option("--out", options->file, "File to write; default: standard output")
      ->default_val("-");
  CLI::App* in = add("import", "Insert what `export` wrote into a job that is open", ReplayImport);
  add_job(in)->required();
  in->add_option("FILE", options->file, "-: standard input")->required();
}

}  // namespace dtrpo::ctl
