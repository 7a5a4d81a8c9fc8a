//! `frame.other`: what the program at a tap costs a frame that is not for us.
//!
//! Every frame of every guest pays this. The kernel runs the program itself, a million times a
//! round, and says what one run took (`BPF_PROG_TEST_RUN`).

use anyhow::{Context, ensure};
use mezame_ebpf_loader::{
    DataPath, PinRoot, PortRules, PortSlot, Protocol, Rate, Service, Trial, Uplink,
};
use mezame_tests::{
    frame::{self, Ip},
    sandbox::Sandbox,
};
use nix::sched::{CloneFlags, unshare};

use crate::{pinned::Cpu, row::Row, sample::median, seed};

const ROUNDS: usize = 15;
const RUNS: u32 = 1_000_000;

/// The loopback device: it is in every network namespace, and frames go nowhere.
const LOOPBACK: u32 = 1;

/// Measures the row.
pub fn measure(cpu: Cpu) -> anyhow::Result<Vec<Row>> {
    let _sandbox = Sandbox::enter()?;
    unshare(CloneFlags::CLONE_NEWNET).context("making a network namespace")?;
    cpu.bind()?;
    let root = PinRoot::new("/sys/fs/bpf/mezame");
    let uplink = Uplink {
        host_ifindex: LOOPBACK,
        host_mac: [2, 0, 0, 0, 0, 1],
        peer_mac: [2, 0, 0, 0, 0, 2],
    };
    let service = Service {
        address: frame::SERVICE.into(),
        group: None,
        protocol: Protocol::Tcp,
        port: 80,
        target: "169.254.169.254:80".parse()?,
    };
    let mut path = DataPath::open(&root, &uplink, &[service])?;
    let (mac, address) = (frame::mac(&seed::mac(0)), seed::address(0));
    let rules = PortRules {
        slot: PortSlot::new(0).context("slot 0")?,
        generation: 1,
        mac,
        addresses: vec![address],
        allowed: Vec::new(),
        allowed6: Vec::new(),
        dhcp_server: false,
        answers: mezame_ebpf_loader::Answers::default(),
        rate: Rate { frames_per_second: u32::MAX, burst: u32::MAX },
    };
    path.attach(LOOPBACK, &rules)?;
    let packet =
        Ip { to: seed::address(1), ..Ip::to_service(address) }.tcp(40_000, 443, 0x10, b"x");
    let frame = frame::ethernet([2, 0, 0, 0, 0, 3], mac, 0x0800, &packet);
    let round = || -> anyhow::Result<f64> {
        let trial = path.try_guest_frame(LOOPBACK, &frame, RUNS)?;
        ensure!(
            trial.action == Trial::NEXT && trial.frame == frame,
            "the frame did not pass untouched"
        );
        Ok(trial.time.as_nanos() as f64)
    };
    round()?;
    let rounds = (0..ROUNDS).map(|_| round()).collect::<anyhow::Result<Vec<_>>>()?;
    let value = median(&rounds).context("no round")?;
    DataPath::remove(&root)?;
    Ok(vec![Row::alone("frame.other", value, "ns")])
}
