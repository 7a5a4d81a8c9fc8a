//! `reports`: what an instance's guest said, newest first.

use std::fmt::Write;

use mezame_model::{api::StoredReport, report::Outcome};

use super::Session;
use crate::{
    command::InstanceArguments,
    exit::Exit,
    failure::Failure,
    screen::{Format, Paint, paint},
    table::Table,
    text,
};

pub(super) async fn run(
    session: &Session<'_>,
    arguments: InstanceArguments,
) -> Result<Exit, Failure> {
    let name = session.name(mezame_model::api::Kind::Instance, &arguments.name)?;
    let reports = session
        .client
        .reports(&name)
        .await
        .map_err(|source| Failure::About { name: Box::new(name.clone()), source })?;
    let screen = session.screen;
    if screen.is_data() {
        screen.print_value(&reports)?;
    } else if reports.is_empty() {
        screen.say(&format!("the guest of {name} has not reported"));
    } else if screen.format == Format::Wide {
        let all: Vec<String> = reports.iter().map(|report| steps(report, screen.color)).collect();
        screen.print(&all.join("\n"))?;
    } else {
        let mut table =
            Table::new(["AT", "OUTCOME", "BOOT", "RUN", "AGENT", "CONFIGURED", "TOTAL", "FAILED"]);
        for stored in &reports {
            let report = &stored.report;
            let failed: Vec<&str> = report
                .steps
                .iter()
                .filter(|step| step.outcome == Outcome::Failed)
                .map(|step| step.step.as_str())
                .collect();
            table.row([
                text::timestamp(stored.at_ms).as_str(),
                outcome(report.outcome),
                &report.boot_id,
                &report.run.to_string(),
                &report.agent,
                &milliseconds(report.configured_ms),
                &milliseconds(Some(report.total_ms)),
                &failed.join(","),
            ]);
        }
        screen.print(&table.render(0))?;
    }
    Ok(Exit::Success)
}

/// In words.
pub(super) fn outcome(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Done => "done",
        Outcome::Unchanged => "unchanged",
        Outcome::Skipped => "skipped",
        Outcome::Failed => "failed",
    }
}

fn milliseconds(number: Option<u64>) -> String {
    number.map(|number| format!("{number} ms")).unwrap_or_default()
}

/// One report with all its steps.
pub(super) fn steps(stored: &StoredReport, color: bool) -> String {
    let report = &stored.report;
    let colour = match report.outcome {
        Outcome::Failed => Paint::Red,
        Outcome::Skipped => Paint::Yellow,
        Outcome::Done | Outcome::Unchanged => Paint::Green,
    };
    let mut out = format!(
        "{} {}, run {} of boot {}, agent {}",
        text::timestamp(stored.at_ms),
        paint(color, colour, outcome(report.outcome)),
        report.run,
        text::line(&report.boot_id),
        text::line(&report.agent),
    );
    if let Some(configured) = report.configured_ms {
        let _ = write!(out, ", configured in {configured} ms");
    }
    let _ = writeln!(out, ", {} ms in all", report.total_ms);
    let mut table = Table::new(["STEP", "OUTCOME", "MS", "REASON", "DETAIL"]);
    for step in &report.steps {
        let detail = step.detail.lines().last().unwrap_or_default();
        table.row([
            step.step.as_str(),
            outcome(step.outcome),
            &step.milliseconds.to_string(),
            &step.reason,
            detail,
        ]);
    }
    if !table.is_empty() {
        out += &table.render(2);
    }
    out
}
