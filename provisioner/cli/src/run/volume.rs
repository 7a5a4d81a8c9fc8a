//! `volume`: volumes of guests, and the pools that they lie in.
//!
//! It starts no QEMU: it prints what one is to be started with.

use std::{
    fs::{self, OpenOptions},
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use mezame_model::api::volumes::{
    FlushState, Hydrate, Limits, Monitor, NewVolume, RestoreWay, SecretObject, Volume,
    VolumeLimits, VolumeStart, VolumeState,
};

use super::{Session, flush, image, job, leftover, master, opening, pool, restore, told::told};
use crate::{
    command::{CreateVolumeArguments, Hydrating, LimitArguments, VolumeCommand, VolumeName},
    exit::Exit,
    failure::Failure,
    size,
    table::Table,
    text,
};

pub(super) async fn run(session: &Session<'_>, command: VolumeCommand) -> Result<Exit, Failure> {
    let client = &session.client;
    let command = match command {
        VolumeCommand::Pool(command) => return pool::run(session, command).await,
        VolumeCommand::Leftover(command) => return leftover::run(session, command).await,
        VolumeCommand::Master(command) => return master::run(session, command).await,
        command => command,
    };
    let project = session.project()?;
    match command {
        VolumeCommand::Create(arguments) => create(session, arguments).await,
        VolumeCommand::List => list(session, &client.volumes(project).await?),
        VolumeCommand::Show(name) => show(session, &client.volume(project, id(&name)).await?),
        VolumeCommand::Delete(name) => delete(session, id(&name)).await,
        VolumeCommand::Open { volume, secrets_dir, qmp, wait } => {
            let (secrets_dir, monitor) = (secrets_dir.as_deref(), Monitor { qmp });
            let start = opening::started(session, id(&volume), &monitor, secrets_dir, wait).await?;
            open(session, &start, secrets_dir)
        }
        VolumeCommand::Flush(arguments) => flush::run(session, arguments).await,
        VolumeCommand::Limits { volume, limits, none, qmp } => {
            // What is not named stays.
            let before = match none {
                true => Limits::default(),
                false => client.volume(project, id(&volume)).await?.limits,
            };
            let named = limits_of(&limits);
            let limits =
                Limits { iops: named.iops.or(before.iops), bytes: named.bytes.or(before.bytes) };
            let wanted = VolumeLimits { limits, qmp };
            let changed = client.limit_volume(project, id(&volume), &wanted).await?;
            if session.screen.is_data() {
                session.screen.print_value(&changed)?;
                return Ok(Exit::Success);
            }
            let told = match (&wanted.qmp, &changed.flush, &changed.qmp) {
                (Some(_), _, _) => "",
                (None, Some(flush), _) if flush.state != FlushState::Waiting => "",
                (None, Some(_), _) => " as soon as its QEMU answers",
                (None, None, Some(_)) => ", of its guest too if it runs",
                (None, None, None) => " from the next time QEMU is told",
            };
            session.screen.say(&format!("{}: {}{told}", changed.id, limits_text(changed.limits)));
            Ok(Exit::Success)
        }
        VolumeCommand::Resize { volume, size, detach } => {
            let begun = client.resize_volume(project, id(&volume), size).await?;
            job::follow(session, Some(project), begun, detach.detach).await
        }
        VolumeCommand::RotateKey { volume, qmp, detach } => {
            let begun = client.rotate_volume_key(project, id(&volume), &Monitor { qmp }).await?;
            job::follow(session, Some(project), begun, detach.detach).await
        }
        VolumeCommand::Hydrate { volume, qmp, speed, detach } => {
            let asked = Hydrate { qmp, speed };
            let begun = client.hydrate_volume(project, id(&volume), &asked).await?;
            job::follow(session, Some(project), begun, detach.detach).await
        }
        VolumeCommand::Restore(arguments) => restore::restore(session, arguments).await,
        VolumeCommand::Capture(arguments) => restore::capture(session, arguments).await,
        VolumeCommand::Pause(hydrating) => pace(session, hydrating, "pause").await,
        VolumeCommand::Resume(hydrating) => pace(session, hydrating, "resume").await,
        // Taken above.
        VolumeCommand::Pool(_) | VolumeCommand::Master(_) | VolumeCommand::Leftover(_) => {
            Ok(Exit::Success)
        }
    }
}

fn id(name: &VolumeName) -> &str {
    &name.volume.0
}

pub(super) fn limits_of(arguments: &LimitArguments) -> Limits {
    Limits { iops: arguments.limit_iops, bytes: arguments.limit_bytes }
}

fn limits_text(limits: Limits) -> String {
    let iops = limits.iops.map(|iops| format!("{iops} operations/s"));
    let bytes = limits.bytes.map(|bytes| format!("{}/s", size::show(bytes)));
    let both: Vec<String> = iops.into_iter().chain(bytes).collect();
    if both.is_empty() { "no limits".into() } else { both.join(", ") }
}

async fn create(session: &Session<'_>, arguments: CreateVolumeArguments) -> Result<Exit, Failure> {
    let project = session.project()?;
    let image = match &arguments.image {
        Some(named) => Some(image::find(session, project, named).await?),
        None => None,
    };
    let new = NewVolume {
        id: arguments.volume.volume.0,
        image,
        pool: arguments.pool,
        class: arguments.class.0,
        flush_ms: arguments.flush_interval,
        size: arguments.size,
        encrypted: arguments.encrypted,
        limits: limits_of(&arguments.limits),
    };
    let begun = session.client.create_volume(project, &new).await?;
    job::follow(session, Some(project), begun, arguments.detach.detach).await
}

async fn delete(session: &Session<'_>, id: &str) -> Result<Exit, Failure> {
    let deleted = session.client.delete_volume(session.project()?, id).await?;
    if session.screen.is_data() {
        session.screen.print_value(&deleted)?;
        return Ok(Exit::Success);
    }
    let keys = match (deleted.erased.as_str(), deleted.keys_forgotten, &deleted.doubt) {
        (_, 0, None) => String::new(),
        (_, 0, Some(doubt)) => format!("; {}", text::line(doubt)),
        ("in-place", _, _) => ", its keys are forgotten, and written over where they lay".into(),
        (_, _, Some(doubt)) => format!(
            ", its keys are forgotten, and a copy of their encrypted form may be left: {}",
            text::line(doubt)
        ),
        _ => ", its keys are forgotten".into(),
    };
    session.screen.say(&format!("{id} is deleted{keys}"));
    if deleted.keys_forgotten == 0 && !deleted.kept.is_empty() {
        let files = text::line(&deleted.kept.join(", "));
        session.screen.say(&format!("what restores have kept of it stays: {files}"));
    }
    for schedule in &deleted.schedules {
        let schedule = text::line(schedule);
        session.screen.say(&format!(
            "the schedule {schedule} still names it, and fails from now on: change it by 'mezame \
             backup schedule set', or delete it"
        ));
    }
    Ok(Exit::Success)
}

fn open(
    session: &Session<'_>,
    start: &VolumeStart,
    secrets_dir: Option<&Path>,
) -> Result<Exit, Failure> {
    let screen = session.screen;
    if start.recovered_bytes > 0 {
        let bytes = size::show(start.recovered_bytes);
        screen.say(&format!("put back what a hard stop took: {bytes}"));
    }
    let mut words = Vec::new();
    match secrets_dir {
        None if screen.is_data() => {
            screen.print_value(start)?;
            return Ok(Exit::Success);
        }
        None if !start.secrets.is_empty() => {
            return Err(Failure::NoSecretsFolder { volume: start.id.clone() });
        }
        None => {}
        Some(folder) => {
            for secret in &start.secrets {
                words.extend(["-object".to_owned(), kept(folder, secret)?]);
            }
        }
    }
    words.extend(["-blockdev".to_owned(), start.blockdev.to_string()]);
    words.extend(["-device".to_owned(), start.device.to_string()]);
    if screen.is_data() {
        // Its keys are in files now.
        let start = VolumeStart { secrets: Vec::new(), ..start.clone() };
        let mut value = serde_json::to_value(&start).map_err(std::io::Error::other)?;
        value["words"] = words.into();
        screen.print_value(&value)?;
        return Ok(Exit::Success);
    }
    let lines: String = words.iter().map(|word| format!("{word}\n")).collect();
    screen.print(&lines)?;
    Ok(Exit::Success)
}

/// Writes a secret into a file that only its owner may read; what QEMU is told of it.
fn kept(folder: &Path, secret: &SecretObject) -> Result<String, Failure> {
    let is_name = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-.".contains(&b);
    // It comes from the server and becomes a file's name here.
    // QEMU may be started elsewhere than here.
    let folder = fs::canonicalize(folder)
        .map_err(|source| Failure::Output { path: folder.to_owned(), source })?;
    let path =
        folder.join(secret.id.bytes().filter(|b| is_name(*b)).map(char::from).collect::<String>());
    let at = |source| Failure::Output { path: path.clone(), source };
    match fs::remove_file(&path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(at(error)),
        _ => {}
    }
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create_new(true).mode(0o600).open(&path).map_err(at)?;
    if let Err(error) = file.write_all(secret.data.as_bytes()) {
        // A part of a key is of no use, and stays secret by being nowhere.
        let _ = fs::remove_file(&path);
        return Err(at(error));
    }
    let object = serde_json::json!({
        "qom-type": "secret", "id": secret.id, "format": secret.format, "file": path,
    });
    Ok(object.to_string())
}

async fn pace(session: &Session<'_>, hydrating: Hydrating, what: &str) -> Result<Exit, Failure> {
    let Hydrating { volume, qmp } = hydrating;
    let monitor = Monitor { qmp };
    session.client.pace_hydration(session.project()?, id(&volume), what, &monitor).await?;
    let done = if what == "pause" { "rests" } else { "goes on" };
    let said = format!("the hydration of {} {done}", id(&volume));
    told(session, id(&volume), if what == "pause" { "paused" } else { "resumed" }, &said)
}

fn list(session: &Session<'_>, volumes: &[Volume]) -> Result<Exit, Failure> {
    let screen = session.screen;
    let name = |it: &Volume| format!("volume/{}", it.id);
    if !screen.wants_table(volumes, "there are no volumes", name)? {
        return Ok(Exit::Success);
    }
    let mut table = Table::new([
        "ID",
        "STATE",
        "SIZE",
        "CLASS",
        "FLUSHED",
        "ENCRYPTED",
        "POOL",
        "HOST",
        "IMAGE",
        "OWNER",
        "CREATED",
    ]);
    for volume in volumes {
        table.row([
            volume.id.clone(),
            state(volume).to_owned(),
            size::show(volume.size),
            volume.class.as_str().to_owned(),
            flushed(volume).to_owned(),
            if volume.encrypted { "yes" } else { "no" }.to_owned(),
            volume.pool.clone(),
            volume.host.clone(),
            volume.image.clone().unwrap_or_default(),
            volume.owner.clone(),
            text::timestamp(volume.created_ms),
        ]);
    }
    screen.print(&table.render(0))?;
    Ok(Exit::Success)
}

/// How it is flushed, in a word; none of a class that is not.
fn flushed(volume: &Volume) -> &'static str {
    let flush = volume.flush.as_ref().filter(|_| volume.flush_ms.is_some());
    flush.map_or("", |flush| flush.state.as_str())
}

