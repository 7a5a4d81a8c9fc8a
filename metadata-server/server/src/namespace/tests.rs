//! These make namespaces and devices of their own, so they need root.

use std::net::{Ipv4Addr, SocketAddrV4};

use super::*;
use crate::sandbox;

const SERVICE: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);

/// Removes the namespace whatever becomes of the test.
struct Cleaned(NamespaceNames);

impl Cleaned {
    fn new(tag: &str) -> Self {
        let pid = std::process::id();
        let device = |end: &str| DeviceName::parse(&format!("{tag}{end}{pid}")).unwrap();
        Self(NamespaceNames {
            namespace: format!("mezame-{tag}-{pid}"),
            veth: device("a"),
            peer: device("b"),
        })
    }
}

impl Drop for Cleaned {
    fn drop(&mut self) {
        let names = self.0.clone();
        let removal = std::thread::spawn(move || run(Namespace::remove(&names)));
        removal.join().unwrap().unwrap();
    }
}

fn run<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

#[test]
fn a_namespace_is_made_whole_found_again_and_removed() {
    sandbox::enter();
    let cleaned = Cleaned::new("nsa");
    let first = run(Namespace::ensure(&cleaned.0, &[SERVICE])).unwrap();
    let again = run(Namespace::ensure(&cleaned.0, &[SERVICE])).unwrap();
    assert_eq!((first.veth(), first.peer()), (again.veth(), again.peer()));
    run(Namespace::remove(&cleaned.0)).unwrap();
    assert!(!Path::new("/run/netns").join(&cleaned.0.namespace).exists());
    run(Namespace::remove(&cleaned.0)).unwrap();
}

#[test]
fn a_listener_inside_is_reached_inside_and_not_outside() {
    sandbox::enter();
    let cleaned = Cleaned::new("nsb");
    let namespace = run(Namespace::ensure(&cleaned.0, &[SERVICE])).unwrap();
    let listener = namespace.bind(SocketAddrV4::new(SERVICE, 0)).unwrap().listen(16).unwrap();
    let address = listener.local_addr().unwrap();
    let inside = namespace.enter(|| std::net::TcpStream::connect(address)).unwrap();
    assert_eq!(inside.unwrap().peer_addr().unwrap(), address);
    assert!(
        std::net::TcpStream::connect_timeout(&address, std::time::Duration::from_millis(200))
            .is_err()
    );
}

#[test]
fn a_veth_that_lost_its_namespace_is_made_anew() {
    sandbox::enter();
    let cleaned = Cleaned::new("nsc");
    let first = run(Namespace::ensure(&cleaned.0, &[SERVICE])).unwrap();
    // Still held open by `first`, so its devices live on and must not be mistaken for ours.
    mount::remove(&cleaned.0.namespace).unwrap();
    let second = run(Namespace::ensure(&cleaned.0, &[SERVICE])).unwrap();
    assert_ne!(first.veth().ifindex, second.veth().ifindex);
    assert!(second.bind(SocketAddrV4::new(SERVICE, 80)).unwrap().listen(16).is_ok());
}

#[test]
fn a_second_listener_on_the_same_port_says_what_to_do() {
    sandbox::enter();
    let cleaned = Cleaned::new("nsd");
    let namespace = run(Namespace::ensure(&cleaned.0, &[SERVICE])).unwrap();
    let first = namespace.bind(SocketAddrV4::new(SERVICE, 0)).unwrap().listen(16).unwrap();
    let std::net::SocketAddr::V4(address) = first.local_addr().unwrap() else { unreachable!() };
    // Already the address is refused, so nothing of the running one has been touched by then.
    let error = namespace.bind(address).unwrap_err();
    assert!(matches!(error, NamespaceError::InUse { .. }), "{error}");
}
