//! The control plane as its host program sees it: open, hand out the feed, serve.

pub(crate) mod states;

use std::{
    fs,
    future::Future,
    io,
    net::SocketAddr,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use mezame_model::Feed;
use tokio::sync::watch;

use crate::{
    access::tokens::{Tokens, TokensError},
    control::{Control, ControlError, SealingKeys},
    environment::{Environment, SystemEnvironment},
    feed::InProcessFeed,
    images::{part::Part, upkeep::Upkeep},
    listen::{
        tls::{TlsError, TlsListener},
        unix::{SocketError, UnixSocket},
    },
    routes,
    schedules::Schedules,
    sealing::key_file::{self, KeyFileError},
    settings::{Settings, Storage, images::ImageSettings},
    store::{
        Store, StoreError,
        memory::MemoryStore,
        sqlite::{self, SqliteStore},
    },
    volumes::{Manner, executor::Executor, local::Local, part::VolumePart},
};

/// Why the control plane can't be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The state's directory can't be made.
    #[error("{path}: can't be made")]
    Directory {
        /// Which one.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A setting makes no sense.
    #[error("the setting '{name}' must be {wanted}")]
    Setting {
        /// Which one.
        name: &'static str,
        /// What it must be.
        wanted: &'static str,
    },
    /// The sealing keys can't be used.
    #[error(transparent)]
    KeyFile(#[from] KeyFileError),
    /// The database can't be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The stored state can't be used.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// The unix socket can't be made.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// The tokens file can't be used.
    #[error(transparent)]
    Tokens(#[from] TokensError),
    /// The TLS listener can't be made.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// Why serving ended early.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The unix socket failed for good.
    #[error("the unix socket failed")]
    Socket(#[source] io::Error),
    /// The TLS listener failed for good.
    #[error("the TLS listener failed")]
    Tls(#[source] io::Error),
}

/// The control plane of one installation.
pub struct Provisioner {
    control: Arc<Control>,
    images: Option<Arc<Part>>,
    volumes: Option<Arc<VolumePart>>,
    schedules: Option<Arc<Schedules>>,
    upkeep: Option<Upkeep>,
    socket: Option<UnixSocket>,
    tls: Option<TlsListener>,
    apply_bytes: usize,
    rotation_ms: u64,
}

impl Provisioner {
    /// Whether settings contradict themselves, as far as that is told without the host.
    ///
    /// # Errors
    /// [`OpenError::Setting`], as [`Provisioner::open`] would say it.
    pub fn check(settings: &Settings) -> Result<(), OpenError> {
        check(settings)
    }

    /// Opens the state, makes what is missing, and binds the listeners. Nothing is answered
    /// before [`Provisioner::serve`] runs, but the feed works at once. Waits for another process
    /// that has the state, for as long as the settings say.
    pub async fn open(settings: Settings) -> Result<Self, OpenError> {
        Self::open_in(settings, Arc::new(SystemEnvironment::new())).await
    }

    pub(crate) async fn open_in(
        settings: Settings,
        environment: Arc<dyn Environment>,
    ) -> Result<Self, OpenError> {
        check(&settings)?;
        make_directory(&settings.state_dir)?;
        let (store, keys) = open_store(&settings, &environment).await?;
        let at = Arc::clone(&environment);
        let control = Control::open(store, at, keys, &settings.region, &settings.domain).await?;
        // Whatever fails does so before work on volumes goes on, which would keep the store from being opened
        // again.
        let socket = match &settings.socket {
            Some(path) => Some(UnixSocket::bind(path, settings.socket_group.as_deref())?),
            None => None,
        };
        let tls = match &settings.tls {
            Some(tls) => {
                let tokens = Tokens::open(&settings.tokens_file)?;
                Some(TlsListener::bind(tls, &settings.state_dir, tokens).await?)
            }
            None => None,
        };
        let at = Arc::clone(&environment);
        let images = open_images(&settings, &control, at).await;
        let upkeep = images.as_ref().zip(settings.images.as_ref()).map(|(images, settings)| {
            Upkeep::of(settings, Arc::clone(images), Arc::clone(&environment))
        });
        let at = Arc::clone(&environment);
        let volumes = open_volumes(&settings, &control, images.as_ref(), at).await;
        let schedules = images.as_ref().zip(volumes.as_ref()).map(|(images, volumes)| {
            let (images, volumes) = (Arc::clone(images), Arc::clone(volumes));
            Schedules::new(Arc::clone(&control), images, volumes, environment)
        });
        let rotation_ms = u64::from(settings.token_rotation_hours) * 3_600_000;
        let apply_bytes = settings.apply_bytes;
        Ok(Self {
            control,
            images,
            volumes,
            schedules,
            upkeep,
            socket,
            tls,
            apply_bytes,
            rotation_ms,
        })
    }

    /// The way of snapshots to a metadata-server in the same process.
    pub fn feed(&self) -> Arc<dyn Feed> {
        Arc::new(InProcessFeed::new(Arc::clone(&self.control)))
    }

    /// Where the TLS listener listens, if there is one.
    pub fn tls_address(&self) -> Option<SocketAddr> {
        self.tls.as_ref().and_then(TlsListener::address)
    }

    /// Answers operators until `shutdown` resolves, then finishes the requests under way, closes
    /// the state and returns. The feed is away from then on.
    pub async fn serve(self, shutdown: impl Future<Output = ()> + Send) -> Result<(), ServeError> {
        let Self {
            control,
            images,
            volumes,
            schedules,
            upkeep,
            socket,
            tls,
            apply_bytes,
            rotation_ms,
        } = self;
        let (end, ending) = watch::channel(false);
        let (its_images, its_volumes) = (images.clone(), volumes.clone());
        let at = Arc::clone(&control);
        let router = routes::router(
            at,
            its_images,
            its_volumes,
            schedules.clone(),
            apply_bytes,
            ending.clone(),
        );
        let unix = async {
            match socket {
                Some(socket) => {
                    socket.serve(router.clone(), ending.clone()).await.map_err(ServeError::Socket)
                }
                None => until_end(ending.clone()).await,
            }
        };
        let tls = async {
            match tls {
                Some(tls) => {
                    tls.serve(router.clone(), ending.clone()).await.map_err(ServeError::Tls)
                }
                None => until_end(ending.clone()).await,
            }
        };
        let stop = async {
            tokio::select! {
                () = shutdown => {}
                () = tend(&control, rotation_ms) => {}
                () = follow(schedules) => {}
                () = keep_up(upkeep) => {}
            }
            announce(&end, images.as_deref());
        };
        let result = {
            let mut serving = std::pin::pin!(async { tokio::try_join!(unix, tls).map(drop) });
            tokio::select! {
                // A listener that fails ends the other.
                result = serving.as_mut() => {
                    announce(&end, images.as_deref());
                    result
                }
                () = stop => serving.await,
            }
        };
        if let Some(images) = images.and_then(|images| images.begun()) {
            let volumes = volumes.and_then(|volumes| volumes.begun());
            let others = async {
                if let Some(volumes) = volumes {
                    volumes.end().await;
                }
            };
            images.end(others).await;
        }
        control.close().await;
        result
    }
}

async fn open_store(
    settings: &Settings,
    environment: &Arc<dyn Environment>,
) -> Result<(Arc<dyn Store>, SealingKeys), OpenError> {
    if settings.storage == Storage::Memory {
        let keys = SealingKeys::in_memory(&**environment).map_err(KeyFileError::from)?;
        return Ok((Arc::new(MemoryStore::default()), keys));
    }
    let (database, key_path) = (settings.database_path(), settings.key_path());
    let ring = key_file::load_or_make(&key_path, sqlite::exists(&database), &**environment)?;
    let patience = Duration::from_secs(settings.takeover_seconds.into());
    let store = SqliteStore::open(&database, ring, Arc::clone(environment), patience).await?;
    // Read again: the process that had the state until now may have rotated the keys.
    let ring = key_file::load_or_make(&key_path, true, &**environment)?;
    store.use_keys(ring.clone()).await?;
    Ok((Arc::new(store), SealingKeys::in_file(ring, key_path)))
}

async fn open_images(
    settings: &Settings,
    control: &Arc<Control>,
    environment: Arc<dyn Environment>,
) -> Option<Arc<Part>> {
    let images = settings.images.clone()?;
    let uploads = settings.state_dir.join("uploads");
    let is_kept = settings.storage != Storage::Memory;
    let journal = is_kept.then(|| settings.state_dir.join("image-jobs"));
    Some(Part::open(images, uploads, journal, Arc::clone(control), environment).await)
}

/// Says that the end has come: to long work first, since connections are cut a few seconds later.
fn announce(end: &watch::Sender<bool>, images: Option<&Part>) {
    if let Some(images) = images.and_then(Part::begun) {
        images.announce_end();
    }
    end.send_replace(true);
}

async fn open_volumes(
    settings: &Settings,
    control: &Arc<Control>,
    images: Option<&Arc<Part>>,
    environment: Arc<dyn Environment>,
) -> Option<Arc<VolumePart>> {
    let (volumes, images) = (settings.volumes.clone()?, Arc::clone(images?));
    let manner = Manner {
        default_pool: volumes.usual_pool().unwrap_or_default().to_owned(),
        jobs: volumes.jobs,
        hydrations: volumes.hydrations,
        jobs_waiting: settings.images.as_ref()?.jobs_waiting,
    };
    let run = settings.state_dir.join("volumes");
    let records = settings.state_dir.join("restores");
    let executor = move |images| {
        let local = Local::open(volumes.clone(), run.clone(), &records, images)?;
        Ok(Arc::new(local) as Arc<dyn Executor>)
    };
    let control = Arc::clone(control);
    Some(VolumePart::open(images, Box::new(executor), control, environment, manner).await)
}

async fn until_end(mut ending: watch::Receiver<bool>) -> Result<(), ServeError> {
    // An error means that the sender is gone, which is an end too.
    let _ = ending.wait_for(|ending| *ending).await;
    Ok(())
}

/// Does what is due by schedules, for ever.
async fn follow(schedules: Option<Arc<Schedules>>) {
    match schedules {
        Some(schedules) => schedules.run().await,
        None => std::future::pending().await,
    }
}

/// Does what the archive needs at its times, for ever.
async fn keep_up(upkeep: Option<Upkeep>) {
    match upkeep {
        Some(upkeep) => upkeep.run().await,
        None => std::future::pending().await,
    }
}

/// Rotates the token keys when their time has come, for ever. Looks at the clock again at least
/// once a minute, since it may be set.
async fn tend(control: &Arc<Control>, rotation_ms: u64) {
    loop {
        let wait = control.token_keys_due_in_ms(rotation_ms).clamp(100, 60_000);
        tokio::time::sleep(Duration::from_millis(wait)).await;
        if control.token_keys_due_in_ms(rotation_ms) > 0 {
            continue;
        }
        if let Err(error) = control.tend_token_keys(rotation_ms).await {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "the token keys could not be rotated"
            );
            tokio::time::sleep(Duration::from_secs(10)).await;
        }
    }
}

fn check(settings: &Settings) -> Result<(), OpenError> {
    let is_name = |text: &str| {
        let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        (1..=63).contains(&text.len()) && text.bytes().all(fits)
    };
    if !is_name(&settings.region) {
        let wanted = "1 to 63 characters of a-z, 0-9 and '-', such as jp-east-1";
        return Err(OpenError::Setting { name: "region", wanted });
    }
    if !mezame_model::id::is_hostname(&settings.domain) {
        return Err(OpenError::Setting { name: "domain", wanted: mezame_model::id::HOSTNAME_RULE });
    }
    if settings.token_rotation_hours == 0 {
        return Err(OpenError::Setting { name: "token_rotation_hours", wanted: "at least 1" });
    }
    if let Some((name, wanted)) = settings.images.as_ref().and_then(ImageSettings::fault) {
        return Err(OpenError::Setting { name, wanted });
    }
    let has_images = settings.images.is_some();
    if let Some((name, wanted)) = settings.volumes.as_ref().and_then(|it| it.fault(has_images)) {
        return Err(OpenError::Setting { name, wanted });
    }
    if settings.apply_bytes < 1 << 20 {
        return Err(OpenError::Setting { name: "apply_bytes", wanted: "at least 1048576" });
    }
    Ok(())
}

/// Keys and database lie in it, so nobody else may look inside.
fn make_directory(path: &Path) -> Result<(), OpenError> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|source| OpenError::Directory { path: path.into(), source })
}

#[cfg(test)]
mod tests;
