//! `metadata-server`: settings and wiring; the service itself is the library `mezame-server`.

mod flags;
mod logging;
mod span;
mod standalone;
mod upgrade;

use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use flags::{Command, Configured};
use mezame_server::{
    control_plane::NoControlPlane,
    removal,
    service::{self, Ended, Ready},
};
use tokio::{signal::unix::SignalKind, sync::watch};

fn main() -> ExitCode {
    match start(Command::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // One sentence, the causes after it.
            eprintln!("metadata-server: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn start(command: Command) -> anyhow::Result<()> {
    let configured = command.configure()?;
    if command.check {
        configured.provisioner.as_ref().map(mezame_provisioner::Provisioner::check).transpose()?;
        println!("the settings are valid");
        return Ok(());
    }
    logging::start(&configured.log)?;
    service::probe()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("starting the runtime")?;
    if command.remove {
        runtime.block_on(removal::remove(&configured.service))?;
        println!("removed");
        return Ok(());
    }
    runtime.block_on(run(&configured))
}

async fn run(configured: &Configured) -> anyhow::Result<()> {
    let (stop, stopped) = watch::channel(false);
    let upgrader = upgrade::Upgrader::new().context("finding this program's own file")?;
    let mut terminate = tokio::signal::unix::signal(SignalKind::terminate())?;
    let mut interrupt = tokio::signal::unix::signal(SignalKind::interrupt())?;
    let mut hangup = tokio::signal::unix::signal(SignalKind::hangup())?;
    let signals = tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = terminate.recv() => break,
                _ = interrupt.recv() => break,
                _ = hangup.recv() => upgrader.start_successor(),
            }
        }
        tracing::info!("ending");
        // The manager is told early, so that it knows that the end was wanted.
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
        let _ = stop.send(true);
    });
    let settings = &configured.service;
    let ended = match &configured.provisioner {
        Some(provisioner) => {
            let standalone = standalone::Standalone::new(provisioner.clone());
            service::run(settings, &standalone, stopped, announce).await
        }
        None => service::run(settings, &NoControlPlane, stopped, announce).await,
    };
    signals.abort();
    match ended? {
        Ended::Stopped => tracing::info!("ended"),
        Ended::TakenOver { by } => tracing::info!(pid = by, "ended; another process took over"),
    }
    Ok(())
}

/// Says that guests are served: to the log, and to systemd (sd_notify(3)).
fn announce(ready: &Ready) {
    let pid = std::process::id();
    tracing::info!(
        pid, generation = %ready.generation, taken_over = ready.taken_over,
        metrics = ready.metrics.map(tracing::field::display), "ready"
    );
    let status = format!("serving generation {}", ready.generation);
    let states = [
        sd_notify::NotifyState::MainPid(pid),
        sd_notify::NotifyState::Ready,
        sd_notify::NotifyState::Status(&status),
    ];
    if let Err(error) = sd_notify::notify(&states) {
        tracing::warn!(%error, "the service manager was not told");
    }
}
