//! `reports`: what an instance's guest said, newest first; or oldest first, and then each as it comes.

use std::{collections::HashSet, fmt::Write};

use mezame_model::{
    api::{Kind, StoredReport},
    report::Outcome,
};

use super::{Session, watch::Following};
use crate::{
    client::error::ClientError,
    command::ReportsArguments,
    exit::Exit,
    failure::Failure,
    kind_name::Name,
    screen::{Format, Paint, paint},
    table::Table,
    text,
};

pub(super) async fn run(
    session: &Session<'_>,
    arguments: ReportsArguments,
) -> Result<Exit, Failure> {
    let name = session.name(Kind::Instance, &arguments.name)?;
    if arguments.follow {
        return follow(session, &name).await;
    }
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
            table.row([
                text::timestamp(stored.at_ms).as_str(),
                outcome(report.outcome),
                &report.boot_id,
                &report.run.to_string(),
                &report.agent,
                &milliseconds(report.configured_ms),
                &milliseconds(Some(report.total_ms)),
                &failed(stored),
            ]);
        }
        screen.print(&table.render(0))?;
    }
    Ok(Exit::Success)
}

/// Shows what is there and then what comes, woken by events and never by a clock.
async fn follow(session: &Session<'_>, name: &Name) -> Result<Exit, Failure> {
    let about = |source: ClientError| Failure::About { name: Box::new(name.clone()), source };
    // Before the first look, so that nothing is missed in between.
    let mut events = Following::begin(session, None).await?;
    let mut known: HashSet<(u64, String, u32)> = HashSet::new();
    loop {
        let reports = session.client.reports(name).await.map_err(about)?;
        let new = reports.iter().rev().filter(|it| !known.contains(&key(it)));
        for stored in new {
            show_one(session, stored)?;
        }
        known = reports.iter().map(key).collect();
        loop {
            match events.next().await? {
                Some(event) if !name.is_of(&event) => {}
                // Also where a lost connection was made anew: something may have come meanwhile.
                Some(_) | None => break,
            }
        }
    }
}

/// What tells one report from another.
fn key(stored: &StoredReport) -> (u64, String, u32) {
    (stored.at_ms, stored.report.boot_id.clone(), stored.report.run)
}

/// One report, by itself: a line, one JSON object a line, or with all its steps.
fn show_one(session: &Session<'_>, stored: &StoredReport) -> Result<(), Failure> {
    let screen = session.screen;
    let text = match screen.format {
        Format::Json => {
            format!("{}\n", serde_json::to_string(stored).map_err(std::io::Error::from)?)
        }
        Format::Yaml => {
            format!("---\n{}", serde_yaml::to_string(stored).map_err(std::io::Error::other)?)
        }
        Format::Wide => steps(stored, screen.color),
        Format::Table | Format::Name | Format::Seed => {
            let report = &stored.report;
            let line = format!(
                "{}  {:<9}  run {} of boot {}  {:>9}  {}",
                text::timestamp(stored.at_ms),
                outcome(report.outcome),
                report.run,
                text::line(&report.boot_id),
                milliseconds(Some(report.total_ms)),
                text::line(&failed(stored)),
            );
            format!("{}\n", line.trim_end())
        }
    };
    screen.print(&text)?;
    Ok(())
}

/// The names of the steps that failed.
fn failed(stored: &StoredReport) -> String {
    let steps = stored.report.steps.iter();
    let failed = steps.filter(|step| step.outcome == Outcome::Failed);
    failed.map(|step| step.step.as_str()).collect::<Vec<_>>().join(",")
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
