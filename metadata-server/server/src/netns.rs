//! A network namespace of a test's own: whatever is made in it goes with it.

use std::net::{Ipv4Addr, Ipv6Addr};

use mezame_ebpf_loader::{Identity, Identity6};
use nix::sched::{CloneFlags, unshare};
use rtnetlink::{
    Handle, LinkUnspec, LinkVeth, RouteMessageBuilder,
    packet_route::route::{RouteScope, RouteType},
};

/// Every namespace's loopback device has this index.
const LOOPBACK: u32 = 1;
/// The table of local addresses (rtnetlink(7), RT_TABLE_LOCAL).
const LOCAL: u32 = 255;

/// Runs async work in a thread and a network namespace of its own.
pub(crate) fn alone<T: Send + 'static, F: Future<Output = T>>(
    work: impl FnOnce(Handle) -> F + Send + 'static,
) -> T {
    let thread = std::thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (connection, handle, _) = rtnetlink::new_connection().unwrap();
            tokio::spawn(connection);
            work(handle).await
        })
    });
    match thread.join() {
        Ok(done) => done,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

/// Lets the sockets of this namespace have identity addresses, as if each were a guest's.
pub(crate) async fn own_identities(handle: &Handle) {
    handle.link().set(LinkUnspec::new_with_index(LOOPBACK).up().build()).execute().await.unwrap();
    let v4 = RouteMessageBuilder::<Ipv4Addr>::new()
        .destination_prefix(Identity::BASE, Identity::PREFIX)
        .output_interface(LOOPBACK)
        .table_id(LOCAL)
        .kind(RouteType::Local)
        .scope(RouteScope::Host);
    handle.route().add(v4.build()).execute().await.unwrap();
    let v6 = RouteMessageBuilder::<Ipv6Addr>::new()
        .destination_prefix(Identity6::BASE, Identity6::LENGTH)
        .output_interface(LOOPBACK)
        .table_id(LOCAL)
        .kind(RouteType::Local);
    handle.route().add(v6.build()).execute().await.unwrap();
    // A local route does not let IPv6 sockets have its addresses.
    std::fs::write("/proc/sys/net/ipv6/ip_nonlocal_bind", "1").unwrap();
}

/// Takes the calling thread into a new namespace whose sockets may have identity addresses.
pub(crate) fn enter_with_identities() {
    unshare(CloneFlags::CLONE_NEWNET).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (connection, handle, _) = rtnetlink::new_connection().unwrap();
        tokio::spawn(connection);
        own_identities(&handle).await;
    });
}

/// Makes a pair of devices and gives the first one's index.
pub(crate) async fn make_pair(handle: &Handle, name: &str, peer: &str) -> u32 {
    handle.link().add(LinkVeth::new(name, peer).build()).execute().await.unwrap();
    nix::net::if_::if_nametoindex(name).unwrap()
}

/// Renames a device.
pub(crate) async fn rename(handle: &Handle, ifindex: u32, name: &str) {
    let renamed = LinkUnspec::new_with_index(ifindex).name(name).build();
    handle.link().set(renamed).execute().await.unwrap();
}
