//! These make namespaces and devices of their own, so they need root.

use std::net::{Ipv4Addr, Ipv6Addr, TcpListener, TcpStream, UdpSocket};

use super::*;
use crate::sandbox;

const SERVICE: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);
const SERVICE6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);

fn addresses(ipv6: bool) -> Vec<IpAddr> {
    [SERVICE.into(), SERVICE6.into()]
        .into_iter()
        .filter(|one: &IpAddr| ipv6 || one.is_ipv4())
        .collect()
}

fn listener(namespace: &Namespace, address: impl Into<SocketAddr>) -> TcpListener {
    let socket = namespace.bind(Protocol::Tcp, address.into()).unwrap();
    listen(&socket, 16).unwrap();
    socket.into()
}

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
    let first = run(Namespace::ensure(&cleaned.0, addresses)).unwrap();
    let again = run(Namespace::ensure(&cleaned.0, addresses)).unwrap();
    assert_eq!((first.veth(), first.peer()), (again.veth(), again.peer()));
    run(Namespace::remove(&cleaned.0)).unwrap();
    assert!(!Path::new("/run/netns").join(&cleaned.0.namespace).exists());
    run(Namespace::remove(&cleaned.0)).unwrap();
}

#[test]
fn a_listener_inside_is_reached_inside_and_not_outside() {
    sandbox::enter();
    let cleaned = Cleaned::new("nsb");
    let namespace = run(Namespace::ensure(&cleaned.0, addresses)).unwrap();
    for own in addresses(namespace.has_ipv6()) {
        let listener = listener(&namespace, (own, 0));
        let address = listener.local_addr().unwrap();
        let inside = namespace.enter(|| TcpStream::connect(address)).unwrap();
        assert_eq!(inside.unwrap().peer_addr().unwrap(), address);
        let patience = std::time::Duration::from_millis(200);
        assert!(TcpStream::connect_timeout(&address, patience).is_err());
    }
}

#[test]
fn what_is_sent_to_an_identity_leaves_by_the_veth_and_by_no_neighbours_word() {
    sandbox::enter();
    let cleaned = Cleaned::new("nse");
    let namespace = run(Namespace::ensure(&cleaned.0, addresses)).unwrap();
    let sent = || {
        let text = std::fs::read_to_string("/proc/thread-self/net/dev").unwrap();
        let line = text.lines().find(|line| line.contains(cleaned.0.peer.as_str())).unwrap();
        line.split_whitespace().nth(10).unwrap().parse::<u64>().unwrap()
    };
    for (own, identity) in [
        (IpAddr::from(SERVICE), IpAddr::from([32, 0, 0, 16])),
        (SERVICE6.into(), "fdaf:e001:0:100::1".parse().unwrap()),
    ] {
        let socket = namespace.bind(Protocol::Udp, (own, 0).into()).unwrap();
        let (socket, before) = (UdpSocket::from(socket), namespace.enter(sent).unwrap());
        // A device that has just been raised may still throw frames away.
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
        while namespace.enter(sent).unwrap() == before {
            assert!(std::time::Instant::now() < deadline, "nothing left to {identity}");
            socket.send_to(b"x", (identity, 9)).unwrap();
        }
    }
}

#[test]
fn a_socket_for_router_solicitations_is_opened() {
    sandbox::enter();
    let cleaned = Cleaned::new("nsf");
    let namespace = run(Namespace::ensure(&cleaned.0, addresses)).unwrap();
    namespace.bind(Protocol::Icmp6, (SERVICE6, 0).into()).unwrap();
}

#[test]
fn a_veth_that_lost_its_namespace_is_made_anew() {
    sandbox::enter();
    let cleaned = Cleaned::new("nsc");
    let first = run(Namespace::ensure(&cleaned.0, addresses)).unwrap();
    // Still held open by `first`, so its devices live on and must not be mistaken for ours.
    mount::remove(&cleaned.0.namespace).unwrap();
    let second = run(Namespace::ensure(&cleaned.0, addresses)).unwrap();
    assert_ne!(first.veth().ifindex, second.veth().ifindex);
    listener(&second, (SERVICE, 80));
}

#[test]
fn a_second_listener_on_the_same_port_says_what_to_do() {
    sandbox::enter();
    let cleaned = Cleaned::new("nsd");
    let namespace = run(Namespace::ensure(&cleaned.0, addresses)).unwrap();
    let first = listener(&namespace, (SERVICE, 0));
    let address = first.local_addr().unwrap();
    // Already the address is refused, so nothing of the running one has been touched by then.
    let error = namespace.bind(Protocol::Tcp, address).unwrap_err();
    assert!(matches!(error, NamespaceError::InUse { .. }), "{error}");
}
