//! Tests of destroying a port's sockets, in a namespace of their own.

use std::{
    io::Read,
    net::{Ipv4Addr, SocketAddrV4, TcpListener},
    os::fd::AsRawFd,
};

use nix::sys::socket::{SockaddrIn, bind, connect};
use rtnetlink::{
    LinkUnspec, RouteMessageBuilder,
    packet_route::route::{RouteScope, RouteType},
};

use super::*;
use crate::{netns, sandbox};

fn connect_as(slot: PortSlot, to: SocketAddrV4) -> std::net::TcpStream {
    let fd = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).unwrap();
    let from = SocketAddrV4::new(Identity::new(slot, 0).address(), 0);
    bind(fd.as_raw_fd(), &SockaddrIn::from(from)).unwrap();
    connect(fd.as_raw_fd(), &SockaddrIn::from(to)).unwrap();
    fd.into()
}

#[test]
fn the_sockets_of_a_slot_end_and_no_others() {
    sandbox::enter();
    netns::alone(|handle| async move {
        handle.link().set(LinkUnspec::new_with_index(1).up().build()).execute().await.unwrap();
        let every_identity_is_local = RouteMessageBuilder::<Ipv4Addr>::new()
            .destination_prefix(Identity::BASE, Identity::PREFIX)
            .output_interface(1)
            .table_id(255)
            .kind(RouteType::Local)
            .scope(RouteScope::Host)
            .build();
        handle.route().add(every_identity_is_local).execute().await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let std::net::SocketAddr::V4(address) = listener.local_addr().unwrap() else {
            unreachable!()
        };
        let slot = |number| PortSlot::new(number).unwrap();
        let (mut one, other) = (connect_as(slot(1), address), connect_as(slot(2), address));
        let ender = SocketEnder::open().unwrap();
        // Nobody has accepted them: they lie in the kernel's queue.
        assert_eq!(ender.end(&[slot(1)].into()).unwrap(), 1);
        let error = one.read(&mut [0; 1]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        other.set_nonblocking(true).unwrap();
        let alive = (&other).read(&mut [0; 1]).unwrap_err();
        assert_eq!(alive.kind(), io::ErrorKind::WouldBlock);
        assert_eq!(ender.end(&[slot(1)].into()).unwrap(), 0);
    });
}
