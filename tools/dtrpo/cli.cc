#include "tools/dtrpo/cli.h"

#include <iostream>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "tools/dtrpo/certs_command.h"
#include "tools/dtrpo/compare/compare_objectives_command.h"
#include "tools/dtrpo/compare_command.h"
#include "tools/dtrpo/eval_command.h"
#include "tools/dtrpo/generate_command.h"
#include "tools/dtrpo/make_arithmetic_command.h"
#include "tools/dtrpo/report_command.h"
#include "tools/dtrpo/score_command.h"
#include "tools/dtrpo/sft_command.h"
#include "tools/dtrpo/subcommand.h"
#include "tools/dtrpo/train_command.h"
#include "tools/dtrpo/up_command.h"

namespace dtrpo::tools {
namespace {

std::vector<std::unique_ptr<Subcommand>> Subcommands() {
  std::vector<std::unique_ptr<Subcommand>> commands;
  commands.push_back(std::make_unique<GenerateCommand>());
  commands.push_back(std::make_unique<ScoreCommand>());
  commands.push_back(std::make_unique<SftCommand>());
  commands.push_back(std::make_unique<TrainCommand>());
  commands.push_back(std::make_unique<EvalCommand>());
  commands.push_back(std::make_unique<CompareCommand>());
  commands.push_back(std::make_unique<CompareObjectivesCommand>());
  commands.push_back(std::make_unique<MakeArithmeticCommand>());
  commands.push_back(std::make_unique<UpCommand>());
  commands.push_back(std::make_unique<CertsCommand>());
  commands.push_back(std::make_unique<ReportCommand>());
  return commands;
}

int Report(absl::string_view command, const absl::Status& status, int exit_code) {
  std::cerr << "dtrpo " << command << ": " << status.message() << std::endl;
  return exit_code;
}

}  // namespace

int RunCli(int argc, const char* const* argv) {
  const std::vector<std::unique_ptr<Subcommand>> commands = Subcommands();
  CLI::App app("dtrpo: work with block-diffusion language models on this machine.", "dtrpo");
  app.footer(
      "`dtrpo SUBCOMMAND --help` explains each. Exit codes: 0 done, 1 failed, 2 wrong usage.");
  app.require_subcommand(1);
  for (const auto& command : commands) {
    command->AddOptions(app.add_subcommand(command->name(), command->summary()));
  }
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return app.exit(error);  // --help
    const std::vector<CLI::App*> parsed = app.get_subcommands();
    const std::string program =
        parsed.empty() ? "dtrpo" : absl::StrCat("dtrpo ", parsed.front()->get_name());
    std::cerr << program << ": " << error.what() << " (`" << program << " --help` explains)\n";
    return kExitUsage;
  }
  for (const auto& command : commands) {
    if (!app.got_subcommand(command->name())) continue;
    if (const absl::Status s = command->CheckOptions(); !s.ok()) {
      return Report(command->name(), s, kExitUsage);
    }
    if (const absl::Status s = command->Run(); !s.ok()) {
      return Report(command->name(), s, kExitFailed);
    }
  }
  return kExitOk;
}

}  // namespace dtrpo::tools
