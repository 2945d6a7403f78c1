#include "tools/dtrpo/cli.h"

int main(int argc, char** argv) { return dtrpo::tools::RunCli(argc, argv); }
