//! A guest's disks are pulled from another network, by TLS, through somebody who sees and keeps all
//! that passes.

use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::{Context, Result, ensure};
use mezame_images::{
    backup::{
        offer::Offer,
        point::Server,
        pull::{Exceptions, PullError},
    },
    nbd::NbdAddress,
};
use mezame_tests::{namespace::Namespace, process};

use super::{Desk, last_of};
use crate::durability::guest::until_written;

/// Two machines and the cable between them (addresses of RFC 5737).
struct Networks {
    hypervisor: Namespace,
    puller: Namespace,
    address: SocketAddr,
}

impl Networks {
    fn lay() -> Result<Self> {
        let (hypervisor, puller) = (Namespace::create()?, Namespace::create()?);
        hypervisor.veth("cable", &puller, "cable")?;
        for (machine, address) in [(&hypervisor, "192.0.2.1/24"), (&puller, "192.0.2.2/24")] {
            machine.ip(&format!("addr add {address} dev cable"))?;
            machine.ip("link set cable up")?;
        }
        let address = "192.0.2.1:10809".parse()?;
        Ok(Self { hypervisor, puller, address })
    }

    /// Somebody on the puller's machine through whom all goes that is said to the hypervisor.
    fn watcher(&self) -> Result<Watcher> {
        let to = self.address;
        self.puller.run(|| {
            let listener = TcpListener::bind("127.0.0.1:0")?;
            let address = listener.local_addr()?;
            let seen = Arc::new(Mutex::new(Vec::new()));
            let kept = Arc::clone(&seen);
            std::thread::spawn(move || {
                for client in listener.incoming().map_while(Result::ok) {
                    let Ok(server) = TcpStream::connect(to) else { continue };
                    let Some((back, forth)) = client.try_clone().ok().zip(server.try_clone().ok())
                    else {
                        continue;
                    };
                    pass(client, server, &kept);
                    pass(forth, back, &kept);
                }
            });
            Ok(Watcher { address, seen })
        })?
    }
}

/// Who sees all that passes.
struct Watcher {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<u8>>>,
}

impl Watcher {
    /// An offer by way of this one.
    fn between(&self, offer: &Offer) -> Offer {
        Offer { address: NbdAddress::Tcp(self.address), ..offer.clone() }
    }

    /// How much was seen, and whether what the disks hold is in it.
    fn seen(&self) -> (usize, bool) {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let is_known = |words: &[u8]| words == b"nothing yet" || words.starts_with(b"write ");
        (seen.len(), seen.windows(11).any(is_known))
    }
}

/// Passes on what comes, and keeps it; ends with either of the two.
fn pass(mut from: TcpStream, mut to: TcpStream, kept: &Arc<Mutex<Vec<u8>>>) {
    let kept = Arc::clone(kept);
    std::thread::spawn(move || {
        let mut buffer = vec![0; 64 << 10];
        while let Ok(length @ 1..) = from.read(&mut buffer) {
            kept.lock().unwrap_or_else(PoisonError::into_inner).extend(&buffer[..length]);
            if to.write_all(&buffer[..length]).is_err() {
                break;
            }
        }
        // Either may be gone.
        let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
    });
}

#[test]
fn a_guest_is_backed_up_from_another_network_over_tls_and_who_looks_on_sees_none_of_it()
-> Result<()> {
    let networks = Networks::lay()?;
    let mut desk = Desk::lay_by(networks.hypervisor.command("qemu-system-x86_64"))?;
    until_written(&mut desk.guest, 10)?;
    let keys = desk.directory.path().join("keys");
    std::fs::create_dir(&keys)?;
    let server = Server::StartTls { address: networks.address, keys: keys.clone() };
    for round in 0..2 {
        let point = desk.open_at(server.clone())?;
        ensure!(std::fs::read_dir(&keys)?.next().is_none(), "QEMU's keys are still there");
        let watcher = networks.watcher()?;
        let pulled = networks.puller.run(|| {
            let offers = point.offers().iter().map(|offer| watcher.between(offer));
            offers.map(|offer| desk.pull(&offer)).collect::<Result<Vec<_>>>()
        })??;
        let disks: Result<Vec<_>> =
            pulled.iter().map(|pulled| desk.restored(pulled.image.id)).collect();
        println!("of {} writes in round {round}: {:?}", last_of(&disks?)?, watcher.seen());
        let (length, is_read) = watcher.seen();
        ensure!(length > 4 << 10 && !is_read, "{length} bytes passed: {is_read}");
        // Without the key, by one of an authority of its own, or without TLS nobody gets in.
        let bare = Offer { tls: None, ..point.offers()[0].clone() };
        networks.puller.run(|| refused(&desk, &bare))??;
        let said = networks.puller.run(|| {
            let from = format!("nbd://{}/{}", networks.address, bare.export);
            process::run(process::command("qemu-img").args(["info", &from]))
        })??;
        ensure!(!said.status.success() && said.stderr.contains("TLS"), "{}", said.stderr);
        let all = desk.all();
        networks.hypervisor.run(|| point.close(&mut desk.qmp, &all, None))??;
    }
    // The same without TLS: what was not seen above is seen.
    let point = desk.open_at(Server::StartClear(networks.address))?;
    let watcher = networks.watcher()?;
    let offer = watcher.between(&point.offers()[0]);
    let exceptions = Exceptions { clear_network: true, ..Exceptions::default() };
    networks.puller.run(|| desk.pull_with(&offer, exceptions))??;
    ensure!(watcher.seen().1, "who looks on would see nothing of a disk in the clear either");
    networks.hypervisor.run(|| point.close(&mut desk.qmp, &[], None))??;
    Ok(())
}

/// That it is not read, though it is there: for our part, and where we would, for the server's.
fn refused(desk: &Desk, offer: &Offer) -> Result<()> {
    let error = desk.pull(offer).err().context("it was read over a network in the clear")?;
    ensure!(matches!(error.downcast_ref(), Some(PullError::Exposed(_))), "{error:#}");
    let exceptions = Exceptions { clear_network: true, ..Exceptions::default() };
    let error = desk.pull_with(offer, exceptions).err().context("it was served without TLS")?;
    ensure!(matches!(error.downcast_ref(), Some(PullError::Archive(_))), "{error:#}");
    Ok(())
}
