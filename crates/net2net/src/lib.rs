//! What the program `net2net` does, as a library, so that the documentation's generator can ask it
//! for its help; use the libraries net2net-core, net2net-onnx and net2net-lab to build upon.

// This is the program that talks to people; the libraries do not print.
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod args;
mod compare;
mod data;
mod evolve;
mod explore;
mod grow;
mod growing;
mod inspect;
mod lengths;
mod machine;
mod model;
mod numbers;
mod output;
mod progress;
mod samples;
mod state_dict;
mod train;
mod verify;

use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use crate::output::tell;
use args::{Args, Command};
use net2net_lab::evolve::EvolveError;
use net2net_lab::explore::ExploreError;
use net2net_lab::trial::ProcessError;

/// The exit code of a run that was stopped and can be resumed: that of a shell's Ctrl-C.
const INTERRUPTED: u8 = 130;

/// The exit code where a file could not be written for lack of room.
const NO_ROOM: u8 = net2net_lab::trial::NO_ROOM as u8;

/// The program's commands and options, as the argument parser knows them.
pub fn command() -> clap::Command {
    Args::command()
}

/// Reads the arguments of the process, runs the command they name and says how it ended.
pub fn run() -> ExitCode {
    let args = Args::parse();
    let result = match args.command {
        Command::Inspect(options) => inspect::inspect(&options),
        Command::Grow(options) => grow::grow(&options),
        Command::Plan(options) => grow::plan(&options),
        Command::Verify(options) => verify::verify(&options),
        Command::Diff(options) => verify::diff(&options),
        Command::Compare(options) => compare::compare(&options),
        Command::Report(options) => compare::report(&options),
        Command::Data(options) => data::data(&options),
        Command::Train(options) => train::train(&options),
        Command::Explore(options) => explore::explore(&options),
        Command::Evolve(options) => evolve::evolve(&options),
        Command::Export(options) => train::export(&options),
        Command::Completions { shell } => {
            clap_complete::generate(
                shell,
                &mut Args::command(),
                "net2net",
                &mut std::io::stdout(),
            );
            Ok(compare::Exit::Done)
        }
    };
    match result {
        Ok(compare::Exit::Done) => ExitCode::SUCCESS,
        Ok(compare::Exit::Interrupted) => ExitCode::from(INTERRUPTED),
        Err(error) => {
            let text = explain(&error);
            match is_out_of_room(&error) {
                true => {
                    let advice = match text.contains("make room") || text.contains("make some") {
                        true => "",
                        false => {
                            "; there is no room for it: make some, and go on with the same command, or with --resume where it has that"
                        }
                    };
                    tell!("net2net: {text}{advice}");
                    ExitCode::from(NO_ROOM)
                }
                false => {
                    tell!("net2net: {text}");
                    ExitCode::FAILURE
                }
            }
        }
    }
}

/// An error with its causes, each said once: many of ours quote their cause already.
fn explain(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if text.is_empty() {
            text = cause;
        } else if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

/// Whether an error comes from a full disk, or from a limit that makes it as good as full.
fn is_out_of_room(error: &anyhow::Error) -> bool {
    use std::io::ErrorKind;
    let of = |cause: &(dyn std::error::Error + 'static)| {
        let io = cause.downcast_ref::<std::io::Error>();
        let full = [
            ErrorKind::StorageFull,
            ErrorKind::QuotaExceeded,
            ErrorKind::FileTooLarge,
        ];
        let explore = cause.downcast_ref::<ExploreError>();
        let evolve = cause.downcast_ref::<EvolveError>();
        io.is_some_and(|io| full.contains(&io.kind()))
            || matches!(
                explore,
                Some(ExploreError::Process(ProcessError::NoRoom { .. }))
            )
            || evolve.is_some_and(EvolveError::is_out_of_room)
    };
    error.chain().any(of)
}