/// What it is, in a word: what keeps its guest from starting, first.
fn state(volume: &Volume) -> &'static str {
    match volume.restoring {
        Some(RestoreWay::Over) => "half-restored",
        Some(RestoreWay::Beside) => "restoring",
        None if volume.rotating => "rotating",
        None if volume.resizing.is_some() => "resizing",
        None if volume.job.is_some() && volume.state == VolumeState::Ready => "at-work",
        None => volume.state.as_str(),
    }
}

fn show(session: &Session<'_>, volume: &Volume) -> Result<Exit, Failure> {
    if session.screen.is_data() {
        session.screen.print_value(volume)?;
        return Ok(Exit::Success);
    }
    let keys: Vec<String> = volume.keys.iter().map(ToString::to_string).collect();
    let mut out = String::new();
    for (what, said) in [
        ("Id", volume.id.clone()),
        ("Project", volume.project.clone()),
        ("Owner", volume.owner.clone()),
        ("State", state(volume).into()),
        ("Size", format!("{} ({} bytes)", size::show(volume.size), volume.size)),
        ("Class", volume.class.as_str().into()),
        ("Flushed", flush::text(volume)),
        ("Host", volume.host.clone()),
        ("Pool", volume.pool.clone()),
        ("Place", volume.place.clone().unwrap_or_default()),
        ("Image", volume.image.clone().unwrap_or_else(|| "zeros".into())),
        ("Keys", keys.join(", ")),
        ("Limits", limits_text(volume.limits)),
        ("Monitor", volume.qmp.as_ref().map(|qmp| qmp.display().to_string()).unwrap_or_default()),
        ("Created", text::timestamp(volume.created_ms)),
        ("Job", volume.job.clone().unwrap_or_default()),
        ("Kept", volume.kept.join(", ")),
    ] {
        if !said.is_empty() {
            out += &format!("{:<13}{}\n", format!("{what}:"), text::line(&said));
        }
    }
    session.screen.print(&out)?;
    Ok(Exit::Success)
}
