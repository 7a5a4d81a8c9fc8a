//! `guest-agent status`: what the last run did, and why it did not do the rest.

use std::{fmt::Write, io, path::Path, process::ExitCode};

use mezame_model::{Report, report::Outcome};

use crate::{outbox::Outbox, settings::Settings};

/// Prints the last run's report and gives the exit status.
pub fn show(settings: &Settings, json: bool) -> ExitCode {
    let state = settings.state();
    let report = match last_report(&state) {
        Ok(report) => report,
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            eprintln!("guest-agent: {} is for root only", state.display());
            return ExitCode::from(4);
        }
        Err(_) => None,
    };
    let Some(report) = report else {
        if json {
            println!("{}", serde_json::json!({ "ok": false, "reason": "not-run" }));
        }
        eprintln!("guest-agent: no run has come to its end yet; see `guest-agent doctor`");
        return ExitCode::from(5);
    };
    let waits = Outbox::open(&state).is_ok_and(|outbox| !outbox.is_empty());
    let ok = report.outcome != Outcome::Failed;
    if json {
        let json = serde_json::json!({ "ok": ok, "reported": !waits, "report": report });
        println!("{json}");
    } else {
        print!("{}", text(&report));
        if waits {
            println!("The report waits to be sent: the metadata service has not taken it yet.");
        }
    }
    if ok { ExitCode::SUCCESS } else { ExitCode::from(1) }
}

/// The report of the last run that ended; none where it can't be understood.
pub fn last_report(state: &Path) -> io::Result<Option<Report>> {
    Ok(serde_json::from_slice(&std::fs::read(state.join("last-report.json"))?).ok())
}

/// A report for people: a line for each step, and what it means.
pub fn text(report: &Report) -> String {
    let mut out = String::new();
    let _ = writeln!(out, "instance {}, run {} in this boot", report.instance_id, report.run);
    for step in &report.steps {
        let word = match step.outcome {
            Outcome::Done => "done",
            Outcome::Unchanged => "as it was",
            Outcome::Skipped => "skipped",
            Outcome::Failed => "FAILED",
        };
        let _ = write!(out, "  {word:<9}  {}", step.step);
        if step.milliseconds > 0 {
            let _ = write!(out, " ({} ms)", step.milliseconds);
        }
        if !step.reason.is_empty() {
            let _ = write!(out, "  {}", step.reason);
        }
        if !step.detail.is_empty() && step.outcome != Outcome::Unchanged {
            let _ = write!(out, ": {}", step.detail.trim_end().replace('\n', "\n             "));
        }
        out.push('\n');
    }
    let configured = report.configured_ms.map_or("?".to_owned(), |ms| ms.to_string());
    let _ = writeln!(
        out,
        "configured {configured} ms after the first packet, scripts excluded; {} ms in all",
        report.total_ms
    );
    out
}
