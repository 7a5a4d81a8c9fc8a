//! Tests of destroying a port's sockets, in a namespace of their own.

use std::{
    io::Read,
    net::{IpAddr, SocketAddr, TcpListener},
    os::fd::AsRawFd,
};

use super::*;
use crate::{netns, sandbox};
use mezame_ebpf_loader::{Identity, Identity6};
use nix::sys::socket::{SockaddrStorage, bind, connect};

fn connect_as(identity: IpAddr, to: SocketAddr) -> std::net::TcpStream {
    let family = if to.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let fd = socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).unwrap();
    let from = SocketAddr::new(identity, 0);
    bind(fd.as_raw_fd(), &SockaddrStorage::from(from)).unwrap();
    connect(fd.as_raw_fd(), &SockaddrStorage::from(to)).unwrap();
    fd.into()
}

fn slot(number: u32) -> PortSlot {
    PortSlot::new(number).unwrap()
}

fn v4(number: u32) -> IpAddr {
    Identity::new(slot(number), 0).address().into()
}

fn v6(number: u32) -> IpAddr {
    Identity6::new(slot(number), 0, 7).address().into()
}

#[test]
fn the_sockets_of_a_slot_end_and_no_others() {
    sandbox::enter();
    netns::alone(|handle| async move {
        netns::own_identities(&handle).await;
        let ender = SocketEnder::open().unwrap();
        let v4_and_v6 = [("127.0.0.1:0", v4(1), v4(2)), ("[::1]:0", v6(1), v6(2))];
        for (local, first, second) in v4_and_v6 {
            let listener = TcpListener::bind(local).unwrap();
            let address = listener.local_addr().unwrap();
            let mut one = connect_as(first, address);
            let other = connect_as(second, address);
            // Nobody has accepted them: they lie in the kernel's queue.
            assert_eq!(ender.end(&[slot(1)].into()).unwrap(), 1);
            let error = one.read(&mut [0; 1]).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
            other.set_nonblocking(true).unwrap();
            let alive = (&other).read(&mut [0; 1]).unwrap_err();
            assert_eq!(alive.kind(), io::ErrorKind::WouldBlock);
            assert_eq!(ender.end(&[slot(1)].into()).unwrap(), 0);
        }
    });
}
