#include "cli/program.h"

int main(int argc, char** argv) {
  return facet::cli::run_program(argc, argv);
}
