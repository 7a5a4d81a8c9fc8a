//! The command line: what is asked for, what is printed, how it ends.

use std::{path::PathBuf, process::ExitCode, sync::OnceLock, time::Duration};

use clap::{Args, Parser, Subcommand};
use mezame_model::{VolumeName, report::Outcome};
use serde::Serialize;

use crate::{
    boot::{self, Finished, run::RunError},
    doctor,
    endpoint::Endpoint,
    platform::{self, Change, Platform, PlatformError, ServiceOrder, Weight},
    seal,
    settings::Settings,
    status, unlock,
};

/// Configures this guest from the metadata service at its link-local address.
#[derive(Debug, Clone, Parser)]
#[command(
    name = "guest-agent",
    version,
    after_help = "Examples:
  guest-agent run                      configure this guest, once
  guest-agent run --dry-run            show what that would do
  guest-agent watch                    configure it, and follow each change (a service)
  guest-agent status                   what was done, and why not
  guest-agent doctor                   why this guest is not configured, and what to do
  guest-agent unlock --volume root     the key of an encrypted volume, for an initramfs
  guest-agent seal                     forget this guest, before an image is captured
  guest-agent install                  Windows: be a service that starts with the system

Exit status:
  0  done, or nothing to do
  1  a step failed; doctor: something is wrong; unlock: the key is withheld, and standard error says why
  2  wrong usage or settings
  3  no document came, or the service can't be reached
  4  the agent's own state can't be used, or another agent is running
  5  status: the agent has not finished a run yet"
)]
pub struct Arguments {
    /// Apply to this directory and not to the running system: files are written below it, scripts
    /// run with MEZAME_ROOT set to it, host name and devices stay as they are
    #[arg(long, global = true, value_name = "DIR", default_value_os_t = platform::root())]
    root: PathBuf,
    /// Where the metadata service is, such as http://[fd00:ec2::254] [default: as in
    /// /etc/mezame/guest-agent.yaml, or 169.254.169.254 and fe80::a9fe:a9fe through each device]
    #[arg(long, global = true, value_name = "URL")]
    endpoint: Option<Endpoint>,
    /// One JSON object on standard output, for programs
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Clone, Subcommand)]
enum Command {
    /// Configure this guest once, and end
    Run(Run),
    /// Configure this guest, then apply every change of its document as it comes
    #[command(alias = "daemon")]
    Watch,
    /// Show what the last run did, and why it did not do the rest
    Status,
    /// Say why this guest is not configured, and what to do about it
    #[command(alias = "diagnose")]
    Doctor,
    /// Print the key of an encrypted volume, which the service gives once a boot (for an initramfs)
    Unlock(Unlock),
    /// Forget this guest, so that an image of its disk can be captured
    Seal,
    /// Windows: have the service manager start `watch` with the system
    Install,
    /// Windows: stop the service, and have it start no more
    Uninstall,
    /// What freezes file systems for `watch`, and thaws them when its standard input ends
    #[command(hide = true)]
    FreezeHelper(FreezeHelper),
    /// Windows: what the service manager starts
    #[command(hide = true)]
    Service,
}

#[derive(Debug, Clone, Args)]
struct Unlock {
    /// Which of the instance's keys
    #[arg(long, value_name = "NAME")]
    volume: VolumeName,
    /// The device that it is to open: of two versions the one that does is printed
    #[arg(long, value_name = "PATH")]
    device: Option<String>,
    /// Give up when the service was not found after so many seconds
    #[arg(long, value_name = "SECONDS", default_value = "60")]
    timeout: u64,
}

#[derive(Debug, Clone, Args)]
struct FreezeHelper {
    /// When it thaws by itself
    #[arg(long, value_name = "MILLISECONDS")]
    bound_ms: u32,
}

#[derive(Debug, Clone, Args)]
struct Run {
    /// Print the plan and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Give up when no document has come after so many seconds [default: never]
    #[arg(long, value_name = "SECONDS")]
    timeout: Option<u64>,
}

/// What `run --json` prints; `watch --json` prints one such line a run.
#[derive(Debug, Serialize)]
struct RunJson<'a> {
    ok: bool,
    reported: bool,
    configured_ms: Option<u64>,
    reply_to_configured_ms: Option<f64>,
    total_ms: u64,
    report: &'a mezame_model::Report,
}

