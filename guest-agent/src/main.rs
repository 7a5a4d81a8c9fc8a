//! The binary: the command line and nothing else.

use std::process::ExitCode;

use clap::Parser;
use guest_agent::command::Arguments;

fn main() -> ExitCode {
    guest_agent::command::run(&Arguments::parse())
}
