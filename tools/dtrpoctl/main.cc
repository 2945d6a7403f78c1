// dtrpoctl: the job client. Spells the commands of commands.h on the command line.
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <iostream>
#include <random>

#include "CLI/CLI.hpp"
#include "absl/strings/str_cat.h"
#include "common/base/hash.h"
#include "common/base/status_macros.h"
#include "common/rpc/channel_factory.h"
#include "common/wire/reward_client.h"
#include "tools/dtrpoctl/commands.h"
#include "tools/dtrpoctl/exit_codes.h"
#include "tools/dtrpoctl/generate.h"
#include "tools/dtrpoctl/generate_options.h"
#include "tools/dtrpoctl/history_commands.h"
#include "tools/dtrpoctl/judge_items.h"
#include "tools/dtrpoctl/replay_commands.h"
#include "tools/dtrpoctl/tls_options.h"
#include "tools/dtrpoctl/top.h"
#include "tools/dtrpoctl/why.h"

namespace dtrpo::ctl {
namespace {

constexpr char kExamples[] =
    "\nExamples:\n"
    "  dtrpoctl submit job.yaml --watch      submit a job and follow it to its end\n"
    "  dtrpoctl submit job.yaml --dry-run    check it, print it with every default and its sizes\n"
    "  dtrpoctl list                         jobs and how they stand\n"
    "  dtrpoctl get add-1 --json             everything about one job, for scripts\n"
    "  dtrpoctl watch add-1                  progress until the job is over\n"
    "  dtrpoctl logs add-1 --follow          what happens to it: attempts, workers, checkpoints\n"
    "  dtrpoctl metrics add-1 --format tensorboard --out curves\n"
    "  dtrpoctl rollback add-1 --to-checkpoint 40   go back to the weights of step 40\n"
    "  dtrpoctl top                          everything on one screen\n"
    "  dtrpoctl why add-1                    who is blocked, on whom, since when\n"
    "  dtrpoctl generate --prompt '2+2='     what the policy that is being trained answers\n"
    "  dtrpoctl replay show add-1 17         a stored pair, its text at each step\n\n";

// Random, so that two submissions of the same file are two jobs, while a repeated call is not.
std::string NewIdempotencyKey() {
  std::random_device random;
  auto word = [&random] { return (uint64_t{random()} << 32) | random(); };
  const uint64_t first = word();
  return absl::StrCat(base::Hex64(first), base::Hex64(word()));
}

std::string DefaultAddress() {
  const char* address = std::getenv("DTRPO_COORDINATOR");
  return address == nullptr || *address == '\0' ? "127.0.0.1:7070" : address;
}

// 0: standard output is no terminal.
size_t TerminalColumns() {
  winsize size = {};
  if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0) return 0;
  return std::max<size_t>(size.ws_col, 80);
}

int Run(int argc, char** argv) {
  CLI::App app("dtrpoctl: submits jobs to a dTRPO coordinator and shows how they do.", "dtrpoctl");
  app.footer(absl::StrCat(kExamples, kExitCodesHelp));
  app.require_subcommand(1);
  app.fallthrough();  // options of dtrpoctl may stand after the command too

  std::string address = DefaultAddress();
  Session session = {.client = nullptr, .address = "", .out = &std::cout, .err = &std::cerr};
  double timeout_seconds = 10;
  bool insecure = false;
  app.add_option("--address", address,
                 "Coordinator, host:port; default: $DTRPO_COORDINATOR, else 127.0.0.1:7070");
  app.add_option("--timeout", timeout_seconds, "Seconds to wait for an answer; default 10")
      ->check(CLI::PositiveNumber);
  app.add_flag("--json", session.json, "JSON instead of text, one object a line");
  app.add_flag("--insecure", insecure,
               "Allow a coordinator that isn't on this machine, unencrypted");
  rpc::TlsFiles tls_files;
  AddTlsOptions(&app, &tls_files);

  std::function<int()> command;
  std::string job_id;
  auto add = [&](const char* name, const char* help, std::function<int()> run) {
    CLI::App* sub = app.add_subcommand(name, help);
    sub->callback([&command, run = std::move(run)] { command = run; });
    return sub;
  };
  auto add_for_job = [&](const char* name, const char* help, std::function<int()> run) {
    CLI::App* sub = add(name, help, std::move(run));
    sub->add_option("JOB_ID", job_id, "As `submit` printed it, e.g. add-1")->required();
    return sub;
  };

  SubmitOptions submit;
  CLI::App* sub = add("submit", "Submit JOB.yaml and print the job's id",
                      [&] { return Submit(session, submit); });
  sub->add_option("JOB.yaml", submit.file,
                  "The job; fields as in proto/dtrpo/v1/job.proto. Relative paths in it are taken "
                  "from the current directory")
      ->required();
  sub->add_flag("--watch", submit.watch, "Follow the job to its end, as `watch` does");
  sub->add_flag("--dry-run", submit.dry_run,
                "Check the file, and everything it names with the coordinator, print the job with "
                "every default and what it takes (bytes); submit nothing");
  sub->add_option("--idempotency-key", submit.idempotency_key,
                  "The same key again answers with the job made first; default: a random one");

  bool steps = false;
  add_for_job("get", "Show one job", [&] {
    return Get(session, job_id, steps);
  })->add_flag("--steps", steps, "With --json: also the learner's curve, a record per step");
  add("list", "Show all jobs", [&] { return List(session); });
  add_for_job("watch", "Show progress until the job is over",
              [&] { return Watch(session, job_id); });
  std::string reason;
  add_for_job("cancel", "End a job; its checkpoints stay", [&] {
    return Cancel(session, job_id, reason);
  })->add_option("--reason", reason, "Shown in the job's status");
  add_for_job("pause", "Hold a job; it keeps its workers", [&] { return Pause(session, job_id); });
  add_for_job("resume", "Go on with a paused job", [&] { return Resume(session, job_id); });
  add("workers", "Show the registered workers", [&] { return Workers(session); });
  TopOptions top;
  CLI::App* top_command = add("top", "Show jobs, workers and the replay store, again and again",
                              [&] { return Top(session, top); });
  top_command->add_option("--interval", top.interval_seconds, "Seconds between looks; default 1")
      ->check(CLI::Range(0.1, 3600.0));
  top_command->add_flag("--once", top.once, "Show it once and end, for scripts");
  add_for_job("why", "Show what a job waits for: who is blocked, on whom, since when",
              [&] { return Why(session, job_id); });

  GenerateOptions generate;
  generate.in = &std::cin;
  generate.terminal = isatty(STDIN_FILENO) != 0;
  RolloutCaller::Dial dial;
  AddGenerateOptions(add("generate", "Talk to the policy that a job trains",
                         [&] { return Generate(session, generate, dial); }),
                     &generate);

  HistoryOptions history;
  AddHistoryCommands(&app, &session, &history, &command);

  ReplayOptions replay;
  replay.in = &std::cin;
  DialReplay dial_replay;
  AddReplayCommands(&app, &session, &replay, &dial_replay, &command);

  JudgeOptions judge;
  DialReward dial_reward;
  AddJudgeCommand(&app, &session, &judge, &dial_reward, &command);

  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? kOk : kUsage;  // 0: --help
  }