/// Does what the command line asks for.
pub fn run(arguments: &Arguments) -> ExitCode {
    // Before it reads anything: it is waited for.
    if let Command::FreezeHelper(it) = &arguments.command {
        let bound = Duration::from_millis(u64::from(it.bound_ms));
        let helped = platform::help_to_freeze(bound);
        return helped.map_or(ExitCode::FAILURE, |()| ExitCode::SUCCESS);
    }
    let settings = match settings(arguments) {
        Ok(settings) => settings,
        Err(error) => {
            eprintln!("guest-agent: {error}");
            return ExitCode::from(2);
        }
    };
    match &arguments.command {
        Command::Status => return status::show(&settings, arguments.json),
        Command::Doctor => return doctor::show(&settings, arguments.json),
        Command::Install => {
            // Before anything that it is told is believed at the next start.
            if let Err(error) = platform::create_private_directory(&settings.state()) {
                eprintln!("guest-agent: {}: {error}", settings.state().display());
                return ExitCode::FAILURE;
            }
            return ordered(platform::order_service(
                ServiceOrder::Install,
                &service_words(arguments),
            ));
        }
        Command::Uninstall => {
            return ordered(platform::order_service(ServiceOrder::Uninstall, &[]));
        }
        Command::Service => return serve(arguments),
        Command::FreezeHelper(_)
        | Command::Run(_)
        | Command::Watch
        | Command::Seal
        | Command::Unlock(_) => {}
    }
    let platform = match platform::native(&settings) {
        Ok(platform) => platform,
        Err(error) => {
            eprintln!("guest-agent: {error}");
            return ExitCode::from(4);
        }
    };
    let result = match &arguments.command {
        Command::Watch => watch(arguments, &settings, &*platform),
        Command::Run(run) if run.dry_run => {
            let timeout = run.timeout.map(Duration::from_secs);
            boot::dry_run(&settings, &*platform, timeout, &mut say).map(|plan| {
                print!("{plan}");
                ExitCode::SUCCESS
            })
        }
        Command::Run(run) => {
            let timeout = run.timeout.map(Duration::from_secs);
            boot::run_once(&settings, &*platform, timeout, &mut say)
                .map(|finished| show(arguments, &finished))
        }
        Command::Unlock(it) => {
            let Unlock { volume, device, timeout } = it;
            let (volume, device) = (volume.clone(), device.clone());
            let timeout = Duration::from_secs(*timeout);
            Ok(unlock::show(&settings, &*platform, &unlock::Wanted { volume, device, timeout }))
        }
        Command::Seal => seal::seal(&settings, &*platform, &mut say).map(|()| ExitCode::SUCCESS),
        _ => Ok(ExitCode::SUCCESS),
    };
    result.unwrap_or_else(|error| failed(arguments, &error))
}

fn watch(
    arguments: &Arguments,
    settings: &Settings,
    platform: &dyn Platform,
) -> Result<ExitCode, RunError> {
    boot::watch(settings, platform, &mut say, &mut |finished| {
        show(arguments, finished);
    })?;
    Ok(ExitCode::SUCCESS)
}

fn settings(arguments: &Arguments) -> Result<Settings, crate::settings::SettingsError> {
    let root = std::path::absolute(&arguments.root).unwrap_or_else(|_| arguments.root.clone());
    let mut settings = Settings::load(root)?;
    if let Some(endpoint) = arguments.endpoint {
        settings.endpoint = Some(endpoint);
    }
    Ok(settings)
}

/// What the service manager starts: the same root and endpoint.
fn service_words(arguments: &Arguments) -> Vec<String> {
    let mut words = Vec::new();
    if arguments.root != platform::root() {
        words.extend(["--root".to_owned(), arguments.root.display().to_string()]);
    }
    if let Some(endpoint) = arguments.endpoint {
        words.extend(["--endpoint".to_owned(), format!("http://{endpoint}")]);
    }
    words.push("service".to_owned());
    words
}

fn ordered(result: Result<Change, PlatformError>) -> ExitCode {
    match result {
        Ok(Change::Changed) => println!("done"),
        Ok(Change::Same) => println!("it was so already"),
        Err(error) => {
            eprintln!("guest-agent: {error}");
            return ExitCode::from(4);
        }
    }
    ExitCode::SUCCESS
}

/// Where the service manager has the work done it hands nothing over: it waits here.
static SERVED: OnceLock<Arguments> = OnceLock::new();

fn serve(arguments: &Arguments) -> ExitCode {
    let watched = Arguments { command: Command::Watch, ..arguments.clone() };
    if SERVED.set(watched).is_err() {
        return ExitCode::from(4);
    }
    match platform::serve(|| SERVED.get().map_or(ExitCode::from(4), run)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("guest-agent: {error}");
            ExitCode::from(4)
        }
    }
}

fn say(text: &str) {
    platform::say(Weight::Waiting, text);
}

fn show(arguments: &Arguments, finished: &Finished) -> ExitCode {
    let report = &finished.report;
    let ok = report.outcome != Outcome::Failed;
    platform::log_run(ok, report);
    if arguments.json {
        let json = RunJson {
            ok,
            reported: finished.reported,
            configured_ms: report.configured_ms,
            reply_to_configured_ms: finished
                .reply_to_configured
                .map(|time| (time.as_secs_f64() * 1e6).round() / 1e3),
            total_ms: report.total_ms,
            report,
        };
        println!("{}", serde_json::to_string(&json).unwrap_or_default());
    } else {
        print!("{}", status::text(report));
        if !finished.reported {
            say("the report was not taken yet; it will be sent later");
        }
    }
    if ok { ExitCode::SUCCESS } else { ExitCode::from(1) }
}

fn failed(arguments: &Arguments, error: &RunError) -> ExitCode {
    if arguments.json {
        let json = serde_json::json!({
            "ok": false,
            "reason": error.reason(),
            "detail": error.to_string(),
        });
        println!("{json}");
    }
    platform::say(Weight::Fatal, &error.to_string());
    match error {
        RunError::Discover(_) => ExitCode::from(3),
        _ => ExitCode::from(4),
    }
}
