//! The binary: hands the command line to the library and its exit code to the shell.

use std::process::ExitCode;

fn main() -> ExitCode {
    mezame_cli::run::main(std::env::args_os())
}
