//! The `portcullis` command.

use clap::Parser as _;

fn main() -> std::process::ExitCode {
    portcullis::cli::Cli::parse().run()
}
