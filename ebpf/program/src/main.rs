//! The kernel side of the data path: two tcx programs.
//!
//! ```text
//!  guest ──► tap ──► guest_ingress ──► metadata namespace (veth) ──► listener
//!  guest ◄── tap ◄── uplink_ingress ◄─ metadata namespace (veth) ◄── listener
//! ```
//! `guest_ingress` stands at every guest's tap, before all others. It answers ARP and neighbour
//! solicitations for the service addresses, rewrites what goes to a service and sends it into the
//! namespace, drops what no guest may send, and lets everything else pass untouched (`TCX_NEXT`,
//! never OK). `uplink_ingress` stands at the host's end of the namespace's veth and sends replies
//! back. What lies in a tunnel (an IP packet in IPv4 or IPv6, ESP) is not looked into.
//!
//! No connection is remembered: an identity address says which port and which of its addresses
//! it stands for. Needs Linux 6.6. Licensed to the kernel as GPL, see LICENSE-GPL.
#![no_std]
#![no_main]

mod account;
mod addressee6;
mod arp;
mod extension;
mod frame;
mod ipv4;
mod ipv6;
mod maps;
mod neighbour;
mod rewrite;
mod rewrite6;
mod source;
mod source6;
mod tap;
mod transport;
mod uplink;
mod uplink6;

use aya_ebpf::{macros::classifier, programs::TcContext};

/// Ingress of a guest's tap: what the guest sends.
#[classifier]
pub fn guest_ingress(ctx: TcContext) -> i32 {
    tap::ingress(ctx.skb.skb)
}

/// Ingress of the host's end of the veth: what the metadata namespace sends.
#[classifier]
pub fn uplink_ingress(ctx: TcContext) -> i32 {
    uplink::ingress(ctx.skb.skb)
}

/// Never reached: the verifier refuses a program that can panic.
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

/// Lets the program use helpers that are for GPL programs alone.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 4] = *b"GPL\0";
