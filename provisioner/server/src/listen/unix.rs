//! The operators' unix socket, mode 0660.
//!
//! Bound under a temporary name, given its mode and group, and only then moved to its own name:
//! there is no moment at which others could connect. Whoever opened the database may replace a
//! socket that an earlier process left. At the end only the own socket is removed.

use std::{
    fs, io,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};

use axum::Router;
use nix::unistd::{Gid, Group, Uid, chown, geteuid};
use tokio::{net::UnixListener, sync::watch};

use super::{CallerOf, Connections};
use crate::access::peer::PeerPolicy;

/// Why the socket can't be made.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// It can't be bound, or given its mode or group.
    #[error("{path}: the socket can't be made")]
    Io {
        /// Which socket.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// There is no such group.
    #[error("there is no group '{group}' to give the socket to")]
    NoGroup {
        /// Its name.
        group: String,
    },
    /// Something that is no socket has the name.
    #[error("{path}: is there already, and is no socket")]
    NotASocket {
        /// Which file.
        path: PathBuf,
    },
}

/// The bound socket.
pub(crate) struct UnixSocket {
    listener: UnixListener,
    path: PathBuf,
    /// Device and inode, so that a successor's socket is not removed.
    identity: (u64, u64),
    policy: PeerPolicy,
}

impl UnixSocket {
    /// Binds the socket; makes its directory where it is missing.
    pub(crate) fn bind(path: &Path, group: Option<&str>) -> Result<Self, SocketError> {
        let at = |source| SocketError::Io { path: path.into(), source };
        let group: Option<Gid> = group
            .map(|name| {
                let found = Group::from_name(name).ok().flatten();
                found
                    .map(|group| group.gid)
                    .ok_or_else(|| SocketError::NoGroup { group: name.into() })
            })
            .transpose()?;
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory).map_err(at)?;
        }
        match fs::symlink_metadata(path) {
            Ok(about) if about.mode() & nix::libc::S_IFMT != nix::libc::S_IFSOCK => {
                return Err(SocketError::NotASocket { path: path.into() });
            }
            _ => {}
        }
        let temporary = path.with_extension(format!("{}", std::process::id()));
        let _ = fs::remove_file(&temporary);
        let listener = UnixListener::bind(&temporary).map_err(at)?;
        let made = (|| {
            if group.is_some() {
                chown(&temporary, None::<Uid>, group)?;
            }
            fs::set_permissions(&temporary, fs::Permissions::from_mode(0o660))?;
            let about = fs::symlink_metadata(&temporary)?;
            fs::rename(&temporary, path)?;
            Ok((about.dev(), about.ino()))
        })();
        let identity = made.map_err(|source| {
            let _ = fs::remove_file(&temporary);
            at(source)
        })?;
        let policy = PeerPolicy::new(geteuid(), group);
        Ok(Self { listener, path: path.into(), identity, policy })
    }

    /// Serves until the end comes.
    pub(crate) async fn serve(
        self,
        router: Router,
        ending: watch::Receiver<bool>,
    ) -> io::Result<()> {
        let mut connections = Connections::new(ending);
        let result = loop {
            let stream = match connections.next(|| self.listener.accept()).await {
                Ok(Some((stream, _))) => stream,
                Ok(None) => break Ok(()),
                Err(error) => break Err(error),
            };
            let caller = stream.peer_cred().ok().and_then(|peer| {
                self.policy.admit(Uid::from_raw(peer.uid()), Gid::from_raw(peer.gid()))
            });
            let Some(caller) = caller else {
                tracing::warn!("a peer was refused by its credentials");
                continue;
            };
            connections
                .serve(router.clone(), async { Some((stream, CallerOf::Connection(caller))) });
        };
        connections.finish().await;
        result
    }
}

impl Drop for UnixSocket {
    fn drop(&mut self) {
        let same = fs::symlink_metadata(&self.path)
            .is_ok_and(|about| (about.dev(), about.ino()) == self.identity);
        if same {
            let _ = fs::remove_file(&self.path);
        }
    }
}
