//! `get.*` and `connect.*`: requests through the data path, beside three other ways to be served.
//!
//! | Contender | What is in the way |
//! |---|---|
//! | ours | guest's namespace, veth, the tcx programs, the metadata-server |
//! | `ipv6` | the same over IPv6 |
//! | `veth` | the same two veths without eBPF, routed by the hypervisor; the same metadata-server |
//! | `direct` | one veth that ends in the metadata namespace itself; the same metadata-server |
//! | `nginx` | a veth, nginx with the same bytes as a file |
//! | `haproxy` | a veth, haproxy, a unix socket, our protocol code |
//!
//! Our guest stands behind a veth whose host end carries the very program that taps carry. A real
//! tap needs a process that carries frames to and from its descriptor (QEMU, or a thread of ours),
//! and on one CPU that process would be most of what is measured, alike on both sides.

mod guests;

use std::{fs, time::Duration};

use anyhow::Context;
use mezame_tests::{namespace::Namespace, namespace_guest::SERVICE6};

use crate::{
    load::{Figures, Mode, Target},
    peer::{haproxy::Haproxy, nginx::Nginx, upstream::Upstream},
    pinned::Cpu,
    rounds,
    row::Row,
};
use guests::Guests;

const ROUNDS: usize = 9;
const DURATION: Duration = Duration::from_millis(500);
const IPV6: &str = "ipv6";

/// One way to be served.
#[derive(Debug, Clone)]
struct Contender {
    /// The row's last part.
    name: &'static str,
    /// For people.
    label: &'static str,
    client: Namespace,
    target: Target,
}

/// Measures requests over one kept connection.
pub fn measure_get(cpu: Cpu) -> anyhow::Result<Vec<Row>> {
    measure(cpu, Mode::KeepAlive, "get", "requests/s")
}

/// Measures requests that each have a connection of their own.
pub fn measure_connect(cpu: Cpu) -> anyhow::Result<Vec<Row>> {
    measure(cpu, Mode::Connect, "connect", "connections/s")
}

fn measure(cpu: Cpu, mode: Mode, group: &str, unit: &'static str) -> anyhow::Result<Vec<Row>> {
    let guests = Guests::start(cpu)?;
    let home = guests.lab.directory().join("peers");
    for peer in ["nginx", "haproxy"] {
        fs::create_dir_all(home.join(peer)).context("making a folder for a peer")?;
    }
    let mut contenders = vec![
        Contender {
            name: "",
            label: "ours",
            client: guests.tapped.clone(),
            target: guests.target.clone(),
        },
        Contender {
            name: "direct",
            label: "the same server, one veth, no hypervisor between",
            client: guests.direct.clone(),
            target: guests.target.clone(),
        },
        Contender {
            name: "veth",
            label: "the same server over plain veths, routed by the hypervisor",
            client: guests.routed.clone(),
            target: guests.target.clone(),
        },
        Contender {
            name: IPV6,
            label: "the same guest and server over IPv4",
            client: guests.tapped.clone(),
            target: Target { address: SERVICE6.parse()?, ..guests.target.clone() },
        },
    ];
    let mut missing = Vec::new();
    let nginx = Nginx::start(cpu, &home.join("nginx"), &guests.target);
    match &nginx {
        Ok(nginx) => contenders.push(Contender {
            name: "nginx",
            label: "nginx, the same bytes as a file over a plain veth",
            client: nginx.client.clone(),
            target: nginx.target.clone(),
        }),
        Err(reason) => missing.push(("nginx", format!("{reason:#}"))),
    }
    let haproxy = Upstream::start(cpu, &home.join("haproxy")).and_then(|upstream| {
        Ok((Haproxy::start(cpu, &home.join("haproxy"), &upstream)?, upstream))
    });
    match &haproxy {
        Ok((haproxy, _)) => contenders.push(Contender {
            name: "haproxy",
            label: "haproxy in a namespace to a unix socket",
            client: haproxy.client.clone(),
            target: haproxy.target.clone(),
        }),
        Err(reason) => missing.push(("haproxy", format!("{reason:#}"))),
    }
    for contender in &contenders {
        // Connections of rounds before are remembered for a minute and must not run short.
        let range = "/proc/sys/net/ipv4/ip_local_port_range";
        contender.client.run(|| fs::write(range, "1024 65535"))?.context("widening port range")?;
    }
    let seen = rounds::run(&contenders, ROUNDS, |contender| {
        contender
            .client
            .run(|| {
                cpu.bind()?;
                contender.target.run(mode, DURATION)
            })?
            .with_context(|| format!("the client of {}", contender.label))
    })?;
    let mut rows = Vec::new();
    for (contender, theirs) in contenders.iter().zip(&seen).skip(1) {
        let name = format!("{group}.{}", contender.name);
        let ours = &seen[0];
        // This one is ours, too: its own figures, and what it is compared with is IPv4.
        let (of, beside) = if contender.name == IPV6 { (theirs, ours) } else { (ours, theirs) };
        rows.extend(compared(&name, unit, contender.label, of, beside));
    }
    for (name, reason) in missing {
        rows.push(Row::missing(format!("{group}.{name}"), unit, reason));
    }
    Ok(rows)
}

/// Rate, p50 and p99 of ours beside a peer's.
fn compared(
    name: &str,
    unit: &'static str,
    label: &str,
    ours: &[Figures],
    theirs: &[Figures],
) -> Vec<Row> {
    type Figure = (&'static str, Option<&'static str>, fn(&Figures) -> f64);
    let figures: [Figure; 3] = [
        ("", None, |figures| figures.rate),
        (".p50", Some("µs"), |figures| figures.p50),
        (".p99", Some("µs"), |figures| figures.p99),
    ];
    let row = |(part, its_unit, figure): Figure| {
        let unit = its_unit.unwrap_or(unit);
        Row::beside(
            format!("{name}{part}"),
            rounds::middle(ours, figure),
            unit,
            rounds::ratio(ours, theirs, figure),
            format!("{label}: {:.0} {unit}", rounds::middle(theirs, figure)),
        )
    };
    figures.map(row).into()
}