  if (submit.idempotency_key.empty()) submit.idempotency_key = NewIdempotencyKey();
  submit.directory = std::filesystem::current_path().string();
  session.address = address;
  session.live_columns = TerminalColumns();
  session.timeout = absl::Seconds(timeout_seconds);
  rpc::ChannelOptions channel_options;
  channel_options.identity.role = "client";
  channel_options.insecure = insecure;
  const auto tls = LoadTlsIdentity(tls_files);
  if (!tls.ok()) {
    Report(session, tls.status());
    return kUsage;
  }
  channel_options.tls = *tls;
  rpc::ChannelFactory channels(channel_options);
  const auto channel = channels.Create(address, {rpc::Role::kCoordinator});
  if (!channel.ok()) {
    Report(session, channel.status());
    return kUsage;
  }
  // Few attempts: a person waits for the answer, and a coordinator that restarts is back within a
  // second or two.
  const auto client = wire::MakeJobClient(
      *channel, {.target = absl::StrCat("coordinator ", address),
                 .seed = std::random_device()(),
                 .retry = {.attempt_timeout = std::max(session.timeout, absl::Minutes(2)),
                           .max_attempts = 5}});
  session.client = client.get();
  dial = [&](const std::string& rollout) -> absl::StatusOr<std::unique_ptr<wire::GenerateClient>> {
    DTRPO_ASSIGN_OR_RETURN(const auto rollout_channel,
                           channels.Create(rollout, {rpc::Role::kRollout}));
    return wire::MakeGenerateClient(rollout_channel);
  };
  dial_replay = [&](const std::vector<std::string>& shards) {
    return wire::ConnectReplayView(
        channels, shards,
        {.target = "replay",
         .seed = std::random_device()(),
         .retry = {.attempt_timeout = session.timeout, .max_attempts = 5}});
  };
  dial_reward =
      [&](const std::string& service) -> absl::StatusOr<std::unique_ptr<reward::RemoteReward>> {
    DTRPO_ASSIGN_OR_RETURN(const auto reward_channel,
                           channels.Create(service, {rpc::Role::kReward}));
    wire::RewardClientOptions options;
    options.target = absl::StrCat("reward service ", service);
    options.outage = session.timeout;
    return wire::MakeRewardClient(reward_channel, std::move(options));
  };
  return command();
}

}  // namespace
}  // namespace dtrpo::ctl

int main(int argc, char** argv) { return dtrpo::ctl::Run(argc, argv); }
