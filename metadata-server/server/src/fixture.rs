//! What the tests are made of: two tenants' guests, and hypervisors full of them.

use std::sync::Arc;

use mezame_model::{
    Generation, Instance, InstanceId, Network, Port, PortId, SecretName, SecretString, Snapshot,
};

/// Two tenants with the same address and MAC; the protocol crate's test world.
pub(crate) fn world() -> Snapshot {
    let json = include_str!("../../protocol/testdata/snapshot-with-test-keys.json");
    serde_json::from_str(json).unwrap()
}

/// A port's id by number.
pub(crate) fn port_id(number: usize) -> PortId {
    PortId::parse(&format!("eni-{number:017x}")).unwrap()
}

/// An instance's id by number.
pub(crate) fn instance_id(number: usize) -> InstanceId {
    InstanceId::parse(&format!("i-{number:017x}")).unwrap()
}

/// The device of a port by number.
pub(crate) fn device(number: usize) -> mezame_model::DeviceName {
    mezame_model::DeviceName::parse(&format!("vnet{number}")).unwrap()
}

/// A port on `vnetN` that belongs to the instance of the same number.
pub(crate) fn port(number: usize) -> Port {
    let mut port = Port::clone(&world().ports[0]);
    port.id = port_id(number);
    port.device = device(number);
    port.instance = Some(instance_id(number));
    port
}

/// An instance with the one port of the same number.
pub(crate) fn instance(number: usize) -> Instance {
    let mut instance = Instance::clone(&world().instances[0]);
    instance.id = instance_id(number);
    instance.ports = vec![port_id(number)];
    instance.hostname = format!("guest-{number}").into();
    instance.user_data = None;
    instance.vendor_data = None;
    instance.secrets =
        [(SecretName::parse("one").unwrap(), SecretString::new(format!("the secret of {number}")))]
            .into();
    instance
}

/// A snapshot with the guests of these numbers, which must rise.
pub(crate) fn snapshot(generation: u64, numbers: impl IntoIterator<Item = usize>) -> Snapshot {
    let world = world();
    let networks: Vec<Arc<Network>> = world.networks.clone();
    let (mut ports, mut instances) = (Vec::new(), Vec::new());
    for number in numbers {
        ports.push(Arc::new(port(number)));
        instances.push(Arc::new(instance(number)));
    }
    Snapshot { generation: Generation(generation), site: world.site, networks, ports, instances }
}

/// The next generation of a snapshot, with a change.
pub(crate) fn changed(old: &Snapshot, change: impl FnOnce(&mut Snapshot)) -> Arc<Snapshot> {
    let mut new = old.clone();
    new.generation = old.generation.next();
    change(&mut new);
    Arc::new(new)
}
