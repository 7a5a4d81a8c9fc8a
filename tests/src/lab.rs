//! A hypervisor of its own: a namespace for taps and bridges, a metadata-server with the control
//! plane inside, an operator.

use std::path::Path;

use anyhow::Result;

use crate::{
    binaries::Binaries,
    namespace::Namespace,
    namespace_guest::NamespaceGuest,
    operator::Operator,
    sandbox::Sandbox,
    server::{Server, ServerPlace},
    tap::{Offload, Tap},
};

/// The hypervisor. Dropping it ends all processes, and with them everything goes.
#[derive(Debug)]
pub struct Lab {
    /// The server, for as long as one runs.
    pub server: Option<Server>,
    /// Where its files are.
    pub place: ServerPlace,
    /// The operator.
    pub operator: Operator,
    /// Where the taps are.
    pub hypervisor: Namespace,
    /// The programs under test.
    pub binaries: Binaries,
    sandbox: Sandbox,
}

impl Lab {
    /// Sets one up, with the server running.
    pub fn start() -> Result<Self> {
        let mut lab = Self::prepare()?;
        lab.server = Some(lab.place.start()?);
        Ok(lab)
    }

    /// Sets one up, with the server running with these flags besides `--standalone`.
    pub fn start_with(flags: &[&str]) -> Result<Self> {
        let mut lab = Self::prepare()?;
        let all: Vec<&str> = ["--standalone"].iter().chain(flags).copied().collect();
        lab.server = Some(lab.place.start_with(&all)?);
        Ok(lab)
    }

    /// Sets one up, with no server yet.
    pub fn prepare() -> Result<Self> {
        let binaries = Binaries::locate()?;
        let sandbox = Sandbox::enter()?;
        let hypervisor = Namespace::create()?;
        let place = ServerPlace::new(&binaries.server, sandbox.directory(), &hypervisor);
        let operator = Operator::new(&binaries.operator, &place.operator_socket());
        Ok(Self { server: None, place, operator, hypervisor, binaries, sandbox })
    }

    /// The running server.
    pub fn server(&mut self) -> &mut Server {
        self.server.as_mut().expect("the lab's server was started")
    }

    /// A directory that goes with the lab.
    pub fn directory(&self) -> &Path {
        self.sandbox.directory()
    }

    /// A tap on the hypervisor, with the guest's end in the test's hands.
    pub fn tap(&self, name: &str) -> Result<Tap> {
        Tap::create(&self.hypervisor, name, Offload::None)
    }

    /// A guest that is a namespace behind a tap of this name.
    pub fn guest(&self, device: &str, mac: &str, addresses: &[&str]) -> Result<NamespaceGuest> {
        NamespaceGuest::plug(self.tap(device)?, mac, addresses, Offload::None)
    }
}
